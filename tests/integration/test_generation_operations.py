"""Jobs that work on pictures, and LoRAs: what is filled in, priced, refused, and handed to the worker."""

import copy
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from google.protobuf.message import Message
from pingvas.generation.v1 import job_event_pb2, job_pb2
from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, LoraWeight, TextToImage, Upscale

from svc_common.clock import new_id, now
from svc_common.errors import Reason
from svc_common.events import EventPublisher
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.pictures import claimed_png_bytes, half_white_bytes, moving_picture_bytes, picture_bytes
from tests.factories.platform import Platform
from tests.factories.streams import JobEvent, read
from tests.harness_service import refusal_of

SOURCE, MASK = picture_bytes(131, 70), half_white_bytes(64, 64)


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=1000)


@pytest.fixture
async def source(person: Person) -> ImageSource:
    return await person.upload(SOURCE)


@pytest.fixture
async def mask(person: Person) -> ImageSource:
    return await person.upload(MASK)


async def fetched(url: str) -> bytes:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).raise_for_status().content


async def assert_nothing_happened(person: Person) -> None:
    assert await person.balance() == ("1.000", "0.000")
    assert not (await person.page()).jobs


async def test_image_to_image_has_every_default_filled_in_and_pays_the_steps_that_run(
    person: Person, source: ImageSource, worker: WorkerClient
) -> None:
    wish = ImageToImage(prompt="a heron", source=source)
    quote = await person.quote_of(wish)

    job = await person.submit(wish)

    made = job.image_to_image
    assert (made.model_id, made.width_px, made.height_px, made.step_count) == ("pingvas-tiny", 128, 64, 10)
    assert (made.image_count, made.scheduler, made.guidance_scale) == (1, "euler", 7.5)
    assert (made.strength, made.source, made.HasField("seed")) == (0.6, source, True)
    # 380.5 millicredits x 0.008192 megapixels x 6 of 10 steps, and 60 fixed.
    assert quote.credits == job.credits_quoted == "0.079"
    found = await person.get(job.job_id)
    assert (found.WhichOneof("operation"), found.image_to_image) == ("image_to_image", made)

    attempt = await worker.start(job.job_id)
    assert (attempt.WhichOneof("operation"), attempt.image_to_image) == ("image_to_image", made)
    assert await fetched(attempt.source_url) == SOURCE
    assert "X-Amz-Expires=3600" in attempt.source_url
    assert attempt.mask_url == ""


async def test_inpaint_hands_source_and_mask_to_the_worker_and_ends_in_the_gallery(
    platform: Platform, person: Person, source: ImageSource, mask: ImageSource, worker: WorkerClient
) -> None:
    job = await person.submit(Inpaint(prompt="a heron", source=source, mask=mask, image_count=1))

    made = job.inpaint
    assert (made.width_px, made.height_px, made.strength, made.mask_feather_px) == (128, 64, 0.9, 8)
    attempt = await worker.start(job.job_id)
    assert attempt.inpaint == made
    assert [await fetched(attempt.source_url), await fetched(attempt.mask_url)] == [SOURCE, MASK]

    await worker.complete(attempt, await worker.upload(attempt))
    done = await person.ended(job.job_id)
    assert done.state == job_pb2.JOB_STATE_COMPLETED
    (image,) = await person.pictures(job.job_id)
    assert (image.prompt, image.model_id) == ("a heron", "pingvas-tiny")
    await Operator(platform).assert_holds_match_jobs()


@pytest.mark.parametrize(("grey", "cause"), [(0, "mask_empty"), (255, "mask_full")])
async def test_mask_that_is_no_use_is_refused_before_anything_is_held(
    person: Person, source: ImageSource, grey: int, cause: str
) -> None:
    flat = await person.upload(picture_bytes(64, 64, colour=(grey, grey, grey)))
    refusal = await refusal_of(person.submit(Inpaint(prompt="a heron", source=source, mask=flat)))
    assert (refusal.reason, refusal.metadata["cause"]) == (Reason.SOURCE_INVALID, cause)
    assert [violation.field for violation in refusal.violations] == ["inpaint.mask"]
    await assert_nothing_happened(person)


async def test_parameters_of_inpaint_that_are_given_are_kept_even_when_they_are_zero(
    person: Person, source: ImageSource, mask: ImageSource
) -> None:
    wish = Inpaint(
        prompt="a heron",
        negative_prompt="fog",
        model_id="pingvas-tiny",
        width_px=72,
        height_px=80,
        step_count=3,
        guidance_scale=0.0,
        seed=0,
        image_count=1,
        scheduler="ddim",
        loras=[LoraWeight(model_id="ink", weight=0.0)],
        source=source,
        mask=mask,
        strength=0.25,
        mask_feather_px=0,
    )
    assert (await person.submit(wish)).inpaint == wish


async def test_upscale_is_priced_by_its_result_and_needs_no_prompt(
    person: Person, source: ImageSource, worker: WorkerClient
) -> None:
    job = await person.submit(Upscale(source=source, seed=7))

    made = job.upscale
    assert (made.scale_factor, made.step_count, made.seed, made.model_id) == (2, 10, 7, "pingvas-tiny")
    # 1500 millicredits x 262 x 140 pixels, and 60 fixed.
    assert (job.credits_quoted, (await person.quote_of(made)).credits) == ("0.116", "0.116")
    assert (await person.quote_of(Upscale(source=source, scale_factor=4))).credits == "0.281"

    attempt = await worker.start(job.job_id)
    assert (attempt.upscale, len(attempt.slots), attempt.loras) == (made, 1, [])
    assert await fetched(attempt.source_url) == SOURCE
    await worker.complete(attempt, await worker.upload(attempt))
    assert (await person.ended(job.job_id)).state == job_pb2.JOB_STATE_COMPLETED
    (image,) = await person.pictures(job.job_id)
    assert image.prompt == ""


async def test_picture_of_the_gallery_is_a_source(person: Person, worker: WorkerClient) -> None:
    first = await person.create()
    attempt = await worker.start(first.job_id)
    await worker.complete(attempt, await worker.upload(attempt))
    (image,) = await person.pictures(first.job_id)

    job = await person.submit(Upscale(source=ImageSource(image_id=image.image_id)))

    attempt = await worker.start(job.job_id)
    assert await fetched(attempt.source_url) == f"{image.image_id} 0".encode()


async def test_source_above_the_tier_is_made_smaller_with_its_proportions(person: Person) -> None:
    source = await person.upload(claimed_png_bytes(2000, 1000))
    made = (await person.submit(ImageToImage(prompt="a heron", source=source))).image_to_image
    assert (made.width_px, made.height_px) == (768, 384)


async def test_loras_come_to_the_worker_in_the_order_of_the_operation(person: Person, worker: WorkerClient) -> None:
    loras = [LoraWeight(model_id="ink"), LoraWeight(model_id="chalk", weight=-0.5)]
    job = await person.create(loras=loras)
    assert [(lora.model_id, lora.weight) for lora in job.text_to_image.loras] == [("ink", 1.0), ("chalk", -0.5)]
    attempt = await worker.start(job.job_id)
    assert [spec.model.model_id for spec in attempt.loras] == ["ink", "chalk"]
    assert all(spec.files for spec in attempt.loras)
    assert (attempt.source_url, attempt.mask_url) == ("", "")


@pytest.mark.parametrize(
    ("fields", "reason", "metadata"),
    [
        (
            {"model_id": "ink"},
            Reason.OPERATION_UNSUPPORTED,
            {"model_id": "ink", "operation": "image_to_image", "operations": ""},
        ),
        (
            {"loras": ["ink-xl"]},
            Reason.LORA_INCOMPATIBLE,
            {"model_id": "ink-xl", "family": "sdxl", "wanted_family": "tiny"},
        ),
        (
            {"loras": ["ink", "pingvas-tiny"]},
            Reason.LORA_INCOMPATIBLE,
            {"model_id": "pingvas-tiny", "family": "tiny", "wanted_family": "tiny"},
        ),
        ({"loras": ["no-such-lora"]}, Reason.MODEL_NOT_FOUND, {"model_id": "no-such-lora"}),
        (
            {"loras": ["gold"]},
            Reason.MODEL_NOT_IN_TIER,
            {"model_id": "gold", "tier": "free", "minimum_tier": "studio"},
        ),
        (
            {"width_px": 776},
            Reason.TIER_LIMIT_EXCEEDED,
            {"tier": "free", "limit": "768", "field": "image_to_image.width_px"},
        ),
    ],
)
async def test_what_model_and_tier_do_not_allow_is_refused_and_nothing_held(
    person: Person, source: ImageSource, fields: dict[str, Any], reason: Reason, metadata: dict[str, str]
) -> None:
    loras = [LoraWeight(model_id=model_id) for model_id in fields.pop("loras", [])]
    wish = ImageToImage(prompt="a heron", source=source, loras=loras, **fields)
    for call in (person.quote_of(wish), person.submit(wish)):
        refusal = await refusal_of(call)
        assert (refusal.reason, refusal.metadata) == (reason, metadata)
    await assert_nothing_happened(person)


async def test_model_without_the_operation_is_refused(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000, tier="studio")
    wish = Upscale(source=await person.upload(SOURCE), model_id="xl")
    refusal = await refusal_of(person.submit(wish))
    assert refusal.reason is Reason.OPERATION_UNSUPPORTED
    assert refusal.metadata == {"model_id": "xl", "operation": "upscale", "operations": "text_to_image"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"scheduler": "unheard-of"}, "image_to_image.scheduler"),
        ({"strength": 0.0}, "image_to_image.strength"),
        ({"strength": 1.01}, "image_to_image.strength"),
        ({"loras": ["ink", "chalk", "ink"]}, "image_to_image.loras[2].model_id"),
        ({"loras": [""]}, "image_to_image.loras[0].model_id"),
        ({"source": ImageSource()}, "image_to_image.source.source"),
        ({"source": ImageSource(upload_id="no-uuid")}, "image_to_image.source.upload_id"),
    ],
)
async def test_invalid_field_is_named_with_its_path(
    person: Person, source: ImageSource, fields: dict[str, Any], path: str
) -> None:
    given = copy.deepcopy(fields)
    given["loras"] = [LoraWeight(model_id=model_id) for model_id in fields.get("loras", [])]
    refusal = await refusal_of(person.submit(ImageToImage(**{"prompt": "a heron", "source": source, **given})))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == [path]
    await assert_nothing_happened(person)


async def test_source_of_another_account_or_of_nobody_is_refused(
    platform: Platform, person: Person, source: ImageSource
) -> None:
    stranger = await Person.arrive(platform, credits_held=1000)
    unknown = ImageSource(image_id=str(new_id()))
    for operation, missing in (
        (Upscale(source=source), {"upload_id": source.upload_id}),
        (ImageToImage(prompt="a heron", source=unknown), {"image_id": unknown.image_id}),
        (
            Inpaint(prompt="a heron", source=await stranger.upload(SOURCE), mask=source),
            {"upload_id": source.upload_id},
        ),
    ):
        refusal = await refusal_of(stranger.submit(operation))
        assert (refusal.reason, refusal.metadata) == (Reason.SOURCE_NOT_FOUND, missing)
    await assert_nothing_happened(stranger)


async def test_mask_that_is_no_picture_is_refused_with_its_field(person: Person, source: ImageSource) -> None:
    mask = await person.upload(moving_picture_bytes("WEBP"))
    refusal = await refusal_of(person.submit(Inpaint(prompt="a heron", source=source, mask=mask)))
    assert (refusal.reason, refusal.metadata) == (Reason.SOURCE_INVALID, {"cause": "frames"})
    assert [violation.field for violation in refusal.violations] == ["inpaint.mask"]
    await assert_nothing_happened(person)


async def test_upscaling_is_refused_by_the_tier_of_its_source_and_by_the_size_of_its_result(
    platform: Platform, person: Person
) -> None:
    above = Upscale(source=await person.upload(claimed_png_bytes(100, 769)))
    refusal = await refusal_of(person.submit(above))
    assert refusal.reason is Reason.TIER_LIMIT_EXCEEDED
    assert refusal.metadata == {"tier": "free", "limit": "768", "field": "upscale.source"}
    await assert_nothing_happened(person)

    studio = await Person.arrive(platform, credits_held=1000, tier="studio")
    vast = Upscale(source=await studio.upload(claimed_png_bytes(1600, 1600)), scale_factor=4)
    refusal = await refusal_of(studio.submit(vast))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["upscale.scale_factor"]
    assert "6400 x 6400" in refusal.message
    await assert_nothing_happened(studio)


async def test_request_id_tells_operations_of_the_same_bytes_apart(person: Person, source: ImageSource) -> None:
    one, other = Upscale(prompt="a heron", source=source), ImageToImage(prompt="a heron", source=source)
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    first = await person.submit(one, request_id="once")

    assert await person.submit(one, request_id="once") == first
    refusal = await refusal_of(person.submit(other, request_id="once"))
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_gallery_that_is_away_refuses_and_leaves_nothing(
    platform: Platform, person: Person, source: ImageSource
) -> None:
    async with platform.without("gallery"):
        refusal = await refusal_of(person.submit(Upscale(source=source)))
        assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "svc_gallery"})
        await person.create()
    assert len((await person.page()).jobs) == 1


async def test_list_shows_each_job_with_its_operation(
    platform: Platform, source: ImageSource, mask: ImageSource, person: Person
) -> None:
    wishes: list[Message] = [
        TextToImage(prompt="a heron"),
        ImageToImage(prompt="a heron", source=source),
        Inpaint(prompt="a heron", source=source, mask=mask),
        Upscale(source=source),
    ]
    made = [await person.submit(wish) for wish in wishes]
    listed = (await person.page()).jobs
    assert [job.WhichOneof("operation") for job in listed] == ["upscale", "inpaint", "image_to_image", "text_to_image"]
    assert [job.upscale or job.inpaint for job in listed[:1]] == [made[-1].upscale]
    rows = await platform.rows(
        "generation",
        "SELECT operation_kind, source_key IS NULL AS alone FROM generation.jobs WHERE account_id = $1 ORDER BY job_id",
        person.account_id,
    )
    assert [(row["operation_kind"], row["alone"]) for row in rows] == [
        ("text_to_image", True),
        ("image_to_image", False),
        ("inpaint", False),
        ("upscale", False),
    ]


async def test_stages_before_the_first_step_reach_the_watcher(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    await read(stream, 1)
    attempt = await worker.start(job.job_id)
    await read(stream, 1)
    fetching = job_event_pb2.JobProgress(
        stage=job_event_pb2.JOB_STAGE_FETCHING_MODEL, fetched_bytes=7, fetch_size_bytes=2**40
    )
    loading = job_event_pb2.JobProgress(stage=job_event_pb2.JOB_STAGE_LOADING_MODEL)
    for number, progress in enumerate((fetching, loading), start=1):
        event = JobEvent(event_id=f"{attempt.event_sequence}-{number}", job_id=job.job_id, progress=progress)
        await publisher.publish_progress(person.account_id, UUID(job.job_id), event.SerializeToString())
    assert [event.progress for event in await read(stream, 2)] == [fetching, loading]


async def test_code_from_before_the_operations_still_accepts_jobs(platform: Platform, person: Person) -> None:
    """While a new release is rolled out, the old one calls the function's form of its time."""
    operation = TextToImage(prompt="a heron", model_id="pingvas-tiny", width_px=64, height_px=64, image_count=1, seed=1)
    job_id, moment = new_id(), now()
    connection = await asyncpg.connect(platform.databases["generation"].requests_url.replace("+asyncpg", ""))
    try:
        (row,) = await connection.fetch(
            "SELECT outcome FROM generation.accept_jobs($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[], "
            "$6::bytea[], $7::bytea[], $8::text[], $9::smallint[], $10::integer[], $11::integer[], $12::smallint[], "
            "$13::bigint[], $14::bigint[], $15::integer[], $16::timestamptz[], $17::timestamptz[])",
            *([value] for value in (job_id, person.account_id, person.account_id, None, b"hash", b"answer")),
            *([value] for value in (operation.SerializeToString(), "pingvas-tiny", 1, 1, 5, 1, 76, 114, 0)),
            *([value] for value in (moment, moment)),
        )
    finally:
        await connection.close()
    assert row["outcome"] == "accepted"
    found = await person.get(str(job_id))
    assert found.text_to_image == operation
    # Nothing is held for it, so that it mustn't stay.
    await platform.rows("generation", "DELETE FROM generation.jobs WHERE job_id = $1", job_id)
