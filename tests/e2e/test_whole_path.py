"""The whole path with nothing fake on it: the built-in model draws what was asked for, and its owner gets it."""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import job_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage
from tests.fakes.faulty_worker import Faults
from tests.harness import Fleet


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet exactly as `pingvas up` starts it."""
    folder = tmp_path_factory.mktemp("whole")
    with Fleet(folder / "data") as fleet:
        stage = Stage(fleet, Faults(folder))
        yield stage
        stage.close()


@pytest.fixture(scope="module")
def person(stage: Stage) -> Person:
    return stage.person("pro")


def content_of(person: Person, job: job_pb2.Job) -> list[bytes]:
    """Downloads the pictures of a job as the gallery shows them, and checks them against what it says of them."""
    contents = []
    for made in job.images:
        request = gallery_service_pb2.GetImageRequest(image_id=made.image_id)
        image = person.gallery.GetImage(request, timeout=10, metadata=person.metadata)
        content = httpx.get(image.content_url).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (image.size_bytes, image.sha256)
        assert (image.width_px, image.height_px, image.seed) == (made.width_px, made.height_px, made.seed)
        assert httpx.get(image.thumbnail_url).content[8:12] == b"WEBP"
        contents.append(content)
    return contents


def test_prompt_becomes_pictures_with_previews_on_the_way(stage: Stage, person: Person) -> None:
    before = Decimal(person.balance().available)
    job = person.create("a lighthouse at dawn", step_count=6, width_px=128, height_px=96, image_count=2, seed=41)
    events = list(person.watch(job.job_id))
    steps = [event.progress for event in events if event.HasField("progress")]
    assert [step.step for step in steps] == list(range(1, 13))
    assert any(step.preview_jpeg.startswith(b"\xff\xd8") for step in steps)
    ended = person.end_of(job.job_id)
    assert [(image.seed, image.width_px, image.height_px) for image in ended.images] == [(41, 128, 96), (42, 128, 96)]
    first, second = content_of(person, ended)
    assert first != second
    used = Decimal(ended.credits_used)
    assert 0 < used <= Decimal(ended.credits_held)
    assert Decimal(person.balance().available) == before - used
    assert_invariants(stage)


def test_same_seed_gives_the_same_bytes_and_its_recipe_says_how(stage: Stage, person: Person) -> None:
    jobs = [person.end_of(person.create("a harbour", step_count=4, seed=7).job_id) for _ in range(2)]
    one, other = (content_of(person, job) for job in jobs)
    assert one == other
    key = f"users/{person.account_id}/images/{jobs[0].images[0].image_id}/metadata.json"
    recipe = json.loads(stage.objects()[key].read_bytes())
    assert (recipe["prompt"], recipe["seed"], recipe["step_count"]) == ("a harbour", "7", 4)


def test_cancelled_render_of_the_real_model_stops_within_a_step(stage: Stage, person: Person) -> None:
    job = person.create("a long one", step_count=100, width_px=512, height_px=512, image_count=4)
    stream = person.watch(job.job_id)
    for event in stream:
        if event.progress.step == 2:
            break
    person.cancel(job.job_id)
    rest = list(stream)
    assert rest[-1].WhichOneof("detail") == "cancelled"
    assert sum(event.HasField("progress") for event in rest) <= 2
    assert 0 < Decimal(person.get(job.job_id).credits_used) < Decimal(job.credits_held)
    assert_invariants(stage)
