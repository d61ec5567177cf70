"""Every operation through the whole fleet with the built-in model: pictures that begin with pictures, and LoRAs."""

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pingvas.common.v1 import error_reason_pb2
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.errors import Reason
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import CALL_SECONDS, Person, Stage, refusal_of
from tests.factories.pictures import half_white_bytes
from tests.fakes.faulty_worker import Faults
from tests.harness import Fleet

Pixels = NDArray[np.uint8]
_SIDE = 128


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet exactly as `pingvas up` starts it."""
    folder = tmp_path_factory.mktemp("operations")
    with Fleet(folder / "data") as fleet:
        stage = Stage(fleet, Faults(folder))
        yield stage
        stage.close()


@pytest.fixture(scope="module")
def person(stage: Stage) -> Person:
    return stage.person("pro")


@pytest.fixture(scope="module")
def drawn(person: Person) -> job_pb2.JobImage:
    """A picture of the person's gallery."""
    return completed(person, job_pb2.TextToImage(prompt="a red circle", width_px=_SIDE, height_px=_SIDE, seed=5))[0]


def submit(person: Person, operation: Any, request_id: str = "") -> job_pb2.Job:
    """Submits an operation, whichever it is."""
    branch = {
        job_pb2.TextToImage: "text_to_image",
        job_pb2.ImageToImage: "image_to_image",
        job_pb2.Inpaint: "inpaint",
        job_pb2.Upscale: "upscale",
    }[type(operation)]
    request = generation_service_pb2.CreateJobRequest(request_id=request_id, **{branch: operation})
    return person.generation.CreateJob(request, timeout=CALL_SECONDS, metadata=person.metadata)


def completed(person: Person, operation: Any) -> list[job_pb2.JobImage]:
    """Has an operation done and returns its pictures."""
    job = person.end_of(submit(person, operation).job_id, within_seconds=60)
    assert job.state == job_pb2.JOB_STATE_COMPLETED, job.failure
    return list(job.images)


def pixels_of(image: job_pb2.JobImage) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(httpx.get(image.url).content)).convert("RGB"))


def png_of(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(person: Person, data: bytes, content_type: str = "image/png") -> str:
    """Uploads bytes as a browser does: asks for an address and puts them there."""
    request = gallery_service_pb2.CreateUploadRequest(content_type=content_type, size_bytes=len(data))
    opened = person.gallery.CreateUpload(request, timeout=CALL_SECONDS, metadata=person.metadata)
    httpx.put(opened.put_url, content=data, headers={"content-type": content_type}).raise_for_status()
    return opened.upload_id


def distance(one: Pixels, other: Pixels) -> float:
    """Returns the mean difference of two pictures, 0 to 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_image_to_image_keeps_more_of_its_source_the_less_strength_it_has(
    person: Person, drawn: job_pb2.JobImage
) -> None:
    source, original = job_pb2.ImageSource(image_id=drawn.image_id), pixels_of(drawn)
    results = {}
    for strength in (0.2, 1.0):
        operation = job_pb2.ImageToImage(
            prompt="a blue square", source=source, strength=strength, step_count=10, seed=3
        )
        (image,) = completed(person, operation)
        assert (image.width_px, image.height_px) == (_SIDE, _SIDE)
        results[strength] = pixels_of(image)
    assert distance(results[0.2], original) < distance(results[1.0], original)
    assert not np.array_equal(results[0.2], original)


def test_inpaint_repaints_the_white_of_the_mask_and_nothing_else(person: Person, drawn: job_pb2.JobImage) -> None:
    original = pixels_of(drawn)
    mask = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    mask[:, : _SIDE // 2] = 255
    operation = job_pb2.Inpaint(
        prompt="a green star",
        source=job_pb2.ImageSource(image_id=drawn.image_id),
        mask=job_pb2.ImageSource(upload_id=upload(person, png_of(mask))),
        strength=1.0,
        mask_feather_px=0,
        step_count=8,
    )
    result = pixels_of(completed(person, operation)[0])
    assert np.array_equal(result[:, _SIDE // 2 :], original[:, _SIDE // 2 :])
    assert not np.array_equal(result[:, : _SIDE // 2], original[:, : _SIDE // 2])


@pytest.mark.parametrize("factor", [2, 4])
def test_upscale_makes_the_same_picture_larger(person: Person, drawn: job_pb2.JobImage, factor: int) -> None:
    operation = job_pb2.Upscale(source=job_pb2.ImageSource(image_id=drawn.image_id), scale_factor=factor)
    (image,) = completed(person, operation)
    assert (image.width_px, image.height_px) == (factor * _SIDE, factor * _SIDE)
    small = Image.fromarray(pixels_of(image)).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    assert distance(np.asarray(small), pixels_of(drawn)) < 4


def test_operations_through_json_answer_like_those_through_grpc(person: Person, stage: Stage) -> None:
    """The paths of the published API, each with its own body; the upload too."""
    headers = dict(person.metadata)
    data = png_of(np.full((64, 96, 3), (200, 30, 30), np.uint8))
    body = {"content_type": "image/png", "size_bytes": str(len(data))}
    opened = stage.http.post("/api/v1/uploads", json=body, headers=headers).raise_for_status().json()
    httpx.put(opened["put_url"], content=data, headers={"content-type": "image/png"}).raise_for_status()
    source = {"upload_id": opened["upload_id"]}
    mask = {"upload_id": upload(person, half_white_bytes(96, 64))}
    bodies = {
        "image-to-image": {"prompt": "a hill", "source": source, "step_count": 2},
        "inpaint": {"prompt": "a hill", "source": source, "mask": mask, "step_count": 2},
        "upscale": {"source": source},
    }
    for path, operation in bodies.items():
        key = f"json {path}"
        answers = [
            stage.http.post(
                f"/api/v1/generate/{path}", json=operation, headers={**headers, "idempotency-key": key}
            ).raise_for_status()
            for _ in range(2)
        ]
        assert answers[0].json() == answers[1].json()
        job = person.end_of(answers[0].json()["job_id"], within_seconds=60)
        assert job.state == job_pb2.JOB_STATE_COMPLETED, job.failure
        scale = 2 if path == "upscale" else 1
        assert (job.images[0].width_px, job.images[0].height_px) == (96 * scale, 64 * scale)


def test_picture_of_another_account_and_upload_without_bytes_are_not_found(
    stage: Stage, person: Person, drawn: job_pb2.JobImage
) -> None:
    stranger = stage.person("pro", has_credits=10)
    request = gallery_service_pb2.CreateUploadRequest(content_type="image/png", size_bytes=10)
    empty = person.gallery.CreateUpload(request, timeout=CALL_SECONDS, metadata=person.metadata).upload_id
    foreign = upload(person, png_of(np.zeros((64, 64, 3), np.uint8)))
    for caller, source in (
        (stranger, job_pb2.ImageSource(image_id=drawn.image_id)),
        (stranger, job_pb2.ImageSource(upload_id=foreign)),
        (person, job_pb2.ImageSource(upload_id=empty)),
    ):
        before = caller.balance()
        operation = job_pb2.Upscale(source=source)
        refusal = refusal_of(lambda caller=caller, operation=operation: submit(caller, operation))
        assert refusal.reason is Reason.SOURCE_NOT_FOUND
        assert caller.balance() == before


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GIF89a" + bytes(64), id="gif"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
        pytest.param(png_of(np.zeros((64, 64, 3), np.uint8))[:20], id="head only"),
    ],
)
def test_upload_that_is_no_picture_is_refused_before_anything_is_held(person: Person, data: bytes) -> None:
    before = person.balance()
    operation = job_pb2.Upscale(source=job_pb2.ImageSource(upload_id=upload(person, data)))
    assert refusal_of(lambda: submit(person, operation)).reason is Reason.SOURCE_INVALID
    assert person.balance() == before


def test_picture_that_turns_out_to_be_damaged_fails_the_job_and_costs_nothing(person: Person) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)
    before = Decimal(person.balance().available)
    operation = job_pb2.Upscale(source=job_pb2.ImageSource(upload_id=upload(person, png_of(noise)[:9000])))
    job = person.end_of(submit(person, operation).job_id)
    assert job.state == job_pb2.JOB_STATE_FAILED
    assert job.failure.reason == error_reason_pb2.ERROR_REASON_SOURCE_INVALID
    assert job.failure.message
    assert Decimal(person.balance().available) == before


def test_operation_without_its_source_names_the_field(person: Person) -> None:
    refusal = refusal_of(lambda: submit(person, job_pb2.Inpaint(prompt="a lake")))
    assert refusal.reason is Reason.INVALID_FIELD
    assert {violation.field for violation in refusal.violations} >= {"inpaint.source", "inpaint.mask"}


def test_unknown_lora_is_not_found(person: Person) -> None:
    operation = job_pb2.TextToImage(prompt="a lake", loras=[job_pb2.LoraWeight(model_id="no-such-lora")])
    assert refusal_of(lambda: submit(person, operation)).reason is Reason.MODEL_NOT_FOUND


def test_one_request_id_for_two_operations_is_refused(person: Person, drawn: job_pb2.JobImage) -> None:
    source = job_pb2.ImageSource(image_id=drawn.image_id)
    submit(person, job_pb2.Upscale(source=source), request_id="two operations")
    other = job_pb2.ImageToImage(prompt="a lake", source=source)
    refusal = refusal_of(lambda: submit(person, other, request_id="two operations"))
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


def test_nothing_is_left_that_should_not_be(stage: Stage) -> None:
    """Runs last: what the tests above have left."""
    assert_invariants(stage)
