"""Which job the queue serves next: tiers, fairness between accounts, the starvation guard, limits, loaded models."""

from collections import Counter

import pytest
from redis.asyncio import Redis

from svc_common.queue import Claim, JobQueue, QueuedJob, QueuePolicy
from tests.factories.queue import START_MS, SettableClock, account, queued_job

LEASE_MS = 60_000
MINUTE_MS = 60_000


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def queue(redis: Redis, clock: SettableClock) -> JobQueue:
    return JobQueue(redis, clock_ms=clock)


async def claim(queue: JobQueue, *loaded_models: str) -> Claim:
    claimed = await queue.claim("worker", loaded_models, LEASE_MS)
    assert claimed is not None
    return claimed


async def enqueue_all(queue: JobQueue, jobs: list[QueuedJob]) -> None:
    for job in jobs:
        assert await queue.enqueue(job)


async def owners_in_order(queue: JobQueue, count: int) -> list[str]:
    names = {account(name): name for name in ("ann", "bob", "cid")}
    order = []
    for _ in range(count):
        claimed = await claim(queue)
        order.append(names[claimed.job.account_id])
        assert await queue.finish(claimed)
    return order


async def test_claims_follow_tiers_strictly_whatever_the_order_of_arrival(queue: JobQueue) -> None:
    tiers = ["free", "pro", "enterprise", "starter", "studio"] * 3
    await enqueue_all(queue, [queued_job(tier=tier) for tier in tiers])

    claimed = [(await claim(queue)).job.tier for _ in tiers]

    assert claimed == ["enterprise"] * 3 + ["studio"] * 3 + ["pro"] * 3 + ["starter"] * 3 + ["free"] * 3


async def test_accounts_alternate_although_one_queued_fifty_jobs_first(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann") for _ in range(50)])
    await owners_in_order(queue, 5)
    await enqueue_all(queue, [queued_job("bob") for _ in range(10)])

    order = await owners_in_order(queue, 20)

    assert Counter(order) == {"ann": 10, "bob": 10}
    assert all(pair in (["ann", "bob"], ["bob", "ann"]) for pair in (order[i : i + 2] for i in range(0, 20, 2)))


async def test_shares_are_of_cost_when_jobs_differ_in_cost(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann", cost_millicredits=4000) for _ in range(20)])
    await enqueue_all(queue, [queued_job("bob", cost_millicredits=1000) for _ in range(80)])

    order = await owners_in_order(queue, 50)

    assert Counter(order) == {"ann": 10, "bob": 40}


async def test_idle_account_earns_no_credit(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("bob")])
    await owners_in_order(queue, 1)
    await enqueue_all(queue, [queued_job("ann") for _ in range(40)])
    await owners_in_order(queue, 20)  # bob idles meanwhile
    await enqueue_all(queue, [queued_job("bob") for _ in range(20)])

    order = await owners_in_order(queue, 20)

    assert Counter(order) == {"ann": 10, "bob": 10}


async def test_account_that_left_ahead_of_its_share_keeps_its_debt(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann", cost_millicredits=10_000), *(queued_job("bob") for _ in range(30))])
    assert await owners_in_order(queue, 2) in (["ann", "bob"], ["bob", "ann"])
    await enqueue_all(queue, [queued_job("ann") for _ in range(2)])  # ann's line was empty: it can't wash its debt off

    order = await owners_in_order(queue, 10)

    assert "ann" not in order[:8]


async def test_debts_end_with_the_last_job_of_the_tier(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann", cost_millicredits=10_000)])
    await owners_in_order(queue, 1)
    await enqueue_all(queue, [queued_job(owner) for owner in ("ann", "bob") * 5])

    order = await owners_in_order(queue, 10)

    assert [set(order[i : i + 2]) for i in range(0, 10, 2)] == [{"ann", "bob"}] * 5


async def test_every_tenth_claim_serves_the_longest_overdue_job(queue: JobQueue, clock: SettableClock) -> None:
    overdue = [queued_job("bob", tier="free", create_time_ms=START_MS + n) for n in range(5)]
    await enqueue_all(queue, overdue)
    clock.now_ms += 31 * MINUTE_MS
    await enqueue_all(queue, [queued_job(tier="pro", create_time_ms=clock.now_ms) for _ in range(60)])

    tiers = [(await claim(queue)).job.tier for _ in range(50)]

    assert [index + 1 for index, tier in enumerate(tiers) if tier == "free"] == [10, 20, 30, 40, 50]


async def test_guard_serves_the_oldest_of_several_overdue_tiers(queue: JobQueue, clock: SettableClock) -> None:
    await enqueue_all(queue, [queued_job("bob", tier="starter", create_time_ms=START_MS)])
    await enqueue_all(queue, [queued_job("cid", tier="free", create_time_ms=START_MS - 1)])
    clock.now_ms += 31 * MINUTE_MS
    await enqueue_all(queue, [queued_job(tier="pro", create_time_ms=clock.now_ms) for _ in range(30)])

    tiers = [(await claim(queue)).job.tier for _ in range(20)]

    assert (tiers[9], tiers[19]) == ("free", "starter")
    assert set(tiers[:9] + tiers[10:19]) == {"pro"}


async def test_guard_serves_the_oldest_also_when_that_is_not_of_the_lowest_tier(
    queue: JobQueue, clock: SettableClock
) -> None:
    await enqueue_all(queue, [queued_job("bob", tier="starter", create_time_ms=START_MS - 1)])
    await enqueue_all(queue, [queued_job("cid", tier="free", create_time_ms=START_MS)])
    clock.now_ms += 31 * MINUTE_MS
    await enqueue_all(queue, [queued_job(tier="pro", create_time_ms=clock.now_ms) for _ in range(30)])

    tiers = [(await claim(queue)).job.tier for _ in range(20)]

    assert (tiers[9], tiers[19]) == ("starter", "free")


async def test_guard_goes_by_the_jobs_that_still_wait(redis: Redis, clock: SettableClock) -> None:
    queue = JobQueue(redis, QueuePolicy(guard_interval=2), clock_ms=clock)
    clock.now_ms += 31 * MINUTE_MS
    await enqueue_all(queue, [queued_job("ann", create_time_ms=START_MS + n) for n in (0, 20)])
    await claim(queue)
    await enqueue_all(queue, [queued_job("bob", create_time_ms=START_MS + 10)])
    await enqueue_all(queue, [queued_job("cid", tier="pro")])

    assert (await claim(queue)).job.account_id == account("bob")  # ann's oldest was older, but it runs


async def test_guard_rests_while_nobody_is_overdue(queue: JobQueue, clock: SettableClock) -> None:
    await enqueue_all(queue, [queued_job("bob", tier="free", create_time_ms=START_MS)])
    clock.now_ms += 29 * MINUTE_MS
    await enqueue_all(queue, [queued_job(tier="pro", create_time_ms=clock.now_ms) for _ in range(30)])

    assert {(await claim(queue)).job.tier for _ in range(30)} == {"pro"}


async def test_account_at_its_running_limit_is_skipped_until_a_job_ends(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann", running_limit=2) for _ in range(4)])
    first, second = await claim(queue), await claim(queue)
    assert await queue.claim("worker", (), LEASE_MS) is None
    await enqueue_all(queue, [queued_job("bob")])
    assert (await claim(queue)).job.account_id == account("bob")
    assert await queue.claim("worker", (), LEASE_MS) is None

    await queue.finish(first)

    assert (await claim(queue)).job.account_id == account("ann")
    assert await queue.claim("worker", (), LEASE_MS) is None
    await queue.hand_back(second)
    assert (await claim(queue)).job == second.job


async def test_running_limit_counts_jobs_of_all_tiers_of_an_upgraded_account(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job(tier="free", running_limit=1), queued_job(tier="pro", running_limit=2)])
    await enqueue_all(queue, [queued_job(tier="pro", running_limit=2)])
    pro = [await claim(queue), await claim(queue)]
    assert {claimed.job.tier for claimed in pro} == {"pro"}
    assert await queue.claim("worker", (), LEASE_MS) is None

    await queue.finish(pro[0])
    assert await queue.claim("worker", (), LEASE_MS) is None
    await queue.finish(pro[1])

    assert (await claim(queue)).job.tier == "free"


async def test_loaded_model_is_preferred_among_the_least_served(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("ann", model_id="sdxl"), queued_job("bob", model_id="flux")])

    first_choices = {(await claim(queue, "flux")).job.model_id, (await claim(queue, "flux")).job.model_id}
    await enqueue_all(queue, [queued_job("ann", model_id="sdxl"), queued_job("bob", model_id="flux")])
    preferred = (await claim(queue, "sdxl", "zimage")).job.model_id

    assert first_choices == {"flux", "sdxl"}
    assert preferred == "sdxl"


async def test_loaded_model_counts_for_nothing_beyond_the_slack(redis: Redis) -> None:
    queue = JobQueue(redis, QueuePolicy(affinity_slack_millicredits=2_000, max_pass_overs=1_000))
    await enqueue_all(queue, [queued_job("ann", model_id="sdxl") for _ in range(5)])
    await enqueue_all(queue, [queued_job("bob", model_id="flux") for _ in range(20)])

    models = [(await claim(queue, "flux")).job.model_id for _ in range(12)]

    served = Counter(models)
    assert served["flux"] > served["sdxl"] > 0
    lead = [models[:n].count("flux") - models[:n].count("sdxl") for n in range(1, 13)]
    assert max(lead) == 3  # two jobs of slack, and the job that used it up


async def test_loaded_model_never_crosses_tiers(queue: JobQueue) -> None:
    await enqueue_all(queue, [queued_job("bob", tier="starter", model_id="flux")])
    await enqueue_all(queue, [queued_job("ann", tier="pro", model_id="sdxl")])

    assert (await claim(queue, "flux")).job.model_id == "sdxl"


async def test_job_is_passed_over_at_most_three_times_for_a_loaded_model(redis: Redis) -> None:
    queue = JobQueue(redis, QueuePolicy(affinity_slack_millicredits=10**9))
    await enqueue_all(queue, [queued_job("ann", model_id="sdxl")])
    await enqueue_all(queue, [queued_job("bob", model_id="flux", cost_millicredits=1) for _ in range(10)])
    await claim(queue)  # whoever ties first; from here on the other one is least-served
    await enqueue_all(queue, [queued_job("ann", model_id="sdxl")])

    models = [(await claim(queue, "flux")).job.model_id for _ in range(10)]

    gaps = [index for index, model in enumerate(models) if model == "sdxl"]
    assert gaps
    assert gaps[0] <= 3


async def test_accounts_beyond_the_window_are_not_preferred(redis: Redis) -> None:
    queue = JobQueue(redis, QueuePolicy(affinity_window=2))
    owners = sorted(("ann", "bob", "cid"), key=lambda name: str(account(name)))
    await enqueue_all(queue, [queued_job(owners[0], model_id="a"), queued_job(owners[1], model_id="b")])
    await enqueue_all(queue, [queued_job(owners[2], model_id="c")])

    assert (await claim(queue, "c")).job.model_id == "a"
