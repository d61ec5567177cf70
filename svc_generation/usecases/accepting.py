"""From a plan to an accepted job: replay, hold, row, queue. The commit of the row is the acceptance.

Once credits are held the rest is done whether the caller still listens or not. If it is left unknown whether the row was
committed, the job is noted for the sweep that looks, and gives back what is held for a job that isn't there.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from google.protobuf.duration_pb2 import Duration
from pingvas.generation.v1 import job_pb2
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.capacity import Capacity
from svc_common.concurrency import KeyedLocks
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.free_space import Store
from svc_common.group_commit import GroupCommit
from svc_common.idempotency import idempotency_key_reused
from svc_common.status import from_status
from svc_generation.domain.limits import check_spending, check_standing, key_spent
from svc_generation.domain.pricing import hold_millicredits
from svc_generation.domain.waiting import WaitEstimate
from svc_generation.domain.webhooks import check_url
from svc_generation.messages.jobs import timestamp
from svc_generation.messages.operations import image_count, kind_of, put
from svc_generation.messages.refusals import no_such_webhook, queue_full
from svc_generation.store import queries, webhooks
from svc_generation.store.acceptance import Acceptance, NewJob, accept_jobs
from svc_generation.store.models import WebhookEndpoint, WebhookJob
from svc_generation.store.usage import key_spending
from svc_generation.usecases.announcing import Announcer
from svc_generation.usecases.offering import Offering
from svc_generation.usecases.planning import Plan, Planner
from svc_generation.usecases.storage import StorageGate
from svc_generation.usecases.submissions import Submission
from svc_generation.usecases.uncertain_holds import UncertainHolds
from svc_generation.usecases.waiting import WaitTimes

_log = structlog.get_logger(__name__)

_HOLD_MARGIN: Final = timedelta(hours=1)
"""How much longer a hold lives than its job, so that a hold never lapses under a job that hasn't been given up."""
_STORES_NEEDED: Final = (Store.POSTGRESQL, Store.OBJECTS, Store.REDIS)
_BATCH_LIMIT: Final = 64
_LINGER_SECONDS: Final = 0.004
"""Under load a batch waits so long for company. Measured: a sixth less CPU a job at 64 calls in flight."""


Outcome = job_pb2.Job | ServiceError
"""What became of a candidate: the accepted job, or why it wasn't accepted."""


@dataclass(frozen=True, slots=True)
class WebhookTerms:
    """Tells what holds for the addresses that jobs bring along."""

    to_private_addresses: bool
    """Whether they may be of this machine and its network."""
    new_secret: Callable[[], bytes]
    """Makes what signs an account's, when its first job brings one."""


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
        storage: StorageGate,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        waits: WaitTimes,
        offering: Offering,
        announcer: Announcer,
        holds: UncertainHolds,
        capacity: Capacity,
        job_lifetime: timedelta,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        webhook_terms: WebhookTerms,
    ) -> None:
        """Takes the parts; `holds` notes the jobs of which it is unknown whether they were accepted."""
        self._database = database
        self._planner = planner
        self._storage = storage
        self._ledger = ledger
        self._waits = waits
        self._offering = offering
        self._announcer = announcer
        self._holds = holds
        self._capacity = capacity
        self._job_lifetime = job_lifetime
        self._now = now
        self._new_id = new_id
        self._webhook_terms = webhook_terms
        self._locks = KeyedLocks()
        self._candidates = GroupCommit(self._accept_all, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)

    async def accept(self, submission: Submission) -> job_pb2.Job:
        """Makes a job of a submission, or answers with the one that it made before.

        Raises:
            ServiceError: what planning raises, WEBHOOK_NOT_FOUND, WEBHOOK_ADDRESS_REFUSED, PAYMENT_OVERDUE,
                STORAGE_QUOTA_EXCEEDED, INSUFFICIENT_CREDITS, QUEUE_FULL, STORAGE_FULL, API_KEY_LIMIT_EXCEEDED,
                IDEMPOTENCY_KEY_REUSED.
        """
        if submission.webhook is not None:
            check_url(
                submission.webhook.url, allows_private=self._webhook_terms.to_private_addresses, field="webhook_url"
            )
        # Retries of one client usually meet in one process; between processes the unique index of the table decides.
        request = (submission.account_id, submission.request_id)
        async with self._locks.of(request) if submission.request_id else nullcontext():
            if answer := await self._replay(submission):
                return answer
            self._capacity.require(*_STORES_NEEDED)
            plan = await self._planner.plan(submission.wish, submission.account_id, submission.key)
            check_standing(plan.tier)
            await self._storage.check(submission.account_id)
            await self._check_spending(submission, plan)
            candidate = _Candidate(self._new_id(), submission, plan)
            await self._note_webhooks(candidate)
            outcome = await self._candidates.submit(candidate)
            if isinstance(outcome, job_pb2.Job):
                return outcome
            # A twin of this request in another process may have made the job, or hold the same credits for a moment: if
            # there is a job by now, its answer is the answer.
            if answer := await self._replay(submission):
                return answer
            raise outcome

    async def _note_webhooks(self, candidate: _Candidate) -> None:
        """Notes where the job's events go, before there is the job: without one the notes are of no consequence."""
        submission, now = candidate.submission, self._now()
        account_id, endpoint_id, webhook = submission.account_id, submission.webhook_endpoint_id, submission.webhook
        if endpoint_id is None and webhook is None:
            return
        async with self._database.transaction(account_id) as session:
            if endpoint_id is not None:
                if await webhooks.get_endpoint(session, account_id, endpoint_id) is None:
                    raise no_such_webhook(str(endpoint_id))
                session.add(
                    WebhookJob(job_id=candidate.job_id, account_id=account_id, endpoint_id=endpoint_id, create_time=now)
                )
            if webhook is not None:
                # What signs it is there before anything is sent.
                await webhooks.account_secret(session, account_id, self._webhook_terms.new_secret(), now)
                session.add(
                    WebhookEndpoint(
                        endpoint_id=candidate.job_id,
                        account_id=account_id,
                        created_by=submission.user_id,
                        request_hash=submission.fingerprint,
                        url=webhook.url,
                        description="",
                        events=list(webhook.events),
                        named_jobs_only=False,
                        secret=b"",
                        of_job=True,
                        create_time=now,
                    )
                )

    async def _accept_all(self, candidates: Sequence[_Candidate]) -> Sequence[Outcome]:
        """Takes candidates from hold to queue, whether their callers still listen or not. Safe to repeat until it succeeds."""
        outcomes: dict[UUID, Outcome] = {}
        held: list[_Held] = []
        reservations, waits = await asyncio.gather(self._reserve(candidates), self._expected_waits(candidates))
        now = self._now()
        for candidate, reservation, wait in zip(candidates, reservations, waits, strict=True):
            if reservation.HasField("hold"):
                held.append(self._draft(candidate, reservation.hold.amount_millicredits, wait, now))
            else:
                outcomes[candidate.job_id] = _refusal_of(reservation)
        accepted: list[NewJob] = []
        refused: list[NewJob] = []
        for draft, acceptance in zip(held, await self._insert(held, candidates), strict=True):
            is_accepted = acceptance is Acceptance.ACCEPTED
            outcomes[draft.row.job_id] = draft.answer if is_accepted else _refusal_at_insertion(draft, acceptance)
            (accepted if is_accepted else refused).append(draft.row)
        await asyncio.gather(
            self._offering.offer(accepted),
            self._announcer.announce_accounts({row.account_id for row in accepted}),
            *map(self._release, refused),
        )
        return [outcomes[candidate.job_id] for candidate in candidates]

    async def _check_spending(self, submission: Submission, plan: Plan) -> None:
        """Refuses what the API key may not spend before anything is held; jobs that race are refused at the insertion."""
        key = submission.key
        if key is None or (key.day_millicredits is None and key.month_millicredits is None):
            return
        async with self._database.transaction(submission.account_id) as session:
            spent = await key_spending(session, submission.account_id, key.api_key_id, self._now())
        check_spending(key, *spent, hold_millicredits(plan.quote))

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
            if error.reason in (Reason.DEPENDENCY_UNAVAILABLE, Reason.STORAGE_FULL, Reason.DEADLINE_TOO_SHORT):
                # The ledger may have done it and only the answer be lost.
                self._note_all(candidates)
            raise

    async def _expected_waits(self, candidates: Sequence[_Candidate]) -> Sequence[tuple[int, WaitEstimate]]:
        return await self._waits.of_each_new(
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
        answer.is_tier_paused = estimate.is_tier_paused
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
            api_key_id=submission.key.api_key_id if submission.key else None,
            key_day_limit=submission.key.day_millicredits if submission.key else None,
            key_month_limit=submission.key.month_millicredits if submission.key else None,
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
            self._holds.note(candidate.job_id, candidate.submission.account_id)

    async def _release(self, job: NewJob) -> None:
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job.job_id), account_id=str(job.account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            self._holds.note(job.job_id, job.account_id)
            _log.warning("hold.release_deferred", job_id=str(job.job_id), error=str(error))


def _refusal_of(reservation: ledger_service_pb2.Reservation) -> ServiceError:
    """Returns the ledger's refusal of a hold."""
    refusal = from_status(reservation.refusal)
    if refusal is None:
        raise RuntimeError(f"the ledger refused in no known form: {reservation}")
    return refusal


def _refusal_at_insertion(draft: _Held, acceptance: Acceptance) -> ServiceError:
    key, row = draft.candidate.submission.key, draft.row
    if key is not None and acceptance is Acceptance.KEY_DAY_SPENT:
        return key_spent(key, "day", key.day_millicredits or 0, row.held_millicredits)
    if key is not None and acceptance is Acceptance.KEY_MONTH_SPENT:
        return key_spent(key, "month", key.month_millicredits or 0, row.held_millicredits)
    return queue_full(draft.candidate.plan.tier)


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
