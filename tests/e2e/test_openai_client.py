"""OpenAI's own clients before the whole platform, which draws for real: a base URL and an access token are all that changes."""

import base64
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image, ImageChops
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import FleetPlan, Person, Stage, running_stage

NODE_CLIENT = Path(__file__).with_name("openai_client.mjs")
SMALL = {"steps": 4, "seed": 7}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("openai"), FleetPlan(draws_for_real=True)) as stage:
        yield stage


@pytest.fixture(scope="module")
def person(stage: Stage) -> Person:
    return stage.person("pro")


@pytest.fixture
def client(stage: Stage, person: Person) -> Iterator[openai.OpenAI]:
    with client_of(stage, person) as made:
        yield made


def client_of(stage: Stage, person: Person) -> openai.OpenAI:
    return openai.OpenAI(api_key=token_of(person), base_url=f"{stage.fleet.http}/v1", max_retries=0)


def token_of(person: Person) -> str:
    return dict(person.metadata)["authorization"].removeprefix("Bearer ")


def opened(encoded: str | None) -> Image.Image:
    assert encoded is not None
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    image.load()
    return image


def test_two_pictures_are_generated_paid_for_and_in_the_gallery(
    stage: Stage, person: Person, client: openai.OpenAI
) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a red circle", n=2, size="128x64", extra_body=SMALL)
    assert answer.data is not None
    pictures = [opened(each.b64_json) for each in answer.data]
    assert [(each.format, each.size) for each in pictures] == [("PNG", (128, 64))] * 2
    assert ImageChops.difference(*pictures).getbbox() is not None
    kept = person.gallery.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=person.metadata).images
    assert sorted(each.seed for each in kept[:2]) == [7, 8]
    assert_invariants(stage)


def test_address_of_a_picture_works_with_and_without_the_token(person: Person, client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a boat", size="64x64", response_format="url", extra_body=SMALL)
    assert answer.data is not None
    url = answer.data[0].url or ""
    for headers in ({}, dict(person.metadata)):
        content = httpx.get(url, headers=headers)
        assert (content.status_code, content.content[:4]) == (200, b"\x89PNG")


def test_stream_shows_the_picture_on_its_way(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="a boat", size="128x128", stream=True, partial_images=2, output_format="webp", extra_body={"steps": 12}
    )
    *partial, last = list(stream)
    # How many there are is a matter of speed: a picture that is drawn at once has one.
    assert 1 <= len(partial) <= 2
    assert {each.type.rpartition(".")[2] for each in partial} == {"partial_image"}
    assert last.type.rpartition(".")[2] == "completed"
    assert {opened(each.b64_json).format for each in (*partial, last)} == {"WEBP"}


def test_masked_edit_changes_nothing_but_what_was_erased(client: openai.OpenAI) -> None:
    source = io.BytesIO()
    before = Image.new("RGB", (128, 128), (30, 60, 200))
    before.save(source, "PNG")
    erased = before.convert("RGBA")
    erased.paste((0, 0, 0, 0), (0, 0, 64, 128))
    mask = io.BytesIO()
    erased.save(mask, "PNG")
    answer = client.images.edit(
        image=("source.png", source.getvalue()),
        mask=("mask.png", mask.getvalue()),
        prompt="a red circle",
        extra_body=SMALL,
    )
    assert answer.data is not None
    changed = ImageChops.difference(opened(answer.data[0].b64_json).convert("RGB"), before)
    kept, repainted = changed.crop((80, 0, 128, 128)), changed.crop((0, 0, 48, 128))
    assert max(high for _, high in kept.getextrema()) <= 2
    assert max(high for _, high in repainted.getextrema()) > 40


def test_edit_without_a_mask_keeps_what_the_strength_leaves(client: openai.OpenAI) -> None:
    source = io.BytesIO()
    Image.new("RGB", (64, 64), (30, 60, 200)).save(source, "JPEG")
    answer = client.images.edit(
        image=[("a.jpg", source.getvalue())], prompt="a blue sea", extra_body={**SMALL, "strength": 0.3}
    )
    assert answer.data is not None
    assert opened(answer.data[0].b64_json).size == (64, 64)


def test_models_have_the_names_that_clients_know(client: openai.OpenAI) -> None:
    names = [each.id for each in client.models.list()]
    assert {"pingvas-tiny", "gpt-image-1"} <= set(names)
    assert client.models.retrieve("pingvas-tiny").owned_by == "pingvas"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_repeated_request_with_a_key_is_paid_for_once(person: Person, client: openai.OpenAI) -> None:
    headers = {"idempotency-key": "openai-once"}
    before = len(jobs_of(person))
    first, second = (
        client.images.generate(prompt="a boat", size="64x64", extra_headers=headers, extra_body={"steps": 4})
        for _ in range(2)
    )
    assert first.data == second.data
    assert len(jobs_of(person)) == before + 1


def jobs_of(person: Person) -> list[job_pb2.Job]:
    request = generation_service_pb2.ListJobsRequest(page_size=200)
    return list(person.generation.ListJobs(request, metadata=person.metadata).jobs)


def test_refusals_are_told_as_their_client_knows_them(stage: Stage) -> None:
    with client_of(stage, stage.person("free")) as free:
        with pytest.raises(openai.BadRequestError) as refused:
            free.images.generate(prompt="x", size="1024x1024")
        assert (refused.value.param, refused.value.code) == ("size", "tier_limit_exceeded")
    with client_of(stage, stage.person("free", has_credits=0)) as poor:
        with pytest.raises(openai.RateLimitError) as refused_too:
            poor.images.generate(prompt="x", size="64x64")
        assert refused_too.value.code == "insufficient_quota"
    nobody = openai.OpenAI(api_key="sk-nobody", base_url=f"{stage.fleet.http}/v1")
    with pytest.raises(openai.AuthenticationError):
        nobody.models.list()


def test_client_for_node_generates_streams_and_edits(stage: Stage, person: Person) -> None:
    node = shutil.which("node") or str(Path(shutil.which("python") or "").with_name("node"))
    environment = {**os.environ, "OPENAI_BASE_URL": f"{stage.fleet.http}/v1", "OPENAI_API_KEY": token_of(person)}
    done = subprocess.run(
        [node, str(NODE_CLIENT)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "generated": "PNG",
        "streamed": ["image_generation.partial_image", "image_generation.completed"],
        "edited": "PNG",
        "refused": [404, "model_not_found"],
    }
