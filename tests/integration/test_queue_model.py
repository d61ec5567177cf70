"""The real queue against its rules in plain Python, and the bound of its fairness, over random histories."""

import asyncio
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis.asyncio import Redis

from svc_common.queue import Claim, JobQueue, LeaseState, QueuedJob, QueuePolicy, TierPolicy
from tests.factories.queue import SettableClock, account, queued_job
from tests.fakes.queue_model import QueueModel
from tests.harness_redis import RedisServer

LEASE_MS = 600_000
POLICY = QueuePolicy(
    tiers=(TierPolicy("high", 120_000), TierPolicy("low", 300_000)),
    guard_interval=3,
    affinity_window=3,
    affinity_slack_millicredits=3_000,
    max_pass_overs=2,
)
MODELS = ("sdxl", "flux")


class QueueAgainstModel(RuleBasedStateMachine):
    """Applies every operation to both and compares what they answer; outdated claims are used again, too."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = SettableClock()
        self.redis = Redis.from_url(self.url)
        self.queue = JobQueue(self.redis, POLICY, clock_ms=self.clock)
        self.model = QueueModel(POLICY)
        self.jobs: list[QueuedJob] = []
        self.claims: list[Claim] = []
        self.runner.run(self.redis.flushall())

    def teardown(self) -> None:
        self.runner.run(self.redis.aclose())
        self.runner.close()

    @rule(
        owner=st.sampled_from(("ann", "bob", "cid")),
        tier=st.sampled_from(POLICY.tier_names),
        limit=st.integers(1, 3),
        jobs=st.lists(
            st.tuples(st.sampled_from(MODELS), st.integers(1, 4_000), st.integers(0, 400_000)), min_size=1, max_size=4
        ),
    )
    def enqueue(self, owner: str, tier: str, limit: int, jobs: list[tuple[str, int, int]]) -> None:
        for model_id, cost, age_ms in jobs:
            job = queued_job(
                owner,
                tier=tier,
                model_id=model_id,
                cost_millicredits=cost,
                running_limit=limit,
                create_time_ms=self.clock.now_ms - age_ms,
            )
            self.jobs.append(job)
            assert self.runner.run(self.queue.enqueue(job)) is self.model.enqueue(job) is True

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        assert self.runner.run(self.queue.enqueue(job)) is self.model.enqueue(job)

    @rule(
        loaded=st.sets(st.sampled_from(MODELS)),
        worker=st.sampled_from(("w1", "w2")),
        ends=st.lists(st.booleans(), min_size=1, max_size=6),
    )
    def claim(self, loaded: set[str], worker: str, ends: list[bool]) -> None:
        for ends_at_once in ends:
            expected = self.model.choose(self.clock.now_ms, loaded)
            claim = self.runner.run(self.queue.claim(worker, loaded, LEASE_MS))
            assert (claim and claim.job) == expected
            if claim is None:
                return
            self.model.record_claim(claim, self.clock.now_ms + LEASE_MS)
            if ends_at_once:
                assert self.runner.run(self.queue.finish(claim)) is self.model.finish(claim) is True
            else:
                self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims[-6:]))
        held = self.runner.run(self.queue.renew(claim, LEASE_MS)) is not LeaseState.LOST
        assert held is self.model.renew(claim, self.clock.now_ms + LEASE_MS)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims[-6:]))
        assert self.runner.run(self.queue.finish(claim)) is self.model.finish(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims[-6:]))
        assert self.runner.run(self.queue.hand_back(claim)) is self.model.hand_back(claim)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        assert self.runner.run(self.queue.remove(job.job_id)) is self.model.remove(job.job_id, self.clock.now_ms)

    @rule(passed_ms=st.sampled_from((1, 60_000, LEASE_MS // 2)))
    def time_passes(self, passed_ms: int) -> None:
        self.clock.now_ms += passed_ms

    @precondition(lambda self: self.model.leased(self.clock.now_ms))
    @rule(ends=st.lists(st.booleans(), min_size=1, max_size=3))
    def workers_freeze_past_their_leases(self, ends: list[bool]) -> None:
        self.clock.now_ms += LEASE_MS
        self.claim(loaded=set(), worker="w3", ends=ends)

    @rule(rarely=st.integers(0, 7))
    def redis_loses_its_data(self, rarely: int) -> None:
        if rarely == 7:  # seldom: every loss empties the queue, and the rest of the history is about what comes after
            self.runner.run(self.redis.flushall())
            self.model.forget_everything()

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        ids = [job.job_id for job in self.jobs]
        assert set(self.runner.run(self.queue.missing(ids))) == set(ids) - set(self.model.entries)
        assert set(self.runner.run(self.queue.leased(ids))) == self.model.leased(self.clock.now_ms)
        depths = self.runner.run(self.queue.depths())
        assert {tier: (depth.waiting, depth.running) for tier, depth in depths.items()} == self.model.depths()
        assert self.runner.run(self._places()) == dict.fromkeys(self.model.entries, 1)

    async def _places(self) -> dict[UUID, int]:
        """Counts in how many lines and sets of leases each job is."""
        places: dict[UUID, int] = {}
        for pattern in ("queue:line:*", "queue:leases:*"):
            for key in await self.redis.keys(pattern):
                for member in await self.redis.zrange(key, 0, -1):
                    job_id = UUID(member.decode())
                    places[job_id] = places.get(job_id, 0) + 1
        return places


def test_queue_answers_as_its_rules_say_over_random_histories(redis_server: RedisServer) -> None:
    QueueAgainstModel.url = redis_server.url
    run_state_machine_as_test(
        QueueAgainstModel,
        settings=settings(
            max_examples=50, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    costs=st.lists(st.tuples(st.integers(1, 5_000), st.integers(1, 5_000)), min_size=5, max_size=25),
    visits=st.sets(st.integers(0, 40)),
)
def test_backlogged_accounts_stay_within_one_job_each_of_equal_shares(
    redis_server: RedisServer, costs: list[tuple[int, int]], visits: set[int]
) -> None:
    """The bound of start-time fair queueing: the shares differ by the dearest job of each, at most."""
    with asyncio.Runner() as runner:
        shares = runner.run(_shares_while_both_wait(redis_server.url, costs, visits))
    bound = max(ann for ann, _ in costs) + max(bob for _, bob in costs)
    assert shares
    assert all(abs(ann - bob) <= bound for ann, bob in shares)


async def _shares_while_both_wait(url: str, costs: list[tuple[int, int]], visits: set[int]) -> list[tuple[int, int]]:
    """Serves two accounts that always wait, and a third that comes and goes; returns the cumulative costs served."""
    async with Redis.from_url(url) as redis:
        await redis.flushall()
        queue = JobQueue(redis, clock_ms=SettableClock())  # nobody is overdue, so the guard rests
        for ann, bob in costs:
            await queue.enqueue(queued_job("ann", cost_millicredits=ann))
            await queue.enqueue(queued_job("bob", cost_millicredits=bob))
        served = {account("ann"): 0, account("bob"): 0, account("cid"): 0}
        waiting = {account("ann"): len(costs), account("bob"): len(costs)}
        history = []
        turn = 0
        while all(waiting.values()):
            if turn in visits:
                await queue.enqueue(queued_job("cid", cost_millicredits=700))
            turn += 1
            claim = await queue.claim("worker", (), LEASE_MS)
            assert claim is not None
            await queue.finish(claim)
            served[claim.job.account_id] += claim.job.cost_millicredits
            if claim.job.account_id in waiting:
                waiting[claim.job.account_id] -= 1
            history.append((served[account("ann")], served[account("bob")]))
        return history
