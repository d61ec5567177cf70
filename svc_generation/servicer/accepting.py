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
from svc_generation.domain.waiting import WaitEstimate
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


Outcome = job_pb2.Job | ServiceError
"""What became of a candidate: the accepted job, or why it wasn't accepted."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A planned submission that may become a job."""

    job_id: UUID
    submission: Submission
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Held:
    """A candidate whose credits are held, with the row and the answer that are to be."""

    candidate: _Candidate
    row: NewJob
    answer: job_pb2.Job


class Acceptor:
    """Accepts jobs. What comes at the same time goes together: one call of the ledger, one commit, one call of Redis."""

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
        self._candidates = GroupCommit(self._accept_all, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)

    async def accept(self, submission: Submission) -> job_pb2.Job:
        """Makes a job of a submission, or answers with the one that it made before.

        Raises:
            ServiceError: what planning raises, INSUFFICIENT_CREDITS, QUEUE_FULL, IDEMPOTENCY_KEY_REUSED.
        """
        async with self._locks.hold(submission.account_id, submission.request_id):
            if answer := await self._replay(submission):
                return answer
            plan = await self._planner.plan(submission.wish, submission.account_id)
            outcome = await self._candidates.submit(_Candidate(self._clock.new_id(), submission, plan))
            if isinstance(outcome, job_pb2.Job):
                return outcome
            # A twin of this request in another process may have made the job, or hold the same credits for a moment: if
            # there is a job by now, its answer is the answer.
            if answer := await self._replay(submission):
                return answer
            raise outcome

    async def _accept_all(self, candidates: Sequence[_Candidate]) -> Sequence[Outcome]:
        """Takes candidates from hold to queue, whether their callers still listen or not. Safe to repeat until it succeeds."""
        outcomes: dict[UUID, Outcome] = {}
        held: list[_Held] = []
        reservations, waits = await asyncio.gather(self._reserve(candidates), self._waits(candidates))
        now = self._clock.now()
        for candidate, reservation, wait in zip(candidates, reservations, waits, strict=True):
            if reservation.HasField("hold"):
                held.append(self._draft(candidate, reservation.hold.amount_millicredits, wait, now))
            else:
                outcomes[candidate.job_id] = _refusal_of(reservation)
        accepted: list[NewJob] = []
        refused: list[NewJob] = []
        for draft, acceptance in zip(held, await self._insert(held, candidates), strict=True):
            is_accepted = acceptance is Acceptance.ACCEPTED
            outcomes[draft.row.job_id] = draft.answer if is_accepted else _queue_full(draft.candidate.plan.tier)
            (accepted if is_accepted else refused).append(draft.row)
        await asyncio.gather(
            self._enqueue(accepted),
            self._watch.announce({row.account_id for row in accepted}),
            *map(self._release, refused),
        )
        return [outcomes[candidate.job_id] for candidate in candidates]

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

    async def _reserve(self, candidates: Sequence[_Candidate]) -> Sequence[ledger_service_pb2.Reservation]:
        lifetime = Duration(seconds=int((self._job_lifetime + _HOLD_MARGIN).total_seconds()))
        requests = [
            ledger_service_pb2.ReserveCreditsRequest(
                hold_id=str(candidate.job_id),
                account_id=str(candidate.submission.account_id),
                amount_millicredits=hold_millicredits(candidate.plan.quote),
                minimum_millicredits=candidate.plan.quote,
                lifetime=lifetime,
            )
            for candidate in candidates
        ]
        batch = ledger_service_pb2.BatchReserveCreditsRequest(requests=requests)
        try:
            return (await self._ledger.BatchReserveCredits(batch)).reservations
        except ServiceError as error:
            if error.reason in (Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_TOO_SHORT):
                # The ledger may have done it and only the answer be lost.
                self._note_all(candidates)
            raise

    async def _waits(self, candidates: Sequence[_Candidate]) -> Sequence[tuple[int, WaitEstimate]]:
        return await self._planner.waits(
            [
                (candidate.plan.tier, candidate.submission.account_id, candidate.plan.run_seconds)
                for candidate in candidates
            ]
        )

    def _draft(self, candidate: _Candidate, held: int, wait: tuple[int, WaitEstimate], now: datetime) -> _Held:
        answer = _first_answer(candidate.job_id, candidate.plan, held, now)
        answer.queue_position, estimate = wait
        answer.estimated_wait_seconds = estimate.p50_seconds
        answer.estimated_wait_p90_seconds = estimate.p90_seconds
        return _Held(candidate, self._new_job(answer, candidate, held, now), answer)

    def _new_job(self, answer: job_pb2.Job, candidate: _Candidate, held: int, now: datetime) -> NewJob:
        submission, plan = candidate.submission, candidate.plan
        return NewJob(
            job_id=candidate.job_id,
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

    async def _insert(self, held: Sequence[_Held], candidates: Sequence[_Candidate]) -> Sequence[Acceptance]:
        """Inserts the rows; the commit is the acceptance of each."""
        if not held:
            return []
        try:
            return await accept_jobs(self._database, [draft.row for draft in held])
        except Exception as error:
            # A batch that failed for another reason than a database that is away is tried again, one by one: only then is
            # it known of whom it's unknown.
            if isinstance(error, ServiceError) or len(candidates) == 1:
                self._note_all(candidates)
            raise

    def _note_all(self, candidates: Sequence[_Candidate]) -> None:
        for candidate in candidates:
            self._note_uncertain(candidate.job_id, candidate.submission.account_id)

    async def _release(self, job: NewJob) -> None:
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job.job_id), account_id=str(job.account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            self._note_uncertain(job.job_id, job.account_id)
            _log.warning("hold.release_deferred", job_id=str(job.job_id), error=str(error))

    async def _enqueue(self, rows: Sequence[NewJob]) -> None:
        """Puts accepted jobs into the queue. A failure is harmless: a sweep puts every job that Redis misses back."""
        try:
            await self._queue.enqueue_all([QueuedJob.of(row) for row in rows])
        except REDIS_ERRORS as error:
            _log.warning("queue.enqueue_lost", jobs=len(rows), error=repr(error))


def _refusal_of(reservation: ledger_service_pb2.Reservation) -> ServiceError:
    """Returns the ledger's refusal of a hold."""
    refusal = from_status(reservation.refusal)
    if refusal is None:
        raise RuntimeError(f"the ledger refused in no known form: {reservation}")
    return refusal


def _queue_full(tier: TierFacts) -> ServiceError:
    return ServiceError(
        Reason.QUEUE_FULL,
        f"The {tier.tier_name} tier lets {tier.waiting_jobs} jobs wait at a time. Wait until one has started, or upgrade.",
        metadata={"tier": tier.tier_name, "limit": str(tier.waiting_jobs)},
        retry_after=_QUEUE_FULL_RETRY,
    )


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
