"""How many jobs start before a job: exact where jobs are equally dear and few accounts wait, bounded everywhere."""

import random

import pytest
from redis.asyncio import Redis

from svc_common.queue import JobQueue, QueuedJob, TierDepth
from tests.factories.queue import SettableClock, account, queued_job

LEASE_MS = 60_000


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    return JobQueue(redis, clock_ms=SettableClock())  # nobody is overdue


async def claimed_order(queue: JobQueue, count: int) -> list[QueuedJob]:
    order = []
    for _ in range(count):
        claim = await queue.claim("worker", (), LEASE_MS)
        assert claim is not None
        await queue.finish(claim)
        order.append(claim.job)
    return order


@pytest.mark.parametrize("seed", range(10))
async def test_positions_are_those_in_which_equally_dear_jobs_really_start(queue: JobQueue, seed: int) -> None:
    choose = random.Random(seed)
    tiers = ("enterprise", "studio", "pro", "starter")
    jobs = [queued_job(choose.choice(("ann", "bob", "cid")), tier=choose.choice(tiers)) for _ in range(9)]
    jobs += [queued_job(choose.choice(("ann", "ann", "ann", "bob", "cid")), tier="pro") for _ in range(20)]
    for job in jobs:
        await queue.enqueue(job)
    await claimed_order(queue, 5)
    waiting = [job for job in jobs if await queue.position(job.job_id) is not None]
    positions = {job.job_id: await queue.position(job.job_id) for job in waiting}

    order = await claimed_order(queue, len(waiting))

    assert len(waiting) == len(jobs) - 5
    assert positions == {job.job_id: index for index, job in enumerate(order)}


async def test_position_for_a_new_job_is_the_position_that_it_gets(queue: JobQueue) -> None:
    for owner in ("ann", "ann", "ann", "bob"):
        await queue.enqueue(queued_job(owner, tier="pro"))
    await queue.enqueue(queued_job("cid", tier="studio"))
    await queue.enqueue(queued_job("cid", tier="free"))

    for owner, expected in (("ann", 5), ("bob", 3), ("dan", {1, 2, 3})):
        foretold = await queue.position_for_new("pro", account(owner))
        job = queued_job(owner, tier="pro")
        await queue.enqueue(job)
        assert await queue.position(job.job_id) == foretold
        assert foretold in (expected if isinstance(expected, set) else {expected})
        assert await queue.remove(job.job_id)


async def test_position_is_none_once_a_job_runs_or_is_unknown(queue: JobQueue) -> None:
    job = queued_job()
    assert await queue.position(job.job_id) is None
    await queue.enqueue(job)
    assert await queue.position(job.job_id) == 0
    await queue.claim("worker", (), LEASE_MS)
    assert await queue.position(job.job_id) is None


async def test_position_for_a_new_job_of_an_unknown_tier_is_refused(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="unknown tier"):
        await queue.position_for_new("gold", account("ann"))


async def test_position_stays_within_what_waits_when_more_accounts_wait_than_are_looked_at(queue: JobQueue) -> None:
    for number in range(100):
        for _ in range(3):
            await queue.enqueue(queued_job(f"owner-{number}"))
    last = [queued_job("ann") for _ in range(3)]
    for job in last:
        await queue.enqueue(job)

    positions = [await queue.position(job.job_id) for job in last]

    assert all(position is not None for position in positions)
    first, second, third = (position or 0 for position in positions)
    assert 0 <= first <= 100
    assert first + 90 <= second <= 201
    assert second + 90 <= third <= 302
    assert (await queue.depths())["free"] == TierDepth(waiting=303, running=0)


async def test_account_at_its_limit_counts_into_positions_as_one_rival(queue: JobQueue) -> None:
    for _ in range(4):
        await queue.enqueue(queued_job("ann", running_limit=1))
    await queue.claim("worker", (), LEASE_MS)

    positions = []
    for _ in range(3):
        job = queued_job("bob")
        await queue.enqueue(job)
        positions.append(await queue.position(job.job_id))

    assert positions == [0, 2, 4]
