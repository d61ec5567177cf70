"""Who holds a job: exactly-once claims, lapsing, zombies, the loss of Redis' data, cancellation, waking, arq's view."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from svc_common.queue import FUNCTION_NAME, Claim, JobQueue, LeaseState, QueuedJob, TierDepth
from svc_common.queue.payload import deserialize
from tests.factories.queue import SettableClock, account, queued_job
from tests.harness_redis import RedisServer, eventually

LEASE_MS = 60_000


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def queue(redis: Redis, clock: SettableClock) -> JobQueue:
    return JobQueue(redis, clock_ms=clock)


async def claim(queue: JobQueue, worker_id: str = "worker") -> Claim:
    claimed = await queue.claim(worker_id, (), LEASE_MS)
    assert claimed is not None
    return claimed


async def claimed_job(queue: JobQueue, job: QueuedJob | None = None) -> Claim:
    assert await queue.enqueue(job or queued_job())
    return await claim(queue)


async def nothing_is_left(redis: Redis) -> bool:
    """Only what outlives jobs on purpose: counters, virtual times, and the marks of ended jobs."""
    lasting = (b"queue:fence", b"queue:claims", b"queue:clock", b"queue:rest:", b"queue:ended:", b"queue:wake")
    return [key for key in await redis.keys() if not key.startswith(lasting)] == []


async def test_hundred_claimers_take_fifty_jobs_once_each(queue: JobQueue, redis_server: RedisServer) -> None:
    jobs = [queued_job(f"owner-{n % 7}") for n in range(50)]
    for job in jobs:
        await queue.enqueue(job)

    async def claim_until_empty(number: int) -> list[UUID]:
        taken = []
        async with Redis.from_url(redis_server.url) as client:
            own_queue = JobQueue(client)
            while (claimed := await own_queue.claim(f"worker-{number}", (), LEASE_MS)) is not None:
                taken.append(claimed.job.job_id)
        return taken

    taken = await asyncio.gather(*(claim_until_empty(number) for number in range(100)))

    assert Counter(job_id for ids in taken for job_id in ids) == Counter(job.job_id for job in jobs)


async def test_claim_carries_the_whole_job_and_rising_fences(queue: JobQueue) -> None:
    jobs = [queued_job(tier="pro", cost_millicredits=1234, running_limit=3, model_id="flux") for _ in range(3)]
    claims = [await claimed_job(queue, job) for job in jobs]

    assert [claimed.job for claimed in claims] == jobs
    assert claims[0].fence < claims[1].fence < claims[2].fence


async def test_claim_tells_whether_anybody_had_the_job_before(
    queue: JobQueue, redis: Redis, clock: SettableClock
) -> None:
    job = queued_job()
    first = await claimed_job(queue, job)
    await queue.hand_back(first)
    after_return = await claim(queue)
    clock.now_ms += LEASE_MS + 1
    after_lapse = await claim(queue)
    await redis.flushall()
    forgotten = await claimed_job(queue, job)

    assert [each.is_first for each in (first, after_return, after_lapse, forgotten)] == [True, False, False, True]


async def test_fences_keep_rising_when_redis_lost_its_data(queue: JobQueue, redis: Redis) -> None:
    before = await claimed_job(queue)
    await redis.flushall()

    assert (await claimed_job(queue)).fence > before.fence


async def test_enqueue_is_refused_while_the_job_waits_or_runs(queue: JobQueue) -> None:
    job = queued_job()
    assert await queue.enqueue(job)
    assert not await queue.enqueue(job)
    claimed = await claim(queue)
    assert not await queue.enqueue(job)
    await queue.finish(claimed)

    assert await queue.enqueue(job)


async def test_enqueue_of_an_unknown_tier_is_refused(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="unknown tier 'gold'"):
        await queue.enqueue(queued_job(tier="gold"))


async def test_finished_job_leaves_nothing_behind(queue: JobQueue, redis: Redis) -> None:
    claimed = await claimed_job(queue)
    await queue.request_cancel(claimed.job.job_id)

    assert await queue.finish(claimed)

    assert await nothing_is_left(redis)
    assert not await queue.finish(claimed)


async def test_lapsed_lease_is_claimed_again_with_a_new_fence(queue: JobQueue, clock: SettableClock) -> None:
    lost = await claimed_job(queue)
    clock.now_ms += LEASE_MS - 1
    assert await queue.claim("other", (), LEASE_MS) is None
    clock.now_ms += 1

    again = await claim(queue, "other")

    assert again.job == lost.job
    assert again.fence > lost.fence


async def test_lapsed_job_goes_to_the_head_of_its_line_and_is_charged_once(
    queue: JobQueue, clock: SettableClock
) -> None:
    lost = await claimed_job(queue, queued_job("ann", cost_millicredits=50_000))
    for owner in ("ann", "bob", "bob", "bob"):
        await queue.enqueue(queued_job(owner))
    clock.now_ms += LEASE_MS

    order = [(await claim(queue)).job for _ in range(5)]

    assert order.index(lost.job) < 2  # ann got back the price of the lost attempt, so it isn't behind all of bob's jobs
    assert [job.account_id for job in order].index(account("ann")) == order.index(lost.job)


async def test_zombie_loses_its_lease_and_cannot_end_the_new_one(queue: JobQueue, clock: SettableClock) -> None:
    zombie = await claimed_job(queue)
    clock.now_ms += LEASE_MS
    current = await claim(queue, "other")

    assert await queue.renew(zombie, LEASE_MS) is LeaseState.LOST
    assert not await queue.finish(zombie)
    assert not await queue.hand_back(zombie)
    assert await queue.leased([zombie.job.job_id]) == [zombie.job.job_id]
    assert await queue.renew(current, LEASE_MS) is LeaseState.HELD


async def test_zombie_cannot_revive_a_job_that_another_worker_finished(queue: JobQueue, clock: SettableClock) -> None:
    zombie = await claimed_job(queue)
    clock.now_ms += LEASE_MS
    await queue.finish(await claim(queue, "other"))

    assert await queue.renew(zombie, LEASE_MS) is LeaseState.LOST
    assert await queue.missing([zombie.job.job_id]) == [zombie.job.job_id]


async def test_late_worker_keeps_its_job_while_nobody_else_took_it(queue: JobQueue, clock: SettableClock) -> None:
    late = await claimed_job(queue)
    clock.now_ms += LEASE_MS
    await queue.enqueue(queued_job("bob", tier="pro"))
    assert (await claim(queue, "other")).job.tier == "pro"  # this claim put the lapsed job back into the line

    assert await queue.renew(late, LEASE_MS) is LeaseState.HELD

    assert await queue.claim("other", (), LEASE_MS) is None
    assert await queue.finish(late)


async def test_outdated_renewal_does_not_take_back_what_was_handed_back(queue: JobQueue) -> None:
    claimed = await claimed_job(queue)
    await queue.hand_back(claimed)

    assert await queue.renew(claimed, LEASE_MS) is LeaseState.LOST
    assert (await claim(queue, "other")).job == claimed.job


async def test_renewal_with_the_servers_clock_outlasts_the_first_lease(redis: Redis) -> None:
    queue = JobQueue(redis)
    await queue.enqueue(queued_job())
    claimed = await queue.claim("worker", (), 200)
    assert claimed is not None
    assert await queue.renew(claimed, LEASE_MS) is LeaseState.HELD

    ttl_ms = await redis.pttl(f"arq:in-progress:{claimed.job.job_id}")

    assert 200 < ttl_ms <= LEASE_MS


async def test_lease_key_expires_with_the_lease_by_the_servers_clock(redis: Redis) -> None:
    queue = JobQueue(redis)
    await queue.enqueue(queued_job())
    first = await queue.wait_and_claim("worker", (), 50, wait_seconds=5)
    assert first is not None

    second = await queue.wait_and_claim("other", (), LEASE_MS, wait_seconds=0.3)

    assert second is not None
    assert second.job == first.job
    assert second.fence > first.fence


async def test_everything_comes_back_after_redis_lost_its_data(queue: JobQueue, redis: Redis) -> None:
    running = await claimed_job(queue, queued_job("ann", running_limit=1))
    waiting = [queued_job("ann", running_limit=1) for _ in range(3)] + [queued_job("bob", tier="pro")]
    for job in waiting:
        await queue.enqueue(job)
    ids = [running.job.job_id, *(job.job_id for job in waiting)]
    assert await queue.missing(ids) == []
    await redis.flushall()
    await redis.script_flush()

    assert await queue.missing(ids) == ids
    assert await queue.renew(running, LEASE_MS) is LeaseState.HELD
    assert await queue.missing(ids) == ids[1:]
    for job in waiting:
        assert await queue.enqueue(job)

    assert (await claim(queue)).job == waiting[-1]
    assert await queue.claim("other", (), LEASE_MS) is None  # ann's running job counts again
    assert await queue.finish(running)
    assert (await claim(queue)).job == waiting[0]


async def test_running_job_that_was_enqueued_anew_is_taken_back_by_its_worker(queue: JobQueue, redis: Redis) -> None:
    running = await claimed_job(queue)
    await redis.flushall()
    assert await queue.enqueue(running.job)

    assert await queue.renew(running, LEASE_MS) is LeaseState.HELD

    assert await queue.claim("other", (), LEASE_MS) is None
    assert await queue.depths() == {
        tier: TierDepth(0, int(tier == "free")) for tier in ("enterprise", "studio", "pro", "starter", "free")
    }


async def test_job_that_is_taken_back_out_of_the_line_is_charged(queue: JobQueue, clock: SettableClock) -> None:
    late = await claimed_job(queue, queued_job("ann", cost_millicredits=10_000))
    for owner in ("ann", "bob", "bob", "bob"):
        await queue.enqueue(queued_job(owner))
    clock.now_ms += LEASE_MS
    await queue.enqueue(queued_job("cid", tier="pro"))
    await claim(queue, "other")  # cid's; ann's job went back into the line, and its price back to ann
    assert await queue.renew(late, LEASE_MS) is LeaseState.HELD

    order = [(await claim(queue, "other")).job.account_id for _ in range(4)]

    assert order == [account("bob")] * 3 + [account("ann")]


async def test_finish_and_hand_back_work_when_redis_lost_its_data(queue: JobQueue, redis: Redis) -> None:
    finished, returned = await claimed_job(queue), await claimed_job(queue)
    await redis.flushall()

    assert await queue.finish(finished)
    assert await queue.hand_back(returned)

    assert (await claim(queue)).job == returned.job


async def test_claims_work_on_after_the_server_forgot_the_scripts(queue: JobQueue, redis: Redis) -> None:
    await queue.enqueue(queued_job())
    await redis.script_flush()
    assert await queue.wait_and_claim("worker", (), LEASE_MS, wait_seconds=0.05) is not None


async def test_job_without_payload_does_not_block_the_queue(queue: JobQueue, redis: Redis) -> None:
    broken, healthy = queued_job(), queued_job()
    await queue.enqueue(broken)
    await queue.enqueue(healthy)
    await redis.delete(f"arq:job:{broken.job_id}")

    assert (await claim(queue)).job == healthy
    assert await queue.missing([broken.job_id]) == [broken.job_id]


async def test_lapsed_job_without_record_does_not_block_the_queue(
    queue: JobQueue, redis: Redis, clock: SettableClock
) -> None:
    broken = await claimed_job(queue)
    await redis.delete(f"queue:job:{broken.job.job_id}")
    clock.now_ms += LEASE_MS
    healthy = queued_job("bob")
    await queue.enqueue(healthy)

    assert (await claim(queue)).job == healthy
    assert await queue.missing([broken.job.job_id]) == [broken.job.job_id]


async def test_missing_and_leased_page_through_many_ids(queue: JobQueue) -> None:
    claimed = await claimed_job(queue)
    unknown = [uuid4() for _ in range(1_200)]

    assert await queue.missing([*unknown[:600], claimed.job.job_id, *unknown[600:]]) == unknown
    assert await queue.leased([*unknown, claimed.job.job_id]) == [claimed.job.job_id]


async def test_waiting_job_is_removed_at_once_and_for_good(queue: JobQueue, redis: Redis) -> None:
    job = queued_job()
    await queue.enqueue(job)

    assert await queue.remove(job.job_id)

    assert not await queue.remove(job.job_id)
    assert await queue.claim("worker", (), LEASE_MS) is None
    assert await nothing_is_left(redis)


async def test_running_job_is_not_removed(queue: JobQueue) -> None:
    claimed = await claimed_job(queue)
    assert not await queue.remove(claimed.job.job_id)
    assert await queue.renew(claimed, LEASE_MS) is LeaseState.HELD


async def test_job_of_a_dead_worker_is_removed_and_stays_so(queue: JobQueue, clock: SettableClock) -> None:
    dead = await claimed_job(queue)
    clock.now_ms += LEASE_MS

    assert await queue.remove(dead.job.job_id)

    assert await queue.renew(dead, LEASE_MS) is LeaseState.LOST
    assert await queue.claim("worker", (), LEASE_MS) is None


async def test_cancellation_reaches_listeners_renewals_and_later_claims(queue: JobQueue) -> None:
    claimed = await claimed_job(queue)
    heard = queue.cancellations()
    first = asyncio.ensure_future(anext(heard))
    await eventually(lambda: _has_listener(queue.redis))

    await queue.request_cancel(claimed.job.job_id)

    assert await asyncio.wait_for(first, 5) == claimed.job.job_id
    assert await queue.renew(claimed, LEASE_MS) is LeaseState.CANCEL_REQUESTED
    await queue.hand_back(claimed)
    assert (await claim(queue)).cancel_requested
    await heard.aclose()


async def test_one_enqueue_wakes_exactly_one_of_several_idle_workers(
    queue: JobQueue, redis: Redis, redis_server: RedisServer
) -> None:
    async def wait(number: int) -> Claim | None:
        async with Redis.from_url(redis_server.url) as client:
            return await JobQueue(client).wait_and_claim(f"worker-{number}", (), LEASE_MS, wait_seconds=30)

    waiters = [asyncio.create_task(wait(number)) for number in range(5)]
    await eventually(lambda: _blocked_clients(redis, 5))
    job = queued_job()

    await queue.enqueue(job)
    done, still_waiting = await asyncio.wait(waiters, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    await eventually(lambda: _blocked_clients(redis, 4))

    assert [task.result().job for task in done if task.result() is not None] == [job]
    for number in range(5):
        await queue.wake_worker(f"worker-{number}")
    assert [await task for task in still_waiting] == [None] * 4


@pytest.mark.parametrize("end", ["finish", "hand_back"])
async def test_idle_worker_is_woken_when_a_job_that_ends_makes_another_one_claimable(
    queue: JobQueue, redis: Redis, end: str
) -> None:
    first = await claimed_job(queue, queued_job(running_limit=1))
    await queue.enqueue(queued_job(running_limit=1))
    assert await queue.claim("worker", (), LEASE_MS) is None
    waiting = asyncio.create_task(queue.wait_and_claim("other", (), LEASE_MS, wait_seconds=30))
    await eventually(lambda: _blocked_clients(redis, 1))

    await getattr(queue, end)(first)

    claimed = await asyncio.wait_for(waiting, 5)
    assert claimed is not None
    assert (claimed.job == first.job) is (end == "hand_back")


async def test_no_wake_token_outlives_the_work_it_announced(queue: JobQueue, redis: Redis) -> None:
    for _ in range(3):
        await queue.finish(await claimed_job(queue))
    assert await redis.llen("queue:wake") == 3
    assert await queue.claim("worker", (), LEASE_MS) is None
    assert await redis.llen("queue:wake") == 0


async def test_arq_itself_reads_waiting_and_running_jobs(queue: JobQueue, redis: Redis) -> None:
    job = queued_job(tier="pro")
    await queue.enqueue(job)
    arq = ArqRedis(redis.connection_pool, job_deserializer=deserialize)
    seen = Job(str(job.job_id), arq, _queue_name="arq:q:pro", _deserializer=deserialize)

    assert await seen.status() is JobStatus.queued
    (definition,) = await arq.queued_jobs(queue_name="arq:q:pro")
    assert definition.function == FUNCTION_NAME
    assert definition.kwargs["account_id"] == str(job.account_id)
    assert definition.score == job.create_time_ms
    assert await redis.ttl(f"arq:job:{job.job_id}") == -1  # arq's own enqueue would let it die after a day

    await claim(queue)
    assert await seen.status() is JobStatus.in_progress


async def test_waiting_longer_than_the_socket_timeout_raises(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url, socket_timeout=0.1) as client:
        with pytest.raises(RedisTimeoutError):
            await JobQueue(client).wait_and_claim("worker", (), LEASE_MS, wait_seconds=5)


async def _has_listener(redis: Redis) -> bool:
    ((_, listeners),) = await redis.pubsub_numsub("queue:cancellations")
    return bool(listeners)


async def _blocked_clients(redis: Redis, count: int) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"] == count)
