"""The worker's handler against the real service, queue and object store; only the pipeline is a fake."""

import hashlib
import io
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_event_pb2, job_pb2

from gpu_worker.attempt.upload import Uploader
from gpu_worker.pictures.encode import Artifact
from gpu_worker.render.interface import ModelSpec, RenderSpec
from svc_common.object_keys import METADATA, THUMBNAIL, image_key
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.factories.queue import record_of
from tests.factories.streams import assert_one_watchers_view, detail, read_to_end, read_until
from tests.factories.working import working
from tests.fakes.pipeline import FakePipeline
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities

ATTEMPTS = "SELECT outcome, image_ids FROM generation.attempts WHERE job_id = $1 ORDER BY attempt"
COMPLETED, LOST, RETURNED = 2, 5, 6


@pytest.fixture(scope="module")
def own_s3(tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    return S3Server(tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="module")
async def platform(
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    own_s3: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    own_redis.start()
    own_s3.start()
    try:
        folder = tmp_path_factory.mktemp("models")
        async with running_platform(database_for, identities, own_redis, own_s3, folder) as running:
            yield running
    finally:
        own_s3.stop()
        own_redis.stop()


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


async def outcomes(platform: Platform, job_id: str) -> list[int]:
    return [row["outcome"] for row in await platform.rows("generation", ATTEMPTS, UUID(job_id))]


def drawn(job: job_pb2.Job) -> list[np.ndarray[Any, Any]]:
    """Draws again what the fake has drawn for a job."""
    operation = job.text_to_image
    spec = RenderSpec(
        model=ModelSpec(operation.model_id, "1", "tiny", ()),
        prompt=operation.prompt,
        negative_prompt=operation.negative_prompt,
        width_px=operation.width_px,
        height_px=operation.height_px,
        step_count=operation.step_count,
        guidance_scale=operation.guidance_scale,
        seed=operation.seed,
        image_count=operation.image_count,
        scheduler=operation.scheduler,
    )
    return [image.pixels for image in FakePipeline(0.0).render(spec, lambda _: None, lambda: False).images]


async def test_job_is_rendered_stored_and_reported(platform: Platform, person: Person) -> None:
    job = await person.create("a penguin", image_count=2, width_px=128, seed=41)
    stream = person.watch(job.job_id)
    async with working(platform):
        events = await read_to_end(stream)

    assert_one_watchers_view(events)
    # One event more than there are steps: the model is loaded.
    assert [detail(event) for event in events] == ["queued", "started", *["progress"] * 21, "completed"]
    done = await person.get(job.job_id)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
    assert [image.seed for image in done.images] == [41, 42]
    async with httpx.AsyncClient() as client:
        originals = [(await client.get(image.url)).content for image in done.images]
    pixels = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in originals]
    assert all(np.array_equal(found, expected) for found, expected in zip(pixels, drawn(job), strict=True))
    taken_in = {image.image_id: image for image in await person.pictures(job.job_id)}
    for image, content in zip(done.images, originals, strict=True):
        assert taken_in[image.image_id].sha256 == hashlib.sha256(content).hexdigest()
        assert (taken_in[image.image_id].width_px, taken_in[image.image_id].height_px) == (128, 64)
        metadata = await platform.objects.read(image_key(person.account_id, UUID(image.image_id), METADATA))
        assert metadata is not None
        assert json.loads(metadata)["seed"] == str(image.seed)
        assert await platform.objects.head(image_key(person.account_id, UUID(image.image_id), THUMBNAIL)) is not None
    await Operator(platform).assert_holds_match_jobs()


async def test_steps_are_reported_with_previews_and_the_time_left(platform: Platform, person: Person) -> None:
    job = await person.create("[[slow=0.05]] a penguin", image_count=2)
    stream = person.watch(job.job_id)
    async with working(platform):
        progress = [event.progress for event in await read_to_end(stream) if detail(event) == "progress"]
    loading, *steps = progress
    assert (loading.stage, loading.step) == (job_event_pb2.JOB_STAGE_LOADING_MODEL, 0)
    assert {step.stage for step in steps} == {job_event_pb2.JOB_STAGE_RENDERING}
    assert [(step.step, step.step_count, step.percent) for step in steps] == [(n, 20, 5 * n) for n in range(1, 21)]
    assert [step.image_index for step in steps] == [0] * 10 + [1] * 10
    # What is left after the last step is the decoding of its picture, as long as that of the first one took.
    assert all(step.seconds_left > steps[-1].seconds_left >= 0 for step in steps[10:-1])
    assert all(step.seconds_left > 0 for step in steps[:-1])
    previews = [step.preview_jpeg for step in steps if step.preview_jpeg]
    assert previews
    assert all(Image.open(io.BytesIO(preview)).format == "JPEG" for preview in previews)


@pytest.mark.parametrize(
    ("accident", "reason"), [("raise", "PIPELINE_FAILED"), ("oom", "OUT_OF_MEMORY"), ("nan", "INVALID_OUTPUT")]
)
async def test_failure_of_the_pipeline_ends_its_job_and_no_other(
    platform: Platform, person: Person, accident: str, reason: str
) -> None:
    before = await person.balance()
    async with working(platform) as consumer:
        failed = await person.ended((await person.create(f"[[{accident}]]")).job_id)
        healthy = await person.ended((await person.create()).job_id)
        assert consumer.jobs_failed == 0, "to the consumer both have ended"

    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert (failed.failure.reason, failed.attempt) == (error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), 1)
    assert failed.failure.message
    assert not re.search(r"Error|Traceback|asked for by the prompt", failed.failure.message)
    assert healthy.state == job_pb2.JOB_STATE_COMPLETED
    spent = float(before[0]) - float((await person.balance())[0])
    assert spent == pytest.approx(float(healthy.credits_used))


async def test_upload_is_repeated_while_the_object_store_is_away(
    platform: Platform, person: Person, own_s3: S3Server
) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    own_s3.stop()
    try:
        async with working(platform):
            # The GPU isn't held up: the next job is rendered while this one can't be stored.
            other = await person.create()
            await read_until(person.watch(other.job_id), lambda event: event.progress.percent == 100)
            own_s3.start()
            events = await read_to_end(stream)
            await person.ended(other.job_id)
    finally:
        if not own_s3._answers():
            own_s3.start()
    assert_one_watchers_view(events)
    assert detail(events[-1]) == "completed"
    assert await outcomes(platform, job.job_id) == await outcomes(platform, other.job_id) == [COMPLETED]


async def test_pictures_that_the_store_lost_are_uploaded_again(platform: Platform, person: Person) -> None:
    class ForgetfulStore(Uploader):
        """Uploads to a store that loses a thumbnail at the first time."""

        lost = 0

        async def put(self, url: str, artifact: Artifact) -> None:
            await super().put(url, artifact)
            if artifact.name == THUMBNAIL and not ForgetfulStore.lost:
                ForgetfulStore.lost += 1
                await platform.objects.delete([httpx.URL(url).path.removeprefix(f"/{S3Server.bucket}/")])

    job = await person.create()
    async with working(platform, uploader_class=ForgetfulStore):
        done = await person.ended(job.job_id)
    assert ForgetfulStore.lost == 1
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
    key = image_key(person.account_id, UUID(done.images[0].image_id), THUMBNAIL)
    assert await platform.objects.head(key) is not None


async def test_running_job_is_cancelled_within_one_step(platform: Platform, person: Person) -> None:
    # Large, so that the hold covers what will have run.
    job = await person.create("[[slow=0.2]]", width_px=512, height_px=512, step_count=30)
    stream = person.watch(job.job_id)
    began_at_s = time.monotonic()
    async with working(platform):
        (*_, step) = await read_until(stream, lambda event: event.progress.step == 2)
        await person.cancel(job.job_id)
        rest = await read_to_end(stream)
    passed_seconds = time.monotonic() - began_at_s

    assert step.progress.step == 2
    assert detail(rest[-1]) == "cancelled"
    # At most the step that ended while the request was on its way.
    assert len(rest) <= 2
    used = float(rest[-1].cancelled.credits_used)
    assert 0.4 <= used <= passed_seconds
    assert (await person.get(job.job_id)).credits_used == rest[-1].cancelled.credits_used
    await Operator(platform).assert_holds_match_jobs()


async def test_worker_that_lost_its_lease_stops_and_reports_nothing(
    platform: Platform, person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    job = await person.create("[[slow=0.5]]", step_count=50)
    stream = person.watch(job.job_id)
    async with working(platform, lease_seconds=0.6) as consumer:
        await read_until(stream, lambda event: event.progress.step == 2)
        # Another worker gets the job, as it does when this one couldn't renew its lease in time.
        await platform.queue.redis.flushall()
        await platform.queue.enqueue(record_of(job, person.account_id))
        taken = await platform.queue.claim("worker-1", (), 60_000)
        assert taken is not None
        winner = WorkerClient(platform)
        attempt = await winner.start(job.job_id, taken.holder)

        async def is_idle() -> bool:
            return not consumer.tasks

        # 50 steps would have taken 25 seconds.
        await until(is_idle, within_seconds=15.0)
        await winner.complete(attempt, await winner.upload(attempt))
        assert (await person.ended(job.job_id)).attempt == 2

    assert await outcomes(platform, job.job_id) == [LOST, COMPLETED]
    log = capfd.readouterr().out
    assert "lease.lost" in log
    assert "job.report_refused" not in log, "it has reported"
    await platform.queue.finish(taken)


async def test_worker_that_stops_hands_its_job_back_uncounted(platform: Platform, person: Person) -> None:
    job = await person.create("[[slow=0.1]]", step_count=50)
    stream = person.watch(job.job_id)
    async with working(platform, grace_seconds=0.0):
        await read_until(stream, lambda event: event.progress.step == 2)
    assert [detail(event) for event in await read_until(stream, lambda event: detail(event) == "queued")][
        -1
    ] == "queued"
    assert await outcomes(platform, job.job_id) == [RETURNED]
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_QUEUED

    async with working(platform, worker_id="worker-1", pipeline=QuickPipeline(0.0)):
        events = await read_to_end(stream)
    assert detail(events[-1]) == "completed"
    assert await outcomes(platform, job.job_id) == [RETURNED, COMPLETED]


class QuickPipeline(FakePipeline):
    """Ignores that a prompt asks for slowness."""

    def render(self, spec: RenderSpec, *args: Any) -> Any:
        quick = RenderSpec(**{name: getattr(spec, name) for name in RenderSpec.__slots__} | {"prompt": "quick"})
        return super().render(quick, *args)


async def test_worker_that_stops_while_it_uploads_hands_its_job_back(
    platform: Platform, person: Person, own_s3: S3Server
) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    own_s3.stop()
    try:
        async with working(platform, grace_seconds=0.0):
            await read_until(stream, lambda event: event.progress.percent == 100)
        assert await outcomes(platform, job.job_id) == [RETURNED]
    finally:
        own_s3.start()
    async with working(platform):
        assert detail((await read_to_end(stream))[-1]) == "completed"


@pytest.mark.parametrize("accident", [signal.SIGKILL, signal.SIGSTOP])
async def test_finished_job_is_delivered_while_redis_does_not_answer(
    platform: Platform, person: Person, own_redis: RedisServer, accident: signal.Signals
) -> None:
    job = await person.create("[[slow=0.02]]", step_count=50)
    stream = person.watch(job.job_id)
    async with working(platform):
        await read_until(stream, lambda event: event.progress.step == 2)
        if accident is signal.SIGSTOP:
            os.kill(own_redis.pid, signal.SIGSTOP)
        else:
            own_redis.kill()
        try:
            # The steps that are left take a second. That nobody hears of them must not hold up the pictures.
            done = await person.ended(job.job_id, within_seconds=20.0)
        finally:
            if accident is signal.SIGSTOP:
                os.kill(own_redis.pid, signal.SIGCONT)
            else:
                own_redis.start()
        assert done.state == job_pb2.JOB_STATE_COMPLETED
        assert_one_watchers_view(await read_to_end(stream))
        later = await person.ended((await person.create()).job_id)
        assert later.state == job_pb2.JOB_STATE_COMPLETED


async def test_claim_of_a_job_that_has_ended_is_dropped(platform: Platform, person: Person) -> None:
    job = await person.create()
    await person.cancel(job.job_id)
    await platform.queue.enqueue(record_of(job, person.account_id))
    async with working(platform) as consumer:
        await person.ended((await person.create()).job_id)

        async def is_forgotten() -> bool:
            return await platform.queue.missing([UUID(job.job_id)]) == [UUID(job.job_id)]

        await until(is_forgotten)
        assert consumer.jobs_failed == 0
    assert await outcomes(platform, job.job_id) == []
