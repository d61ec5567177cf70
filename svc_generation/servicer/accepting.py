"""From a plan to an accepted job: replay, hold, row, queue. The commit of the row is the acceptance.

Once credits are held the rest is done whether the caller still listens or not. If it is left unknown whether the row was
committed, the job is noted for the sweep that looks, and gives back what is held for a job that isn't there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from google.protobuf.duration_pb2 import Duration
from pingvas.generation.v1 import job_pb2
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.group_commit import GroupCommit
from svc_common.idempotency import idempotency_key_reused
from svc_common.queue import JobQueue, QueuedJob
from svc_common.redis_client import REDIS_ERRORS
from svc_common.status import from_status
from svc_generation.domain.limits import TierFacts
from svc_generation.domain.pricing import hold_millicredits
from svc_generation.servicer.conversion import timestamp
from svc_generation.servicer.operations import image_count, kind_of, put
from svc_generation.servicer.planning import Plan, Planner
from svc_generation.servicer.submissions import KeyedLocks, Submission
from svc_generation.servicer.watch import Watch
from svc_generation.store import queries
from svc_generation.store.acceptance import Acceptance, NewJob, accept_jobs

_log = structlog.get_logger(__name__)

_HOLD_MARGIN: Final = timedelta(hours=1)
"""How much longer a hold lives than its job, so that a hold never lapses under a job that hasn't been given up."""
_QUEUE_FULL_RETRY: Final = timedelta(seconds=5)
_BATCH_LIMIT: Final = 64
_LINGER_SECONDS: Final = 0.004
"""Under load a batch waits so long for company. Measured: a sixth less CPU a job at 64 calls in flight."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Supplies what a pure program hasn't: time and ids."""

    now: Callable[[], datetime]
    new_id: Callable[[], UUID]


class Acceptor:
    """Accepts jobs."""

    def __init__(
        self,
        *,
        database: Database,
        planner: Planner,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        queue: JobQueue,
        watch: Watch,
        clock: Clock,
        job_lifetime: timedelta,
        note_uncertain: Callable[[UUID, UUID], None],
    ) -> None:
        """Takes the parts; `note_uncertain` gets job and account when it's unknown whether a job was accepted."""
        self._database = database
        self._planner = planner
        self._ledger = ledger
        self._queue = queue
        self._watch = watch
        self._clock = clock
        self._job_lifetime = job_lifetime
        self._note_uncertain = note_uncertain
        self._locks = KeyedLocks()
        self._running: set[asyncio.Task[job_pb2.Job]] = set()
        # What comes at the same time goes together: one call of the ledger, one commit, one round trip to Redis.
        self._reservations = GroupCommit(self._reserve_batch, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)
        self._acceptances = GroupCommit(self._insert, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)
        self._enqueues = GroupCommit(self._enqueue, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)

    async def accept(self, submission: Submission) -> job_pb2.Job:
        """Makes a job of a submission, or answers with the one that it made before.

        Raises:
            ServiceError: what planning raises, INSUFFICIENT_CREDITS, QUEUE_FULL, IDEMPOTENCY_KEY_REUSED.
        """
        async with self._locks.hold(submission.account_id, submission.request_id):
            if answer := await self._replay(submission):
                return answer
            plan = await self._planner.plan(submission.wish, submission.account_id)
            task = asyncio.create_task(self._accept(submission, plan))
            # The loop keeps a weak reference only, and the caller may leave.
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return await asyncio.shield(task)

    async def _accept(self, submission: Submission, plan: Plan) -> job_pb2.Job:
        job_id = self._clock.new_id()
        try:
            hold, (position, estimate) = await asyncio.gather(
                self._reserve(job_id, submission, plan),
                self._planner.wait(plan.tier, submission.account_id, plan.run_seconds),
            )
        except ServiceError as error:
            # A twin of this request in another process holds the same credits for a moment: if it has made the job by
            # now, its answer is the answer.
            if error.reason is Reason.INSUFFICIENT_CREDITS and (answer := await self._replay(submission)):
                return answer
            raise
        now = self._clock.now()
        answer = _first_answer(job_id, plan, hold.amount_millicredits, now)
        answer.queue_position = position
        answer.estimated_wait_seconds = estimate.p50_seconds
        answer.estimated_wait_p90_seconds = estimate.p90_seconds
        job = self._new_job(answer, submission, plan, hold.amount_millicredits, now)
        try:
            acceptance = await self._acceptances.submit(job)
        except BaseException:
            self._note_uncertain(job_id, submission.account_id)
            raise
        if acceptance is not Acceptance.ACCEPTED:
            return await self._refused(job, acceptance, submission, plan.tier)
        await self._enqueues.submit(QueuedJob.of(job))
        return answer

    async def _replay(self, submission: Submission) -> job_pb2.Job | None:
        if not submission.request_id:
            return None
        async with self._database.transaction(submission.account_id) as session:
            found = await queries.find_request(session, submission.account_id, submission.request_id)
        if found is None:
            return None
        if found.request_hash != submission.fingerprint:
            raise idempotency_key_reused(submission.request_id)
        return job_pb2.Job.FromString(found.first_answer)

    async def _reserve(self, job_id: UUID, submission: Submission, plan: Plan) -> ledger_service_pb2.Hold:
        request = ledger_service_pb2.ReserveCreditsRequest(
            hold_id=str(job_id),
            account_id=str(submission.account_id),
            amount_millicredits=hold_millicredits(plan.quote),
            minimum_millicredits=plan.quote,
            lifetime=Duration(seconds=int((self._job_lifetime + _HOLD_MARGIN).total_seconds())),
        )
        try:
            return _hold(await self._reservations.submit(request))
        except ServiceError as error:
            if error.reason in (Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_TOO_SHORT):
                # The ledger may have done it and only the answer be lost.
                self._note_uncertain(job_id, submission.account_id)
            raise

    async def _reserve_batch(
        self, requests: Sequence[ledger_service_pb2.ReserveCreditsRequest]
    ) -> Sequence[ledger_service_pb2.Reservation]:
        batch = ledger_service_pb2.BatchReserveCreditsRequest(requests=requests)
        return (await self._ledger.BatchReserveCredits(batch)).reservations

    def _new_job(self, answer: job_pb2.Job, submission: Submission, plan: Plan, held: int, now: datetime) -> NewJob:
        return NewJob(
            job_id=UUID(answer.job_id),
            account_id=submission.account_id,
            created_by=submission.user_id,
            request_id=submission.request_id or None,
            request_hash=submission.fingerprint,
            first_answer=answer.SerializeToString(),
            operation_kind=kind_of(plan.operation),
            operation=plan.operation.SerializeToString(),
            source_key=plan.sources.picture.object_key if plan.sources.picture else None,
            mask_key=plan.sources.mask.object_key if plan.sources.mask else None,
            model_id=plan.operation.model_id,
            tier=plan.tier.tier,
            running_limit=plan.tier.running_jobs,
            waiting_limit=plan.tier.waiting_jobs,
            image_count=image_count(plan.operation),
            quoted_millicredits=plan.quote,
            held_millicredits=held,
            queue_position=answer.queue_position,
            create_time=now,
            deadline_time=now + self._job_lifetime,
        )

    async def _insert(self, jobs: Sequence[NewJob]) -> Sequence[Acceptance]:
        """Inserts the jobs that came at the same time; the commit is the acceptance of each."""
        async with self._database.transaction() as session:
            return await accept_jobs(session, jobs)

    async def _refused(
        self, job: NewJob, acceptance: Acceptance, submission: Submission, tier: TierFacts
    ) -> job_pb2.Job:
        """Gives back what was held for a job that wasn't accepted, and answers with its twin, if one was first."""
        await self._release(job)
        if acceptance is Acceptance.KNOWN and (answer := await self._replay(submission)):
            return answer
        raise ServiceError(
            Reason.QUEUE_FULL,
            f"The {tier.tier_name} tier lets {tier.waiting_jobs} jobs wait at a time. "
            "Wait until one has started, or upgrade.",
            metadata={"tier": tier.tier_name, "limit": str(tier.waiting_jobs)},
            retry_after=_QUEUE_FULL_RETRY,
        )

    async def _release(self, job: NewJob) -> None:
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job.job_id), account_id=str(job.account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            self._note_uncertain(job.job_id, job.account_id)
            _log.warning("hold.release_deferred", job_id=str(job.job_id), error=str(error))

    async def _enqueue(self, jobs: Sequence[QueuedJob]) -> Sequence[None]:
        """Puts accepted jobs into the queue. A failure is harmless: a sweep puts every job that Redis misses back."""
        try:
            await self._queue.enqueue_all(jobs)
        except REDIS_ERRORS as error:
            _log.warning("queue.enqueue_lost", jobs=len(jobs), error=repr(error))
        await self._watch.announce({job.account_id for job in jobs})
        return [None] * len(jobs)


def _hold(reservation: ledger_service_pb2.Reservation) -> ledger_service_pb2.Hold:
    """Returns the hold that was made, or raises the ledger's refusal."""
    if reservation.HasField("hold"):
        return reservation.hold
    raise from_status(reservation.refusal) or RuntimeError(f"the ledger refused in no known form: {reservation}")


def _first_answer(job_id: UUID, plan: Plan, held: int, now: datetime) -> job_pb2.Job:
    """Writes the answer of CreateJob before the row exists; its first event brings the first event id."""
    answer = job_pb2.Job(
        job_id=str(job_id),
        state=job_pb2.JOB_STATE_QUEUED,
        credits_quoted=format_credits(plan.quote),
        credits_held=format_credits(held),
        tier=plan.tier.tier,  # type: ignore[arg-type]
        create_time=timestamp(now),
    )
    put(answer, plan.operation)
    return answer
