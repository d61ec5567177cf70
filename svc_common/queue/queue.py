"""Owns the job queue in Redis: ordered by tier, fair between accounts, leased to workers.

Redis holds a copy that may be lost at any moment. The service that owns the jobs knows what is true: it asks `missing`
which of its jobs Redis has forgotten and enqueues them again, and workers restore their leases when they renew them.
Who calls: that service enqueues, removes and counts; workers claim, renew, finish and hand back.

Every operation is one atomic script and one round trip. All raise redis.exceptions.RedisError when Redis can't be
reached or refuses, and may then be repeated. A claim whose reply was lost leaves a lease that nobody renews; it lapses
by itself.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from svc_common.queue.keys import Key
from svc_common.queue.payload import decode_job, encode_job
from svc_common.queue.policy import QueuePolicy
from svc_common.queue.scripts import QueueScripts
from svc_common.queue.values import Claim, LeaseState, QueuedJob, TierDepth

T = TypeVar("T")

IDS_PER_CALL = 500
"""A script blocks the server while it runs: 500 look-ups are about half a millisecond."""

JOBS_PER_CALL = 64
"""As many jobs are put in, or placed, in one run: a few milliseconds."""

_CANCEL_TTL_MS = 3_600_000
_WORKER_WAKE_TTL_MS = 5_000
_CHANNEL_POLL_SECONDS = 5.0
_LEASE_STATES = (LeaseState.LOST, LeaseState.HELD, LeaseState.CANCEL_REQUESTED)


class JobQueue:
    """The queue on one Redis primary. Holds no state of its own; any number may work on the same server."""

    def __init__(
        self, redis: Redis, policy: QueuePolicy | None = None, *, clock_ms: Callable[[], int] | None = None
    ) -> None:
        """Uses `redis`, whose socket time-out must exceed the wait of `wait_and_claim`.

        Without `clock_ms` (milliseconds since the epoch) the time is the server's, so that a worker's wrong clock can't
        end or prolong anybody's lease.
        """
        self.redis = redis
        self.policy = policy or QueuePolicy()
        self._scripts = QueueScripts.register(redis, self.policy)
        self._clock_ms = clock_ms

    async def enqueue(self, job: QueuedJob) -> bool:
        """Puts a job into the queue and wakes a worker. Returns False if it waits or runs already.

        Raises ValueError for a tier that the policy doesn't have.
        """
        return (await self.enqueue_all([job]))[0]

    async def enqueue_all(self, jobs: Sequence[QueuedJob]) -> list[bool]:
        """Puts many jobs into the queue as `enqueue` does, in one call of the server for every 64."""
        for job in jobs:
            self._check_tier(job.tier)
        added: list[bool] = []
        for page in _pages(jobs, JOBS_PER_CALL):
            arguments = [field for job in page for field in _record(job)]
            added += [bool(one) for one in await self._run(self._scripts.enqueue, *arguments)]
        return added

    async def claim(self, worker_id: str, loaded_models: Collection[str], lease_ms: int) -> Claim | None:
        """Leases the next job to the worker for `lease_ms`, or returns None if none can start now.

        `loaded_models` are the ids of the models that the worker could run at once.
        """
        return _claim_from(worker_id, await self._run(self._scripts.claim, worker_id, lease_ms, *loaded_models))

    async def wait_and_claim(
        self, worker_id: str, loaded_models: Collection[str], lease_ms: int, *, wait_seconds: float
    ) -> Claim | None:
        """Waits up to `wait_seconds` for a job to become claimable and claims it.

        The claim is sent together with the blocking pop and runs on the server in the moment in which the pop returns,
        so being woken costs no second round trip. It is tried too when the wait ends without a wake-up: that finds what
        nobody announces, lapsed leases and jobs whose wake-up was lost with a dying worker.
        """
        arguments = (self._now(), worker_id, lease_ms, *loaded_models)
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.execute_command("BLPOP", Key.WAKE, Key.WAKE_WORKER + worker_id, wait_seconds)
        pipeline.execute_command("EVALSHA", self._scripts.claim.sha, 0, *arguments)
        try:
            _, reply = await pipeline.execute()
        except NoScriptError:
            reply = await self._scripts.claim(args=arguments)
        return _claim_from(worker_id, reply)

    async def wake_worker(self, worker_id: str) -> None:
        """Ends the present `wait_and_claim` of one worker, so that it can shut down."""
        key = Key.WAKE_WORKER + worker_id
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.lpush(key, "1")
            pipeline.pexpire(key, _WORKER_WAKE_TTL_MS)
            await pipeline.execute()

    async def renew(self, claim: Claim, lease_ms: int) -> LeaseState:
        """Extends the lease to `lease_ms` from now; takes it again if Redis lost it and nobody newer held it."""
        reply = await self._run(self._scripts.renew, *_record(claim.job), claim.holder, claim.fence, lease_ms)
        return _LEASE_STATES[reply]

    async def finish(self, claim: Claim) -> bool:
        """Removes a job that has ended. Returns False, and changes nothing, if the lease was lost."""
        job = claim.job
        arguments = (str(job.job_id), job.tier, str(job.account_id), claim.holder, claim.fence)
        return bool(await self._run(self._scripts.finish, *arguments))

    async def hand_back(self, claim: Claim) -> bool:
        """Returns a job to the head of its account's line and wakes a worker. Returns False if the lease was lost."""
        return bool(await self._run(self._scripts.hand_back, *_record(claim.job), claim.holder, claim.fence))

    async def remove(self, job_id: UUID) -> bool:
        """Removes a waiting job. Returns False if it runs or is unknown; a running one needs `request_cancel`."""
        return bool(await self._run(self._scripts.remove, str(job_id)))

    async def missing(self, job_ids: Sequence[UUID]) -> list[UUID]:
        """Returns those of the jobs that neither wait nor run, in the order given.

        After Redis lost its data a running job is missing until its worker's next renewal, a third of a lease later.
        """
        return await self._select(self._scripts.missing, job_ids)

    async def leased(self, job_ids: Sequence[UUID]) -> list[UUID]:
        """Returns those of the jobs that a worker holds under a lease which hasn't lapsed, in the order given."""
        return await self._select(self._scripts.leased, job_ids)

    async def depths(self) -> dict[str, TierDepth]:
        """Returns how many jobs wait and run, by tier, highest first."""
        counts = await self._run(self._scripts.depths)
        pairs = zip(self.policy.tier_names, counts[::2], counts[1::2], strict=True)
        return {tier: TierDepth(waiting, running) for tier, waiting, running in pairs}

    async def position(self, job_id: UUID) -> int | None:
        """Returns how many jobs are expected to start before a waiting one, or None if it isn't waiting.

        An estimate; the formula stands in `lua/position.lua`. The work is bounded, whatever the length of the queue.
        """
        position: int = (await self._run(self._scripts.position, str(job_id), "", ""))[0]
        return None if position < 0 else position

    async def position_for_new(self, tier: str, account_id: UUID) -> int:
        """Returns what `position` would say of a job that the account enqueued now."""
        return (await self.positions_for_new([(tier, account_id)]))[0]

    async def positions_for_new(self, lines: Sequence[tuple[str, UUID]]) -> list[int]:
        """Returns what `position_for_new` would say of each tier and account, in one call for every 64."""
        for tier, _ in lines:
            self._check_tier(tier)
        positions: list[int] = []
        for page in _pages(lines, JOBS_PER_CALL):
            arguments = [part for tier, account_id in page for part in ("", tier, str(account_id))]
            positions += await self._run(self._scripts.position, *arguments)
        return positions

    async def peek_models(self, limit: int) -> list[str]:
        """Returns the ids of the models of the next `limit` (1 to 64) jobs that start, in order, repeated as jobs repeat.

        An estimate that changes nothing; what it leaves out stands in `lua/upcoming.lua`. Raises ValueError for another
        limit.
        """
        if not 1 <= limit <= JOBS_PER_CALL:
            raise ValueError(f"1 to {JOBS_PER_CALL} jobs can be looked at, not {limit}")
        return [_text(model_id) for model_id in await self._run(self._scripts.upcoming, limit)]

    async def pause_only(self, tiers: Collection[str]) -> None:
        """Lets nothing of these tiers be claimed, and wakes workers for what waits in one that was paused and goes on.

        Redis may lose it, so who knows which tiers are paused repeats it. Raises ValueError for a tier that the policy
        doesn't have.
        """
        for tier in tiers:
            self._check_tier(tier)
        await self._run(self._scripts.pause, *tiers)

    async def request_cancel(self, job_id: UUID) -> None:
        """Asks whoever runs the job, now or within an hour, to stop it. The worker learns of it within milliseconds.

        One that misses the message learns of it at its next renewal or at the claim.
        """
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.set(Key.CANCEL + str(job_id), "1", px=_CANCEL_TTL_MS)
            pipeline.publish(Key.CANCELLATIONS, str(job_id))
            await pipeline.execute()

    async def cancellations(self) -> AsyncIterator[UUID]:
        """Yields the jobs whose cancellation is requested from now on, over a connection of its own.

        Ends only by an exception: RedisError or OSError when the connection breaks. What was requested meanwhile is
        told by the renewals.
        """
        async with self.redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(Key.CANCELLATIONS)
            while True:
                message = await channel.get_message(timeout=_CHANNEL_POLL_SECONDS)
                if message is not None:
                    yield UUID(_text(message["data"]))

    async def _select(self, script: AsyncScript, job_ids: Sequence[UUID]) -> list[UUID]:
        selected: list[UUID] = []
        for page in _pages(job_ids, IDS_PER_CALL):
            arguments = [str(job_id) for job_id in page]
            selected += [UUID(_text(job_id)) for job_id in await self._run(script, *arguments)]
        return selected

    async def _run(self, script: AsyncScript, *arguments: str | bytes | int) -> Any:
        return await cast("Awaitable[Any]", script(args=[self._now(), *arguments]))

    def _now(self) -> str | int:
        return "" if self._clock_ms is None else self._clock_ms()

    def _check_tier(self, tier: str) -> None:
        if tier not in self.policy.tier_names:
            raise ValueError(f"unknown tier {tier!r}; the queue has {', '.join(self.policy.tier_names)}")


def _pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _record(job: QueuedJob) -> tuple[str | bytes | int, ...]:
    return (
        str(job.job_id),
        job.tier,
        str(job.account_id),
        job.model_id,
        job.cost_millicredits,
        job.running_limit,
        job.create_time_ms,
        encode_job(job),
    )


def _claim_from(worker_id: str, reply: list[Any] | None) -> Claim | None:
    if reply is None:
        return None
    payload, fence, cancel_requested, is_first = reply
    return Claim(
        decode_job(payload), worker_id, int(fence), cancel_requested=bool(cancel_requested), is_first=bool(is_first)
    )


def _text(value: bytes | str) -> str:
    """Clients decode replies or don't; both kinds work."""
    return value if isinstance(value, str) else value.decode()
