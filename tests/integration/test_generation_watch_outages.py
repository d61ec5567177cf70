"""The streams of events while Redis forgets, restarts or stays away, and while the replica that serves them leaves."""

import asyncio

import pytest
from pingvas.generation.v1 import job_pb2
from pingvas.worker.v1 import worker_service_pb2

from svc_common.errors import Reason
from svc_common.events import EventPublisher
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform
from tests.factories.streams import (
    TERMINAL,
    assert_one_watchers_view,
    detail,
    kinds,
    read,
    read_to_end,
    read_until,
    report_step,
    steps_until_heard,
)
from tests.harness_redis import RedisServer
from tests.harness_service import refusal_of


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


async def complete(worker: WorkerClient, attempt: worker_service_pb2.Attempt) -> None:
    answer = await worker.complete(attempt, await worker.upload(attempt))
    assert answer.state == job_pb2.JOB_STATE_COMPLETED


async def test_streams_survive_that_redis_forgets_everything(
    platform: Platform, person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    one, all_jobs = person.watch(job.job_id), person.watch_all()
    await asyncio.gather(read(one, 1), read(all_jobs, 1))
    attempt = await worker.start(job.job_id)
    await report_step(publisher, attempt, 1)
    await asyncio.gather(read(one, 2), read(all_jobs, 2))

    await platform.queue.redis.flushall()
    await report_step(publisher, attempt, 2)
    await complete(worker, attempt)

    assert kinds(await read_to_end(one)) == ["progress", "completed"]
    assert kinds(await read(all_jobs, 2)) == ["progress", "completed"]


async def test_streams_survive_a_restart_of_redis(
    person: Person, worker: WorkerClient, publisher: EventPublisher, own_redis: RedisServer
) -> None:
    job = await person.create()
    one, all_jobs = person.watch(job.job_id), person.watch_all()
    await asyncio.gather(read(one, 1), read(all_jobs, 1))
    own_redis.kill()
    try:
        attempt = await worker.start(job.job_id)
        # Nobody can tell them: they look at PostgreSQL by themselves.
        assert kinds(await read(one, 1)) == kinds(await read(all_jobs, 1)) == ["started"]
    finally:
        own_redis.start()

    steps = await steps_until_heard(publisher, attempt, one)
    assert kinds(await steps_until_heard(publisher, attempt, all_jobs, first=1001)) == ["progress"]
    await complete(worker, attempt)
    events = await read_to_end(one)
    assert_one_watchers_view([*steps, *events])
    rest = await read_until(all_jobs, lambda event: detail(event) in TERMINAL)
    assert_one_watchers_view([event for event in rest if detail(event) != "progress"])


async def test_watcher_who_came_while_redis_was_away_hears_steps_when_it_is_back(
    person: Person, worker: WorkerClient, publisher: EventPublisher, own_redis: RedisServer
) -> None:
    job = await person.create()
    own_redis.kill()
    try:
        attempt = await worker.start(job.job_id)
        stream = person.watch(job.job_id)
        assert kinds(await read(stream, 2)) == ["queued", "started"]
    finally:
        own_redis.start()
    # The first one may come from the history, which is read after each gap; the next ones are heard or lost.
    for first in (1, 1001, 2001):
        assert kinds(await steps_until_heard(publisher, attempt, stream, first=first)) == ["progress"]
    stream.cancel()


async def test_steps_that_were_reported_during_an_interruption_are_told_after_it(
    platform: Platform, person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    stream = person.watch(job.job_id)
    await read(stream, 2)
    redis = platform.queue.redis
    # Only the listening connections are cut, and it is the next step that they miss.
    async with redis.pipeline(transaction=True) as pipe:
        pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await pipe.execute()
    await report_step(publisher, attempt, 1)
    (step,) = await read(stream, 1)
    assert step.progress.step == 1
    stream.cancel()


async def test_draining_ends_streams_and_another_replica_takes_them_up(
    platform: Platform, person: Person, worker: WorkerClient, publisher: EventPublisher
) -> None:
    job = await person.create()
    async with platform.replica() as leaving:
        one, all_jobs = person.at(leaving).watch(job.job_id), person.at(leaving).watch_all()
        (queued,) = await read(one, 1)
        await read(all_jobs, 1)
        await leaving.service.server.stop()
        for stream in (one, all_jobs):
            refusal = await refusal_of(stream.read())
            assert (refusal.reason, refusal.metadata) == (
                Reason.DEPENDENCY_UNAVAILABLE,
                {"dependency": "svc_generation"},
            )
    attempt = await worker.start(job.job_id)
    await complete(worker, attempt)
    events = await read_to_end(person.watch(job.job_id, queued.event_id))
    assert_one_watchers_view([queued, *events])


async def test_replica_that_did_not_make_the_change_tells_of_it_at_once(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    async with platform.replica() as other:
        stream = person.at(other).watch(job.job_id)
        # A replica that has just begun hears at once too: below the five seconds for which it would wait for Redis.
        await asyncio.wait_for(read(stream, 1), 3.0)
        await worker.start(job.job_id)
        # Below the two seconds after which a replica looks by itself.
        assert kinds(await asyncio.wait_for(read(stream, 1), 1.5)) == ["started"]
        stream.cancel()
