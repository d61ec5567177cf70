"""The worker's side of the queue on a real Redis: claiming, leases, cancellation, shutdown, death, outages."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gpu_worker.claim.consumer import Handler, TierConsumer
from gpu_worker.claim.lease import HandBack, Lease, renewing
from svc_common.queue import Claim, JobQueue, LeaseState, TierDepth
from svc_common.redis_client import connect
from tests.factories.queue import account, queued_job
from tests.harness_redis import RedisServer, eventually

ROOT = Path(__file__).parents[2]


@dataclass
class Recorder:
    """A handler that records what it is given and lets the test decide when each job ends."""

    started: asyncio.Queue[tuple[Claim, Lease]] = field(default_factory=asyncio.Queue)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, claim: Claim, lease: Lease) -> None:
        self.started.put_nowait((claim, lease))
        await self.may_end.wait()

    async def next(self, seconds: float = 10) -> tuple[Claim, Lease]:
        return await asyncio.wait_for(self.started.get(), seconds)


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    return JobQueue(redis)


@asynccontextmanager
async def consuming(queue: JobQueue, handler: Handler, **options: Any) -> AsyncIterator[TierConsumer]:
    defaults: dict[str, Any] = {
        "worker_id": "worker-0",
        "slot": asyncio.Semaphore(1),
        "loaded_models": tuple,
        "lease_ms": 1_000,
        "grace_seconds": 0.0,
        "handle_signals": False,
    }
    consumer = TierConsumer(queue, handler, **{**defaults, **options})
    running = asyncio.create_task(consumer.async_run())
    try:
        yield consumer
    finally:
        consumer.stop()
        await asyncio.wait_for(running, 20)


async def is_idle(queue: JobQueue) -> bool:
    return set((await queue.depths()).values()) == {TierDepth(0, 0)}


async def test_job_is_run_once_and_leaves_the_queue(queue: JobQueue) -> None:
    recorder = Recorder()
    recorder.may_end.set()
    async with consuming(queue, recorder) as consumer:
        job = queued_job()
        await queue.enqueue(job)
        claim, _ = await recorder.next()
        await eventually(lambda: is_idle(queue))
    assert claim.job == job
    assert consumer.jobs_complete == 1
    assert recorder.started.empty()


async def test_lease_is_renewed_while_the_handler_runs(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, lease_ms=300):
        await queue.enqueue(queued_job())
        claim, lease = await recorder.next()
        job_id = claim.job.job_id
        first_end = await queue.redis.zscore("queue:leases:free", str(job_id))

        async def lasts_twice_as_long() -> bool:
            return bool(await queue.redis.zscore("queue:leases:free", str(job_id)) > first_end + 300)

        await eventually(lasts_twice_as_long)
        assert await queue.leased([job_id]) == [job_id]
        assert not lease.lost.is_set()
        recorder.may_end.set()
        await eventually(lambda: is_idle(queue))


async def test_next_job_is_claimed_when_the_slot_is_released_before_the_handler_returns(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder):
        await queue.enqueue(queued_job("ann"))
        await queue.enqueue(queued_job("bob"))
        _, first = await recorder.next()
        assert (await queue.depths())["free"] == TierDepth(waiting=1, running=1)

        first.release_slot()
        first.release_slot()
        await recorder.next()

        assert (await queue.depths())["free"] == TierDepth(waiting=0, running=2)
        await queue.enqueue(queued_job("cid"))
        assert recorder.started.empty()  # the second release freed nothing
        recorder.may_end.set()
        await recorder.next()
        await eventually(lambda: is_idle(queue))


async def test_jobs_past_the_slot_are_bounded(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, max_running=2):
        for _ in range(3):
            await queue.enqueue(queued_job())
        for _ in range(2):
            _, lease = await recorder.next()
            lease.release_slot()
        assert (await queue.depths())["free"] == TierDepth(waiting=1, running=2)
        recorder.may_end.set()
        await recorder.next()


async def test_cancellation_reaches_a_running_handler_at_once(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, lease_ms=60_000):
        await queue.enqueue(queued_job())
        claim, lease = await recorder.next()
        await eventually(lambda: _hears_cancellations(queue.redis))

        await queue.request_cancel(claim.job.job_id)

        await asyncio.wait_for(lease.cancel_requested.wait(), 5)  # the next renewal is 20 s away
        recorder.may_end.set()


async def test_cancellation_whose_message_was_missed_arrives_with_the_renewal(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, lease_ms=300):
        await queue.enqueue(queued_job())
        claim, lease = await recorder.next()
        await queue.redis.set(f"queue:cancel:{claim.job.job_id}", "1")  # as if nobody had listened to the channel
        await asyncio.wait_for(lease.cancel_requested.wait(), 5)
        recorder.may_end.set()


async def test_handler_learns_that_its_lease_is_lost_and_ends_nothing(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, lease_ms=600):
        await queue.enqueue(queued_job())
        claim, lease = await recorder.next()
        await queue.redis.zadd("queue:leases:free", {str(claim.job.job_id): 1})  # as if this worker had been frozen
        other = await queue.claim("other", (), 60_000)
        assert other is not None

        await asyncio.wait_for(lease.lost.wait(), 5)
        recorder.may_end.set()
        await queue.enqueue(queued_job("bob"))
        await recorder.next()  # the worker goes on with its next job

    assert await queue.leased([claim.job.job_id]) == [claim.job.job_id]
    assert await queue.finish(other)


async def test_failed_handler_gets_its_job_again_after_a_pause(queue: JobQueue) -> None:
    fences = []
    done = asyncio.Event()

    async def fail_once(claim: Claim, _lease: Lease) -> None:
        fences.append(claim.fence)
        if len(fences) == 1:
            raise RuntimeError("the pipeline broke")
        done.set()

    async with consuming(queue, fail_once, retry_delay_ms=50) as consumer:
        await queue.enqueue(queued_job())
        await asyncio.wait_for(done.wait(), 10)
        await eventually(lambda: is_idle(queue))
    assert fences[0] < fences[1]
    assert (consumer.jobs_failed, consumer.jobs_complete) == (1, 1)


async def test_handed_back_job_runs_again_at_once(queue: JobQueue) -> None:
    attempts = []
    done = asyncio.Event()

    async def hand_back_once(claim: Claim, _lease: Lease) -> None:
        attempts.append(claim)
        if len(attempts) == 1:
            raise HandBack
        done.set()

    async with consuming(queue, hand_back_once, lease_ms=60_000, retry_delay_ms=60_000):
        await queue.enqueue(queued_job())
        await asyncio.wait_for(done.wait(), 5)


async def test_stop_lets_a_running_handler_finish_and_claims_nothing_more(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, grace_seconds=10) as consumer:
        await queue.enqueue(queued_job("ann"))
        await recorder.next()
        consumer.stop()
        await queue.enqueue(queued_job("bob"))
        recorder.may_end.set()
    assert consumer.jobs_complete == 1
    assert (await queue.depths())["free"] == TierDepth(waiting=1, running=0)


async def test_stop_hands_back_what_outlasts_the_grace_period(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, grace_seconds=0.05, lease_ms=60_000):
        await queue.enqueue(queued_job())
        claim, _ = await recorder.next()
    again = await queue.claim("other", (), 60_000)
    assert again is not None
    assert again.job == claim.job


async def test_stop_ends_an_idle_wait_at_once(queue: JobQueue) -> None:
    async with consuming(queue, Recorder()) as consumer:
        await eventually(lambda: _is_blocked(queue.redis))
        consumer.stop()
        await eventually(lambda: _is_free(queue.redis), seconds=0.5)  # the wait itself would last up to a second


async def test_sigterm_finishes_the_running_job_and_exits(redis_server: RedisServer, queue: JobQueue) -> None:
    worker = start_worker(redis_server.url, lease_ms=30_000)
    try:
        await queue.enqueue(queued_job())
        await started_by_worker(queue.redis)
        worker.send_signal(signal.SIGTERM)
        await queue.redis.set("test:may-end", "1")
        assert await asyncio.to_thread(worker.wait, 15) == 0
        assert await is_idle(queue)
    finally:
        worker.kill()
        worker.wait()


async def test_job_of_a_killed_worker_is_taken_over_after_the_lease(redis_server: RedisServer, queue: JobQueue) -> None:
    worker = start_worker(redis_server.url, lease_ms=1_000)
    try:
        job = queued_job()
        await queue.enqueue(job)
        assert await started_by_worker(queue.redis) == job.job_id
        recorder = Recorder()
        recorder.may_end.set()
        async with consuming(queue, recorder, worker_id="worker-1"):
            os.kill(worker.pid, signal.SIGKILL)
            claim, _ = await recorder.next()
            assert claim.job == job
            await eventually(lambda: is_idle(queue))
    finally:
        worker.kill()
        worker.wait()


async def test_frozen_worker_that_wakes_up_has_lost_its_job(redis_server: RedisServer, queue: JobQueue) -> None:
    worker = start_worker(redis_server.url, lease_ms=600)
    try:
        await queue.enqueue(queued_job())
        job_id = await started_by_worker(queue.redis)
        recorder = Recorder()
        async with consuming(queue, recorder, worker_id="worker-1"):
            os.kill(worker.pid, signal.SIGSTOP)
            claim, _ = await recorder.next()
            os.kill(worker.pid, signal.SIGCONT)
            lost = await queue.redis.blpop(["test:lost"], timeout=10)
            assert lost is not None
            assert UUID(lost[1].decode()) == job_id
            assert await queue.leased([job_id]) == [job_id]
            recorder.may_end.set()
            await eventually(lambda: is_idle(queue))
        assert claim.job.job_id == job_id
    finally:
        worker.kill()
        worker.wait()


async def test_flushall_loses_no_job_once_missing_ones_are_enqueued_again(queue: JobQueue) -> None:
    recorder = Recorder()
    async with consuming(queue, recorder, lease_ms=600):
        jobs = [queued_job("ann", running_limit=2) for _ in range(20)]
        for job in jobs:
            await queue.enqueue(job)
        running, lease = await recorder.next()

        await queue.redis.flushall()
        await queue.redis.script_flush()
        await eventually(lambda: _is_leased(queue, running.job.job_id))  # by its renewal
        for job_id in await queue.missing([job.job_id for job in jobs]):
            assert await queue.enqueue(next(job for job in jobs if job.job_id == job_id))
        recorder.may_end.set()

        finished = {running.job.job_id} | {(await recorder.next())[0].job.job_id for _ in jobs[1:]}
        await eventually(lambda: is_idle(queue))
        assert not lease.lost.is_set()
    assert finished == {job.job_id for job in jobs}
    assert recorder.started.empty()


async def test_worker_outlives_a_killed_and_restarted_redis(own_redis_server: RedisServer) -> None:
    async with Redis.from_url(own_redis_server.url, retry=Retry(NoBackoff(), 0)) as redis:
        queue = JobQueue(redis)
        recorder = Recorder()
        async with consuming(queue, recorder, lease_ms=1_000) as consumer:
            jobs = [queued_job(f"owner-{n}") for n in range(20)]
            for job in jobs:
                await queue.enqueue(job)
            _, lease = await recorder.next()

            own_redis_server.kill()
            await eventually(lambda: _raises(redis))
            await asyncio.to_thread(own_redis_server.start)
            # The append-only file may lack the last second; the owner of the jobs puts it back.
            for job_id in await queue.missing([job.job_id for job in jobs]):
                await queue.enqueue(next(job for job in jobs if job.job_id == job_id))
            recorder.may_end.set()

            await eventually(lambda: is_idle(queue))
            assert consumer.connected
            await eventually(lambda: _hears_cancellations(redis))
            assert not lease.lost.is_set()
        assert consumer.jobs_complete == 20


async def test_worker_started_before_redis_begins_when_redis_is_there(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    recorder = Recorder()
    recorder.may_end.set()
    async with Redis.from_url(own_redis_server.url) as redis:
        queue = JobQueue(redis)
        async with consuming(queue, recorder):
            await eventually(lambda: _raises(redis))
            await asyncio.to_thread(own_redis_server.start)
            job = queued_job()
            await queue.enqueue(job)
            assert (await recorder.next())[0].job == job


async def test_consumer_serves_two_accounts_in_turn(queue: JobQueue) -> None:
    order: list[UUID] = []

    async def note(claim: Claim, _lease: Lease) -> None:
        order.append(claim.job.account_id)

    for owner in ("ann",) * 6 + ("bob",) * 6:
        await queue.enqueue(queued_job(owner))
    async with consuming(queue, note):
        await eventually(lambda: is_idle(queue))
    assert [set(order[i : i + 2]) for i in range(0, 12, 2)] == [{account("ann"), account("bob")}] * 6


def start_worker(url: str, *, lease_ms: int) -> subprocess.Popen[bytes]:
    """Starts a worker process that tells of each job in `test:started` and holds it until `test:may-end` exists."""
    command = [sys.executable, "-m", "tests.fakes.queue_worker", url, str(lease_ms)]
    return subprocess.Popen(command, cwd=ROOT)


async def started_by_worker(redis: Redis) -> UUID:
    started = await redis.blpop(["test:started"], timeout=20)
    assert started is not None
    return UUID(started[1].decode())


async def _is_leased(queue: JobQueue, job_id: UUID) -> bool:
    return await queue.leased([job_id]) == [job_id]


async def _is_blocked(redis: Redis) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"])


async def _is_free(redis: Redis) -> bool:
    return not await _is_blocked(redis)


async def _hears_cancellations(redis: Redis) -> bool:
    ((_, listeners),) = await redis.pubsub_numsub("queue:cancellations")
    return bool(listeners)


async def _raises(redis: Redis) -> bool:
    try:
        await redis.ping()
    except RedisError:
        return True
    return False


class WatchedQueue(JobQueue):
    """A queue that tells when a renewal begins."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.renewing = asyncio.Event()

    async def renew(self, claim: Claim, lease_ms: int) -> LeaseState:
        self.renewing.set()
        return await super().renew(claim, lease_ms)


async def test_renewals_end_with_the_handler_whatever_they_are_at(redis_server: RedisServer) -> None:
    """redis-py sends with asyncio.wait_for, which on Python 3.11 swallows a cancellation that comes as the bytes are sent."""
    async with connect(redis_server.url) as redis:
        queue = WatchedQueue(redis)
        await queue.enqueue(queued_job())
        claim = await queue.claim("worker-0", (), 10_000)
        assert claim is not None
        for turns in range(20):
            queue.renewing.clear()
            async with asyncio.timeout(5), renewing(queue, claim, Lease(claim, lambda: None), lease_ms=150):
                await queue.renewing.wait()
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert f"renew {claim.job.job_id}" not in {task.get_name() for task in asyncio.all_tasks()}, turns
