"""The streams of events: complete, in order and resumable, however slowly somebody reads."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from pingvas.generation.v1 import job_pb2
from pingvas.worker.v1 import worker_service_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_common.events import EventPublisher
from svc_generation.domain.event_ids import EventId
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.factories.streams import (
    JobEvent,
    assert_one_watchers_view,
    detail,
    kinds,
    read,
    read_to_end,
    report_step,
)
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

HEARTBEAT_SECONDS = 0.3


@pytest.fixture(scope="module")
async def platform(
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    own_redis.start()
    folder: Path = tmp_path_factory.mktemp("models")
    try:
        async with running_platform(
            database_for, identities, own_redis, s3_server, folder, heartbeat_seconds=HEARTBEAT_SECONDS
        ) as running:
            yield running
    finally:
        own_redis.stop()


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


async def complete(worker: WorkerClient, attempt: worker_service_pb2.Attempt) -> None:
    answer = await worker.complete(attempt, await worker.upload(attempt))
    assert answer.state == job_pb2.JOB_STATE_COMPLETED


async def test_stream_tells_the_life_of_a_job_in_order_and_ends_with_its_end(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    (queued,) = await read(stream, 1)
    assert (queued.event_id, queued.state) == ("1", job_pb2.JOB_STATE_QUEUED)

    attempt = await worker.start(job.job_id)
    for step in (1, 2, 3):
        await report_step(publisher, attempt, step)
    told = await read(stream, 4)
    await complete(worker, attempt)
    rest = await read_to_end(stream)

    assert kinds(told + rest) == ["started", "progress", "progress", "progress", "completed"]
    assert [event.event_id for event in told + rest] == ["2", "2-1", "2-2", "2-3", "3"]
    assert_one_watchers_view([queued, *told, *rest])
    (end,) = rest
    assert [image.image_id for image in end.completed.images] == [attempt.slots[0].image_id]
    assert end.completed.credits_used == (await person.get(job.job_id)).credits_used
    assert told[0].started.attempt == 1


async def test_stream_resumed_after_any_event_goes_on_exactly_behind_it(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    lost = await worker.start(job.job_id, "worker-0:1")
    await report_step(publisher, lost, 1)
    attempt = await worker.start(job.job_id, "worker-0:2")
    for step in (1, 2):
        await report_step(publisher, attempt, step)
    await complete(worker, attempt)

    whole = await read_to_end(person.watch(job.job_id))

    assert_one_watchers_view(whole)
    assert [event.event_id for event in whole] == ["1", "2-1", "3", "3-1", "3-2", "4"]
    for place, event in enumerate(whole):
        rest = await read_to_end(person.watch(job.job_id, event.event_id))
        assert [each.event_id for each in rest] == [each.event_id for each in whole[place + 1 :]]


async def test_stream_cut_while_events_come_misses_and_repeats_nothing(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()

    async def live() -> None:
        attempt = await worker.start(job.job_id)
        for step in range(1, 41):
            await report_step(publisher, attempt, step)
        await complete(worker, attempt)

    living = asyncio.create_task(live())
    events: list[JobEvent] = []
    while not events or detail(events[-1]) != "completed":
        stream = person.watch(job.job_id, events[-1].event_id if events else "")
        events += await read(stream, 1)
        stream.cancel()
    await living
    assert_one_watchers_view(events)
    assert kinds(events) == ["queued", "started", *["progress"] * 40, "completed"]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_stream_ends_with_the_one_end_of_the_job(person: Person, worker: WorkerClient, end: str) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    await read(stream, 1)
    if end == "failed":
        await worker.fail(await worker.start(job.job_id), Reason.OUT_OF_MEMORY)
    else:
        await person.cancel(job.job_id)
    events = await read_to_end(stream)
    assert_one_watchers_view(events)
    assert detail(events[-1]) == end
    if end == "failed":
        assert (events[-1].failed.message, events[-1].failed.credits_refunded) == ("It went wrong.", job.credits_held)
    # Whoever comes too late is told the end once more, and that is all there is behind anything.
    assert kinds(await read_to_end(person.watch(job.job_id)))[-1:] == [end]
    assert await read_to_end(person.watch(job.job_id, events[-1].event_id)) == []


async def test_stream_tells_of_a_job_that_was_put_back(person: Person, worker: WorkerClient) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    await read(stream, 1)
    attempt = await worker.start(job.job_id, "worker-0:1")
    assert kinds(await read(stream, 1)) == ["started"]
    await worker.give_back(attempt)
    assert kinds(await read(stream, 1)) == ["queued"]
    again = await worker.start(job.job_id, "worker-0:2")
    (started,) = await read(stream, 1)
    assert (detail(started), started.started.attempt, started.event_id) == ("started", 2, "4")
    await complete(worker, again)
    assert kinds(await read_to_end(stream)) == ["completed"]


async def test_slow_reader_misses_steps_but_never_the_end(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    await read(stream, 1)
    attempt = await worker.start(job.job_id)
    # Eight megabytes, more than the way to a reader who doesn't read can hold.
    for step in range(1, 1001):
        await report_step(publisher, attempt, step, preview=bytes(8192))
    await complete(worker, attempt)

    events = await read_to_end(stream)

    assert_one_watchers_view(events)
    assert kinds(events)[0] == "started"
    assert len(events) < 1000, "nothing was coalesced, so this test shows nothing"
    assert events[-2].progress.step == 1000, "what is kept is the newest"


async def test_two_hundred_watchers_of_one_job_see_the_same(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    streams = [person.watch(job.job_id) for _ in range(200)]
    await asyncio.gather(*(read(stream, 1) for stream in streams))
    attempt = await worker.start(job.job_id)
    for step in range(1, 11):
        await report_step(publisher, attempt, step)
    await complete(worker, attempt)

    views = await asyncio.gather(*map(read_to_end, streams))

    expected = ["started", *["progress"] * 10, "completed"]
    assert [kinds(view) for view in views] == [expected] * 200
    for view in views:
        assert_one_watchers_view(view)


async def test_stream_of_an_idle_job_has_a_heart_beat(person: Person) -> None:
    job = await person.create()
    stream = person.watch(job.job_id)
    await read(stream, 1)
    beats = [await asyncio.wait_for(stream.read(), 20 * HEARTBEAT_SECONDS) for _ in range(3)]
    assert kinds(beats) == ["heartbeat"] * 3
    assert {(beat.event_id, beat.job_id) for beat in beats} == {("", "")}
    times = [beat.create_time.ToMilliseconds() / 1000 for beat in beats]
    assert all(later - earlier >= HEARTBEAT_SECONDS * 0.9 for earlier, later in pairwise(times))


async def test_stream_of_all_jobs_begins_with_the_open_ones_and_tells_of_new_ones(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    ended, running, waiting = [await person.create() for _ in range(3)]
    await person.cancel(ended.job_id)
    attempt = await worker.start(running.job_id)
    await report_step(publisher, attempt, 1)
    stream = person.watch_all()
    beginning = await read(stream, 4)
    assert [(event.job_id, detail(event)) for event in beginning] == [
        (running.job_id, "queued"),
        (waiting.job_id, "queued"),
        (running.job_id, "started"),
        (running.job_id, "progress"),
    ]

    new = await person.create()
    assert [(event.job_id, detail(event)) for event in await read(stream, 1)] == [(new.job_id, "queued")]
    await person.cancel(waiting.job_id)
    await complete(worker, attempt)
    ends = await read(stream, 2)
    assert [(event.job_id, detail(event)) for event in ends] == [
        (waiting.job_id, "cancelled"),
        (running.job_id, "completed"),
    ]
    stream.cancel()


async def test_stream_of_all_jobs_resumed_after_any_event_misses_and_repeats_nothing(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    stream = person.watch_all()
    whole: list[JobEvent] = []
    for _ in range(2):
        job = await person.create()
        attempt = await worker.start(job.job_id)
        await report_step(publisher, attempt, 1)
        # Read before the job goes on: a step may be overtaken by the end of its job, and is dropped then.
        whole += await read(stream, 3)
        await complete(worker, attempt)
        whole += await read(stream, 1)
    stream.cancel()

    ids = [EventId.parse(event.event_id) for event in whole]
    assert ids == sorted(set(ids))
    changes = [event.event_id for event in whole if detail(event) != "progress"]
    assert len(changes) == 6
    for event in whole:
        behind = [each for each in changes if EventId.parse(each) > EventId.parse(event.event_id)]
        again = person.watch_all(event.event_id)
        assert [each.event_id for each in await read(again, len(behind))] == behind
        again.cancel()


async def test_stream_of_all_jobs_tells_the_steps_of_workers_whose_clocks_disagree(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    ahead, behind = [await worker.start((await person.create()).job_id) for _ in range(2)]
    stream = person.watch_all()
    await read(stream, 4)
    for step in range(1, 4):
        await report_step(publisher, ahead, step, clock_ahead_seconds=600)
        await report_step(publisher, behind, step)
    events = await read(stream, 6)
    assert [(event.job_id, event.progress.step) for event in events] == [
        (attempt.job_id, step) for step in (1, 2, 3) for attempt in (ahead, behind)
    ]
    ids = [EventId.parse(event.event_id) for event in events]
    assert ids == sorted(set(ids))
    stream.cancel()


async def test_stream_of_all_jobs_tells_nothing_of_a_job_behind_its_end(
    person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    stream = person.watch_all()
    assert detail(await stream.read()) == "heartbeat"
    jobs = [await person.create() for _ in range(5)]
    for job in jobs:
        attempt = await worker.start(job.job_id)
        await complete(worker, attempt)
        await report_step(publisher, attempt, 1)
    last = await person.create()
    events = await read(stream, 1)
    while events[-1].job_id != last.job_id:
        events += await read(stream, 1)
    stream.cancel()
    for job in jobs:
        assert kinds([event for event in events if event.job_id == job.job_id])[-1] == "completed"


@pytest.mark.parametrize("after", ["x", "1-2-3", "-1"])
async def test_made_up_event_id_is_refused(person: Person, after: str) -> None:
    job = await person.create()
    assert (await refusal_of(person.watch(job.job_id, after).read())).reason is Reason.EVENT_ID_INVALID
    assert (await refusal_of(person.watch_all(after).read())).reason is Reason.EVENT_ID_INVALID


async def test_watcher_of_all_jobs_hears_nothing_of_another_account(
    platform: Platform, person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    stranger = await Person.arrive(platform)
    stream = stranger.watch_all()
    beat = await stream.read()
    assert detail(beat) == "heartbeat"
    job = await person.create()
    attempt = await worker.start(job.job_id)
    await report_step(publisher, attempt, 1)
    await complete(worker, attempt)
    own = await stranger.create()
    assert [(event.job_id, detail(event)) for event in await read(stream, 1)] == [(own.job_id, "queued")]
    stream.cancel()


async def test_watchers_who_left_are_forgotten(platform: Platform, person: Person) -> None:
    job = await person.create()
    hub = platform.generation.parts.hub
    streams = [person.watch(job.job_id) for _ in range(5)]
    await asyncio.gather(*(read(stream, 1) for stream in streams))
    assert len(hub._mailboxes[person.account_id]) == 5
    for stream in streams:
        stream.cancel()

    async def is_forgotten() -> bool:
        return person.account_id not in hub._mailboxes

    await until(is_forgotten)
    channel = f"events:{person.account_id}"

    async def is_left() -> bool:
        return await platform.queue.redis.pubsub_numsub(channel) == [(channel.encode(), 0)]

    await until(is_left)


async def test_job_that_is_not_there_can_not_be_watched(person: Person) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await read_to_end(person.watch(str(new_id())))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
