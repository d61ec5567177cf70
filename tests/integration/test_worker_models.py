"""A worker without its models: it fetches them before the render, mends what is damaged, and looks ahead to the next job."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_event_pb2, job_pb2

from gpu_worker.attempt.model_fetch import lock_of
from tests.factories.actors import Operator, Person
from tests.factories.models import put_manifest
from tests.factories.platform import Platform, running_platform
from tests.factories.stored_models import ModelsBucket, StoredModel, made_model
from tests.factories.streams import JobEvent, assert_one_watchers_view, detail, read_to_end, read_until
from tests.factories.working import working
from tests.fakes.pipeline import FakePipeline
from tests.harness_disk import SmallDisk
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities

FETCHING, LOADING, RENDERING = (
    job_event_pb2.JOB_STAGE_FETCHING_MODEL,
    job_event_pb2.JOB_STAGE_LOADING_MODEL,
    job_event_pb2.JOB_STAGE_RENDERING,
)
NAMES = ("stored-one", "stored-two", "stored-three", "stored-ahead", "stored-later", "stored-nowhere")
WEIGHTS = "unet/weights.safetensors"


@pytest.fixture(scope="module")
def stored() -> dict[str, StoredModel]:
    """Models that the catalogue knows."""
    return {name: made_model(name, {WEIGHTS: 300_000, "model_index.json": 90}) for name in NAMES}


@pytest.fixture(scope="module")
async def platform(
    stored: dict[str, StoredModel],
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """A platform whose catalogue has models that lie in the models bucket, all but one."""
    own_redis.start()
    folder = tmp_path_factory.mktemp("models")
    bucket = ModelsBucket(S3Server(tmp_path_factory.mktemp("s3")), "pingvas-models")
    # Before its start: the server remembers which folders there are.
    (bucket.server.folder / "data" / bucket.name).mkdir(parents=True)
    bucket.server.start()
    try:
        await fill(bucket, stored, folder)
        async with running_platform(database_for, identities, own_redis, bucket.server, folder) as running:
            yield running
    finally:
        bucket.server.stop()
        own_redis.stop()


async def fill(bucket: ModelsBucket, stored: dict[str, StoredModel], folder: Path) -> None:
    small: dict[str, Any] = {"native_width_px": 64, "native_height_px": 64, "default_step_count": 10}
    for name, model in stored.items():
        files = [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in model.spec.files]
        put_manifest(folder, name, files=files, **small)
        if name != "stored-nowhere":
            await bucket.put(model)


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


def stages(events: list[JobEvent]) -> list[int]:
    """Returns the stages of a job in their order, each once for as long as it lasts."""
    found: list[int] = []
    for event in events:
        if detail(event) == "progress" and found[-1:] != [event.progress.stage]:
            found.append(event.progress.stage)
    return found


async def test_missing_model_is_fetched_with_progress_before_the_render(
    platform: Platform, person: Person, stored: dict[str, StoredModel], tmp_path: Path
) -> None:
    job = await person.create(model_id="stored-one")
    stream = person.watch(job.job_id)
    async with working(platform, models_dir=tmp_path, pipeline=FakePipeline(0.005, tmp_path)):
        events = await read_to_end(stream)
        again = await person.create(model_id="stored-one")
        later = await read_to_end(person.watch(again.job_id))
    assert_one_watchers_view(events)
    assert detail(events[-1]) == "completed"
    assert stages(events) == [FETCHING, LOADING, RENDERING]
    fetched = [event.progress for event in events if event.progress.stage == FETCHING]
    size_bytes = stored["stored-one"].spec.size_bytes
    assert {progress.fetch_size_bytes for progress in fetched} == {size_bytes}
    assert fetched[-1].fetched_bytes == size_bytes
    assert [progress.fetched_bytes for progress in fetched] == sorted(progress.fetched_bytes for progress in fetched)
    assert stages(later) == [RENDERING]


async def test_watcher_that_comes_back_at_any_event_misses_and_repeats_nothing(
    platform: Platform, person: Person, tmp_path: Path
) -> None:
    job = await person.create(model_id="stored-two")
    async with working(platform, models_dir=tmp_path, pipeline=FakePipeline(0.005, tmp_path)):
        events = await read_to_end(person.watch(job.job_id))
    ids = [event.event_id for event in events]
    for index, event_id in enumerate(ids[:-1]):
        rest = await read_to_end(person.watch(job.job_id, after=event_id))
        assert [event.event_id for event in rest] == ids[index + 1 :]


async def test_damaged_model_is_set_aside_and_fetched_again(
    platform: Platform, person: Person, stored: dict[str, StoredModel], tmp_path: Path
) -> None:
    async with working(platform, models_dir=tmp_path, pipeline=FakePipeline(0.005, tmp_path)):
        await person.ended((await person.create(model_id="stored-three")).job_id)
        weights = tmp_path / "stored-three" / "1" / WEIGHTS
        content = bytearray(weights.read_bytes())
        content[1000] ^= 1
        weights.write_bytes(content)
        job = await person.create(model_id="stored-three")
        events = await read_to_end(person.watch(job.job_id))
    assert_one_watchers_view(events)
    assert detail(events[-1]) == "completed"
    assert stages(events) == [FETCHING, RENDERING]
    assert (await person.get(job.job_id)).attempt == 1
    assert weights.read_bytes() == stored["stored-three"].contents[WEIGHTS]
    (aside,) = (tmp_path / ".quarantine").iterdir()
    assert (aside / WEIGHTS).read_bytes() == bytes(content)


async def test_model_that_cannot_be_fetched_fails_its_job_and_no_other(
    platform: Platform, person: Person, tmp_path: Path
) -> None:
    before = await person.balance()
    async with working(platform, models_dir=tmp_path, pipeline=FakePipeline(0.005, tmp_path)):
        failed = await person.ended((await person.create(model_id="stored-nowhere")).job_id, within_seconds=30)
        assert await person.balance() == before
        healthy = await person.ended((await person.create(model_id="stored-one")).job_id)
    assert failed.failure.reason == error_reason_pb2.ERROR_REASON_MODEL_LOAD_FAILED
    assert failed.failure.message == "The model couldn't be loaded. Try another model."
    assert healthy.state == job_pb2.JOB_STATE_COMPLETED
    await Operator(platform).assert_holds_match_jobs()


async def test_model_of_the_next_waiting_job_is_fetched_and_prefetched_during_a_render(
    platform: Platform, person: Person, tmp_path: Path
) -> None:
    pipeline = FakePipeline(0.005, tmp_path)
    async with working(platform, models_dir=tmp_path, pipeline=pipeline):
        await person.ended((await person.create(model_id="stored-one")).job_id)
        busy = await person.create("[[slow=0.1]]", model_id="stored-one", step_count=50)
        stream = person.watch(busy.job_id)
        waiting = await person.create(model_id="stored-ahead")
        await read_until(stream, lambda event: event.progress.step == 1)

        async def is_prefetched() -> bool:
            return pipeline.prefetched == ["stored-ahead"]

        await until(is_prefetched, within_seconds=10)
        assert (await person.get(busy.job_id)).state == job_pb2.JOB_STATE_RUNNING
        await person.cancel(busy.job_id)
        events = await read_to_end(person.watch(waiting.job_id))
    assert stages(events) == [LOADING, RENDERING]
    assert detail(events[-1]) == "completed"


async def test_prefetch_that_fails_does_not_disturb_the_render(
    platform: Platform, person: Person, tmp_path: Path
) -> None:
    pipeline = FakePipeline(0.005, tmp_path)
    async with working(platform, models_dir=tmp_path, pipeline=pipeline):
        await person.ended((await person.create(model_id="stored-one")).job_id)
        busy = await person.create("[[slow=0.05]]", model_id="stored-one", step_count=30)
        doomed = await person.create(model_id="stored-nowhere")
        done = await person.ended(busy.job_id)
        await person.ended(doomed.job_id, within_seconds=30)
    assert done.state == job_pb2.JOB_STATE_COMPLETED
    assert pipeline.prefetched == []


async def test_fetch_is_given_up_at_once_when_the_worker_stops(
    platform: Platform, person: Person, tmp_path: Path
) -> None:
    (tmp_path / ".locks" / "stored-two").mkdir(parents=True)
    job = await person.create(model_id="stored-two")
    stream = person.watch(job.job_id)
    # Another worker fetches the model and takes its time.
    with lock_of(tmp_path / ".locks" / "stored-two" / "1"):
        async with working(platform, models_dir=tmp_path, grace_seconds=15.0) as consumer:
            await read_until(stream, lambda event: event.progress.stage == FETCHING)
            consumer.stop()
            async with asyncio.timeout(7.0):
                await read_until(stream, lambda event: detail(event) == "queued")
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_QUEUED
    await person.cancel(job.job_id)


async def test_job_whose_model_had_no_room_completes_when_the_disk_has_grown(
    platform: Platform, person: Person, small_disk: Callable[[str], SmallDisk]
) -> None:
    disk = small_disk("128k")
    job = await person.create(model_id="stored-later")
    async with working(platform, models_dir=disk.folder, pipeline=FakePipeline(0.005, disk.folder), later_ms=200):

        async def has_gone_back() -> bool:
            found = await person.get(job.job_id)
            return found.state == job_pb2.JOB_STATE_QUEUED and found.attempt > 3

        await until(has_gone_back)
        disk.grow("2m")
        done = await person.ended(job.job_id)
    assert done.state == job_pb2.JOB_STATE_COMPLETED
    await Operator(platform).assert_holds_match_jobs()
