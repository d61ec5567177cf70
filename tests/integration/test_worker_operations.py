"""The operations that begin with a picture, from the upload to the gallery, and what the safety policy refuses on the way."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2

from gpu_worker.attempt.safety import PromptBlocklist, SafetyPolicy
from gpu_worker.pictures.recipe import recipe_of_png
from gpu_worker.render.interface import Pixels, RenderSpec
from svc_common.clock import new_id
from svc_common.object_keys import METADATA, image_key
from tests.factories.actors import Operator, Person
from tests.factories.pictures import moving_picture_bytes
from tests.factories.platform import Platform
from tests.factories.streams import detail, read_to_end
from tests.factories.working import working
from tests.fakes.pipeline import FakePipeline, drawing

SLOTS = "SELECT image_ids FROM generation.attempts WHERE job_id = $1"


class ListeningPipeline(FakePipeline):
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.specs: list[RenderSpec] = []

    def render(self, spec: RenderSpec, *others: Any) -> Any:
        self.specs.append(spec)
        return super().render(spec, *others)


class RejectsEverything:
    """A classifier that lets no picture pass."""

    def rejects(self, pixels: Pixels) -> bool:
        return pixels.ndim == 3


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


@pytest.fixture
async def safety() -> AsyncIterator[SafetyPolicy]:
    with ThreadPoolExecutor(1) as pool:
        yield SafetyPolicy(PromptBlocklist(["forbidden"]), RejectsEverything(), pool)


def saved(pixels: np.ndarray[Any, Any], form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def source_pixels(height: int = 64, width: int = 64) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def half_white(side: int = 64) -> np.ndarray[Any, Any]:
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 255
    return mask


async def picture_of(job: job_pb2.Job) -> tuple[Pixels, bytes]:
    """Returns the pixels and the bytes of a job's only picture."""
    async with httpx.AsyncClient() as client:
        content = (await client.get(job.images[0].url)).content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), content


async def done(platform: Platform, person: Person, operation: Any) -> tuple[job_pb2.Job, RenderSpec]:
    """Lets an operation be done; returns its job and what the pipeline was asked for."""
    job = await person.submit(operation)
    pipeline = ListeningPipeline()
    async with working(platform, pipeline=pipeline):
        ended = await person.ended(job.job_id)
    assert ended.state == job_pb2.JOB_STATE_COMPLETED, ended.failure.message
    return ended, pipeline.specs[-1]


async def test_image_to_image_begins_with_the_source(platform: Platform, person: Person) -> None:
    source = saved(source_pixels())
    operation = job_pb2.ImageToImage(prompt="a fox", source=await person.upload(source), strength=0.25, seed=4)
    job, spec = await done(platform, person, operation)
    pixels, content = await picture_of(job)
    assert spec.source is not None
    assert np.array_equal(spec.source, source_pixels())
    assert (spec.strength, spec.width_px, spec.height_px) == (0.25, 64, 64)
    assert np.array_equal(pixels, drawing(spec, 0))
    recipe = recipe_of_png(content)
    assert (recipe["operation"], recipe["strength"]) == ("image_to_image", 0.25)
    assert recipe["source_sha256"] == hashlib.sha256(source).hexdigest()
    key = image_key(person.account_id, UUID(job.images[0].image_id), METADATA)
    metadata = await platform.objects.read(key)
    assert metadata is not None
    assert json.loads(metadata) == recipe


async def test_inpaint_takes_the_mask_along(platform: Platform, person: Person) -> None:
    operation = job_pb2.Inpaint(
        prompt="a fox",
        source=await person.upload(saved(source_pixels())),
        mask=await person.upload(saved(half_white(32))),
        mask_feather_px=3,
    )
    job, spec = await done(platform, person, operation)
    pixels, content = await picture_of(job)
    assert spec.mask is not None
    assert spec.mask.shape == (64, 64)
    assert spec.mask_feather_px == 3
    assert np.array_equal(pixels[:, :28], source_pixels()[:, :28])
    assert recipe_of_png(content)["mask_sha256"] == hashlib.sha256(saved(half_white(32))).hexdigest()


async def test_upscaling_multiplies_the_size_of_its_source(platform: Platform, person: Person) -> None:
    # 40 x 24 pixels as they are seen: the file is turned.
    turned = Image.fromarray(source_pixels(40, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif.tobytes())
    source = await person.upload(buffer.getvalue())
    job, spec = await done(platform, person, job_pb2.Upscale(source=source, scale_factor=4))
    pixels, _ = await picture_of(job)
    assert (spec.width_px, spec.height_px, spec.scale_factor) == (160, 96, 4)
    assert pixels.shape == (96, 160, 3)
    assert np.array_equal(pixels[::4, ::4], np.rot90(source_pixels(40, 24), -1))


async def test_picture_of_the_gallery_is_a_source(platform: Platform, person: Person) -> None:
    first, _ = await done(platform, person, job_pb2.TextToImage(prompt="a heron", width_px=64, height_px=64))
    source = job_pb2.ImageSource(image_id=first.images[0].image_id)
    job, _ = await done(platform, person, job_pb2.Upscale(source=source, scale_factor=2))
    small, _ = await picture_of(first)
    large, _ = await picture_of(job)
    assert np.array_equal(large[::2, ::2], small)


async def test_loras_reach_the_pipeline_with_their_weights(platform: Platform, person: Person) -> None:
    loras = [job_pb2.LoraWeight(model_id="ink"), job_pb2.LoraWeight(model_id="chalk", weight=-0.5)]
    operation = job_pb2.TextToImage(prompt="a heron", width_px=64, height_px=64, loras=loras)
    job, spec = await done(platform, person, operation)
    assert [(use.model.model_id, use.weight) for use in spec.loras] == [("ink", 1.0), ("chalk", -0.5)]
    _, content = await picture_of(job)
    assert [(entry["model_id"], entry["weight"]) for entry in recipe_of_png(content)["loras"]] == [
        ("ink", 1.0),
        ("chalk", -0.5),
    ]


async def test_source_that_was_replaced_after_the_submission_fails_the_job_without_a_charge(
    platform: Platform, person: Person
) -> None:
    before = await person.balance()
    source = await person.upload(saved(source_pixels()))
    job = await person.submit(job_pb2.ImageToImage(prompt="a fox", source=source))
    (row,) = await platform.rows(
        "generation", "SELECT source_key FROM generation.jobs WHERE job_id = $1", UUID(job.job_id)
    )
    await platform.objects.write(row["source_key"], moving_picture_bytes(), "image/png")
    pipeline = ListeningPipeline()
    async with working(platform, pipeline=pipeline):
        ended = await person.ended(job.job_id)
    assert ended.failure.reason == error_reason_pb2.ERROR_REASON_SOURCE_INVALID
    assert ended.failure.message == "The source has several frames. Save one of them as a picture of its own."
    assert (ended.attempt, pipeline.specs) == (1, [])
    assert await person.balance() == before
    await Operator(platform).assert_holds_match_jobs()


async def test_prompt_that_the_policy_forbids_is_not_rendered(
    platform: Platform, person: Person, safety: SafetyPolicy
) -> None:
    before = await person.balance()
    job = await person.create("a (forbidden:1.2) thing")
    pipeline = ListeningPipeline()
    async with working(platform, pipeline=pipeline, safety=safety):
        ended = await person.ended(job.job_id)
    assert ended.failure.reason == error_reason_pb2.ERROR_REASON_CONTENT_REJECTED
    assert "forbidden" not in ended.failure.message
    assert (ended.attempt, pipeline.specs) == (1, [])
    assert await person.balance() == before


async def test_picture_that_the_policy_forbids_is_stored_nowhere(
    platform: Platform, person: Person, safety: SafetyPolicy
) -> None:
    before = await person.balance()
    job = await person.create(f"a thing {new_id()}", image_count=2)
    stream = person.watch(job.job_id)
    async with working(platform, safety=safety):
        events = await read_to_end(stream)
    assert detail(events[-1]) == "failed"
    assert events[-1].failed.reason == error_reason_pb2.ERROR_REASON_CONTENT_REJECTED
    (row,) = await platform.rows("generation", SLOTS, UUID(job.job_id))
    for image_id in row["image_ids"]:
        for name in ("original.png", "thumbnail.webp", "metadata.json"):
            assert await platform.objects.head(image_key(person.account_id, image_id, name)) is None
    assert await person.balance() == before
    await Operator(platform).assert_holds_match_jobs()
