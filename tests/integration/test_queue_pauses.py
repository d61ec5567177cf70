"""Tiers that are paused: nothing of them is claimed, others are served as ever, and nobody is forgotten when they go on."""

import asyncio

import pytest
from redis.asyncio import Redis

from svc_common.queue import Claim, JobQueue
from svc_common.queue.keys import Key
from tests.factories.queue import START_MS, SettableClock, account, queued_job
from tests.harness_postgres import until

LEASE_MS = 60_000
HOUR_MS = 3_600_000


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def queue(redis: Redis, clock: SettableClock) -> JobQueue:
    return JobQueue(redis, clock_ms=clock)


async def claim(queue: JobQueue, *loaded_models: str) -> Claim | None:
    return await queue.claim("worker", loaded_models, LEASE_MS)


async def test_nothing_of_a_paused_tier_is_claimed_and_lower_tiers_are_served(queue: JobQueue) -> None:
    paid, free = queued_job(tier="pro"), queued_job(tier="free")
    await queue.pause_only(["pro"])
    assert await queue.enqueue_all([paid, free]) == [True, True]

    first = await claim(queue)

    assert first is not None
    assert first.job.job_id == free.job_id
    assert await claim(queue) is None
    depth = (await queue.depths())["pro"]
    assert (depth.waiting, depth.running) == (1, 0)
    await queue.pause_only([])
    second = await claim(queue)
    assert second is not None
    assert second.job.job_id == paid.job_id


async def test_the_guard_against_starvation_and_loaded_models_do_not_reach_into_a_paused_tier(
    queue: JobQueue, clock: SettableClock
) -> None:
    await queue.enqueue_all([queued_job(name, tier="free", model_id="loaded") for name in ("ann", "bob", "cid")])
    await queue.enqueue_all([queued_job(tier="pro") for _ in range(25)])
    clock.now_ms += 10 * HOUR_MS
    await queue.pause_only(["free"])

    claims = [await claim(queue, "loaded") for _ in range(26)]

    assert [each.job.tier for each in claims if each is not None] == ["pro"] * 25
    assert claims[-1] is None


async def test_accounts_are_served_as_fairly_after_a_pause_as_before(queue: JobQueue) -> None:
    await queue.enqueue_all([queued_job("ann") for _ in range(6)])
    for _ in range(2):
        assert await claim(queue)
    await queue.pause_only(["free"])
    await queue.enqueue_all([queued_job("bob") for _ in range(4)])
    assert await claim(queue) is None
    await queue.pause_only([])

    served = [await claim(queue) for _ in range(8)]

    owners = [each.job.account_id for each in served if each is not None]
    assert [owners.count(account(name)) for name in ("ann", "bob")] == [4, 4]
    # They alternate: neither is served out of turn for having waited through the pause.
    assert all(len(set(owners[at : at + 2])) == 2 for at in range(0, 8, 2))


async def test_a_leased_job_of_a_paused_tier_goes_on_and_waits_when_it_comes_back(
    queue: JobQueue, clock: SettableClock
) -> None:
    await queue.enqueue(queued_job())
    running = await claim(queue)
    assert running is not None
    await queue.pause_only(["free"])
    assert (await queue.renew(running, LEASE_MS)).value == "held"
    assert await queue.hand_back(running)
    assert await claim(queue) is None
    await queue.pause_only([])
    again = await claim(queue)
    assert again is not None
    await queue.pause_only(["free"])
    clock.now_ms = START_MS + 10 * HOUR_MS
    assert await claim(queue) is None, "the lease has lapsed, and the tier is paused"
    await queue.pause_only([])
    assert await claim(queue)


async def test_idle_workers_are_woken_for_all_that_waits_when_a_tier_goes_on(redis: Redis) -> None:
    queue = JobQueue(redis)
    await queue.pause_only(["free"])
    await queue.enqueue_all([queued_job() for _ in range(3)])
    assert await redis.llen(Key.WAKE) == 0, "there is nothing to be woken for"
    idle = [
        asyncio.create_task(queue.wait_and_claim(f"worker-{number}", (), LEASE_MS, wait_seconds=60))
        for number in range(3)
    ]

    async def all_wait() -> bool:
        clients = await redis.client_list()
        return sum("b" in each["flags"] for each in clients) == 3

    await until(all_wait, within_seconds=60)
    await queue.pause_only([])
    claims = await asyncio.wait_for(asyncio.gather(*idle), 60)
    assert len({each.job.job_id for each in claims if each is not None}) == 3


async def test_places_and_models_are_told_as_if_a_paused_tier_above_did_not_wait(queue: JobQueue) -> None:
    await queue.enqueue_all([queued_job(tier="pro", model_id="costly") for _ in range(4)])
    free = queued_job(tier="free", model_id="cheap")
    await queue.enqueue(free)
    assert await queue.position(free.job_id) == 4
    await queue.pause_only(["pro"])
    assert await queue.position(free.job_id) == 0
    assert await queue.peek_models(3) == ["cheap"]
    # In its own tier a job is told its place as of the moment in which the tier goes on.
    assert await queue.position_for_new("pro", account("dan")) == 1


async def test_an_unknown_tier_is_refused(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="unknown tier 'gold'"):
        await queue.pause_only(["gold"])
