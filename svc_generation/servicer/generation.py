"""The users' service: prices, accepts, shows, lists and cancels jobs. The watch streams are in `watch`."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from google.protobuf.duration_pb2 import Duration
from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_event_pb2, job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.caller import current_account, current_user, request_header
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.group_commit import GroupCommit
from svc_common.paging import PageTokens, page_size
from svc_common.queue import JobQueue, QueuedJob
from svc_common.redis_client import REDIS_ERRORS
from svc_generation.domain.limits import TierFacts, check_model, check_scheduler, check_tier, with_defaults
from svc_generation.domain.pricing import hold_millicredits, quote_millicredits
from svc_generation.domain.states import JobState
from svc_generation.domain.waiting import WaitEstimate, WaitStatistics
from svc_generation.servicer.conversion import JobConverter, filled, picture, timestamp, work
from svc_generation.servicer.lookups import Lookups, model_cost, model_facts, tier_name
from svc_generation.servicer.watch import Watch
from svc_generation.store import queries
from svc_generation.store.acceptance import Acceptance, NewJob, accept_jobs
from svc_generation.store.models import Job

_log = structlog.get_logger(__name__)

_BRANCH = "text_to_image"
_HOLD_MARGIN = timedelta(hours=1)
"""How much longer a hold lives than its job, so that a hold never lapses under a job that hasn't been given up."""
_QUEUE_FULL_RETRY = timedelta(seconds=5)
_MAX_REQUEST_ID = 100
_BATCH_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds a checked and priced request."""

    operation: job_pb2.TextToImage
    tier: TierFacts
    quote: int
    position: int
    estimate: WaitEstimate


@dataclass(frozen=True, slots=True)
class Clock:
    """Supplies what a pure program hasn't: time, ids and chance."""

    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    new_seed: Callable[[], int]


class KeyedLocks:
    """Makes the calls of one process that carry the same key take turns.

    It spares a race within the process, where retries of one client usually meet; between processes the unique index of
    the table decides.
    """

    def __init__(self) -> None:
        """Starts without keys."""
        self._locks: dict[tuple[UUID, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, account_id: UUID, request_id: str) -> AsyncIterator[None]:
        """Waits for the key's turn; an empty request id never waits."""
        if not request_id:
            yield
            return
        key = (account_id, request_id)
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Implements pingvas.generation.v1.GenerationService."""

    def __init__(
        self,
        *,
        database: Database,
        lookups: Lookups,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        queue: JobQueue,
        converter: JobConverter,
        statistics: WaitStatistics,
        watch: Watch,
        page_tokens: PageTokens,
        clock: Clock,
        cancel: Callable[[UUID], Awaitable[None]],
        job_lifetime: timedelta,
    ) -> None:
        """Takes the parts; `cancel` ends a waiting job or asks its worker to."""
        self._database = database
        self._lookups = lookups
        self._ledger = ledger
        self._queue = queue
        self._converter = converter
        self._statistics = statistics
        self._watch = watch
        self._page_tokens = page_tokens
        self._clock = clock
        self._cancel = cancel
        self._job_lifetime = job_lifetime
        self._locks = KeyedLocks()
        # What comes at the same time goes together: one commit, one round trip to Redis.
        self._acceptances = GroupCommit(self._accept, limit=_BATCH_LIMIT)
        self._enqueues = GroupCommit(self._enqueue, limit=_BATCH_LIMIT)
        self._positions = GroupCommit(self._queue_positions, limit=_BATCH_LIMIT)

    async def QuoteJob(
        self, request: generation_service_pb2.QuoteJobRequest, _context: object
    ) -> generation_service_pb2.JobQuote:
        """Prices a request and holds nothing."""
        plan = await self._plan(request.text_to_image, current_account())
        return generation_service_pb2.JobQuote(
            credits=format_credits(plan.quote),
            credits_held=format_credits(hold_millicredits(plan.quote)),
            queue_position=plan.position,
            estimated_wait_seconds=plan.estimate.p50_seconds,
            estimated_wait_p90_seconds=plan.estimate.p90_seconds,
        )

    async def CreateJob(self, request: generation_service_pb2.CreateJobRequest, _context: object) -> job_pb2.Job:
        """Accepts a job: plan, hold, row, queue."""
        account_id = current_account()
        identity = _Identity(_request_id(request), _fingerprint(request))
        async with self._locks.hold(account_id, identity.request_id):
            if answer := await self._replay(account_id, identity):
                return answer
            plan = await self._plan(request.text_to_image, account_id)
            job_id = self._clock.new_id()
            hold = await self._reserve(job_id, account_id, plan, identity)
            if isinstance(hold, job_pb2.Job):
                return hold
            job = self._new_job(job_id, account_id, identity, plan, hold.amount_millicredits)
            acceptance = await self._acceptances.submit(job)
        if acceptance is not Acceptance.ACCEPTED:
            return await self._refused(job, acceptance, identity, plan.tier)
        await self._enqueues.submit(_queued(job, plan.tier))
        return job_pb2.Job.FromString(job.first_answer)

    async def GetJob(self, request: generation_service_pb2.GetJobRequest, _context: object) -> job_pb2.Job:
        """Returns one of the caller's jobs."""
        return await self._converted(await self._own_job(request.job_id))

    async def ListJobs(
        self, request: generation_service_pb2.ListJobsRequest, _context: object
    ) -> generation_service_pb2.ListJobsResponse:
        """Lists the caller's jobs, newest first."""
        account_id = current_account()
        states = sorted({JobState(state) for state in request.states})
        scope = f"jobs:{account_id}:{','.join(str(int(state)) for state in states)}"
        size = page_size(request.page_size)
        before = _place(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            rows = await queries.list_jobs(session, account_id, states, before, size + 1)
        page = rows[:size]
        token = ""
        if len(rows) > size:
            token = self._page_tokens.encode(scope, page[-1].create_time.isoformat(), str(page[-1].job_id))
        jobs = [await self._converted(row) for row in page]
        return generation_service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def CancelJob(self, request: generation_service_pb2.CancelJobRequest, _context: object) -> job_pb2.Job:
        """Cancels one of the caller's jobs; one that was cancelled before is answered as it is."""
        row = await self._own_job(request.job_id)
        if row.state in (JobState.COMPLETED, JobState.FAILED):
            state = job_pb2.JobState.Name(row.state)  # type: ignore[arg-type]
            raise ServiceError(
                Reason.JOB_ALREADY_ENDED,
                f"The job has ended as {state.removeprefix('JOB_STATE_').lower()}; there is nothing left to cancel.",
                metadata={"job_id": request.job_id, "state": state},
            )
        await self._cancel(row.job_id)
        return await self._converted(await self._own_job(request.job_id))

    async def WatchJob(
        self, request: generation_service_pb2.WatchJobRequest, _context: object
    ) -> AsyncIterator[job_event_pb2.JobEvent]:
        """Streams one job's events up to the terminal one."""
        async for event in self._watch.job(current_account(), UUID(request.job_id), request.after):
            yield event

    async def WatchJobs(
        self, request: generation_service_pb2.WatchJobsRequest, _context: object
    ) -> AsyncIterator[job_event_pb2.JobEvent]:
        """Streams the events of all of the caller's jobs."""
        async for event in self._watch.account(current_account(), request.after):
            yield event

    async def GetQueueStatus(
        self, _request: generation_service_pb2.GetQueueStatusRequest, _context: object
    ) -> generation_service_pb2.QueueStatus:
        """Tells how long the queue is."""
        account_id = current_account()
        tier = await self._lookups.tier(account_id)
        async with self._database.transaction(account_id) as session:
            own_waiting = await queries.count_waiting(session, account_id)
            own_running = await queries.count_running(session, account_id)
        depths = await self._queue.depths()
        tiers = list(depths)  # highest first
        ahead = sum(depths[name].waiting for name in tiers[: tiers.index(tier.tier_name) + 1])
        position = await self._positions.submit((tier.tier_name, account_id))
        estimate = self._statistics.estimate(position, 1.0)
        return generation_service_pb2.QueueStatus(
            tier=tier.tier,  # type: ignore[arg-type]
            own_waiting=own_waiting,
            own_running=own_running,
            waiting_ahead=ahead,
            running=sum(depth.running for depth in depths.values()),
            estimated_wait_seconds=estimate.p50_seconds,
            estimated_wait_p90_seconds=estimate.p90_seconds,
        )

    async def _plan(self, wish: job_pb2.TextToImage, account_id: UUID) -> Plan:
        spec, tier = await asyncio.gather(self._lookups.model(wish.model_id), self._lookups.tier(account_id))
        operation = self._checked(wish, spec, tier)
        quote = quote_millicredits(model_cost(spec), work(operation))
        position = await self._positions.submit((tier.tier_name, account_id))
        return Plan(operation, tier, quote, position, self._statistics.estimate(position, quote / 1000))

    def _checked(self, wish: job_pb2.TextToImage, spec: model_pb2.ModelSpec, tier: TierFacts) -> job_pb2.TextToImage:
        model = model_facts(spec.model)
        check_model(model, tier, tier_name(model.minimum_tier))
        chosen = with_defaults(picture(wish), model)
        check_scheduler(chosen, model, _BRANCH)
        check_tier(chosen, tier, _BRANCH)
        seed = wish.seed if wish.HasField("seed") else self._clock.new_seed()
        return filled(wish, chosen, model.model_id, seed)

    async def _queue_positions(self, lines: Sequence[tuple[str, UUID]]) -> Sequence[int]:
        """Returns expected positions, or 0 while Redis is away: an estimate isn't worth refusing a job for."""
        try:
            return await self._queue.positions_for_new(lines)
        except REDIS_ERRORS as error:
            _log.warning("queue.position_unknown", error=repr(error))
            return [0] * len(lines)

    async def _replay(self, account_id: UUID, identity: "_Identity") -> job_pb2.Job | None:
        if not identity.request_id:
            return None
        async with self._database.transaction(account_id) as session:
            found = await queries.find_request(session, account_id, identity.request_id)
        if found is None:
            return None
        if found.request_hash != identity.fingerprint:
            raise ServiceError(
                Reason.IDEMPOTENCY_KEY_REUSED,
                f"The request id {identity.request_id!r} has made a job from another body. "
                "Repeat that body, or choose a new id.",
                metadata={"request_id": identity.request_id},
            )
        return job_pb2.Job.FromString(found.first_answer)

    async def _reserve(
        self, job_id: UUID, account_id: UUID, plan: Plan, identity: "_Identity"
    ) -> ledger_service_pb2.Hold | job_pb2.Job:
        """Sets the price aside.

        A refusal may come from a twin of this request in another process, which holds the same credits for a moment: if
        the twin has made the job by now, its answer is the answer.
        """
        request = ledger_service_pb2.ReserveCreditsRequest(
            hold_id=str(job_id),
            account_id=str(account_id),
            amount_millicredits=hold_millicredits(plan.quote),
            minimum_millicredits=plan.quote,
            lifetime=Duration(seconds=int((self._job_lifetime + _HOLD_MARGIN).total_seconds())),
        )
        try:
            return await self._ledger.ReserveCredits(request)
        except ServiceError as error:
            if error.reason is Reason.INSUFFICIENT_CREDITS and (answer := await self._replay(account_id, identity)):
                return answer
            raise

    def _new_job(self, job_id: UUID, account_id: UUID, identity: "_Identity", plan: Plan, held: int) -> NewJob:
        now = self._clock.now()
        return NewJob(
            job_id=job_id,
            account_id=account_id,
            created_by=current_user(),
            request_id=identity.request_id or None,
            request_hash=identity.fingerprint,
            first_answer=_first_answer(job_id, plan, held, now).SerializeToString(),
            operation=plan.operation.SerializeToString(),
            model_id=plan.operation.model_id,
            tier=plan.tier.tier,
            running_limit=plan.tier.running_jobs,
            waiting_limit=plan.tier.waiting_jobs,
            image_count=plan.operation.image_count,
            quoted_millicredits=plan.quote,
            held_millicredits=held,
            queue_position=plan.position,
            create_time=now,
            deadline_time=now + self._job_lifetime,
        )

    async def _accept(self, jobs: Sequence[NewJob]) -> Sequence[Acceptance]:
        """Inserts the jobs that came at the same time; the commit is the acceptance of each."""
        async with self._database.transaction() as session:
            return await accept_jobs(session, jobs)

    async def _refused(
        self, job: NewJob, acceptance: Acceptance, identity: "_Identity", tier: TierFacts
    ) -> job_pb2.Job:
        """Gives back what was held for a job that wasn't accepted, and answers with its twin, if one was first."""
        await self._release(job.job_id, job.account_id)
        if acceptance is Acceptance.KNOWN and (answer := await self._replay(job.account_id, identity)):
            return answer
        raise ServiceError(
            Reason.QUEUE_FULL,
            f"The {tier.tier_name} tier lets {tier.waiting_jobs} jobs wait at a time. Wait until one has started, or upgrade.",
            metadata={"tier": tier.tier_name, "limit": str(tier.waiting_jobs)},
            retry_after=_QUEUE_FULL_RETRY,
        )

    async def _release(self, job_id: UUID, account_id: UUID) -> None:
        """Gives the hold of a job back that was never made; if that fails, the hold lapses by itself."""
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job_id), account_id=str(account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            _log.warning("hold.release_failed", job_id=str(job_id), error=str(error))

    async def _enqueue(self, jobs: Sequence[QueuedJob]) -> Sequence[None]:
        """Puts accepted jobs into the queue. A failure is harmless: a sweep puts every job that Redis misses back."""
        try:
            await self._queue.enqueue_all(jobs)
        except REDIS_ERRORS as error:
            _log.warning("queue.enqueue_lost", jobs=len(jobs), error=repr(error))
        await self._watch.announce({job.account_id for job in jobs})
        return [None] * len(jobs)

    async def _own_job(self, job_id: str) -> Job:
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            row = await queries.get_job(session, UUID(job_id), account_id)
        if row is None:
            raise ServiceError(
                Reason.JOB_NOT_FOUND, "There is no such job in your account.", metadata={"job_id": job_id}
            )
        return row

    async def _converted(self, row: Job) -> job_pb2.Job:
        position, estimate = await self._watch.place(row)
        return await self._converter.job(row, position, estimate)


@dataclass(frozen=True, slots=True)
class _Identity:
    """Tells a request from others: the caller's id of it, "" for none, and a hash of what it asks for."""

    request_id: str
    fingerprint: bytes


def _fingerprint(request: generation_service_pb2.CreateJobRequest) -> bytes:
    return hashlib.sha256(request.text_to_image.SerializeToString(deterministic=True)).digest()


def _queued(job: NewJob, tier: TierFacts) -> QueuedJob:
    return QueuedJob(
        job_id=job.job_id,
        account_id=job.account_id,
        tier=tier.tier_name,
        model_id=job.model_id,
        cost_millicredits=job.quoted_millicredits,
        running_limit=job.running_limit,
        create_time_ms=int(job.create_time.timestamp() * 1000),
    )


def _request_id(request: generation_service_pb2.CreateJobRequest) -> str:
    request_id = request.request_id or request_header("idempotency-key") or ""
    if len(request_id) > _MAX_REQUEST_ID:
        raise ServiceError(
            Reason.INVALID_FIELD, f"The header idempotency-key may have {_MAX_REQUEST_ID} characters at most."
        )
    return request_id


def _first_answer(job_id: UUID, plan: Plan, held: int, now: datetime) -> job_pb2.Job:
    """Writes the answer of CreateJob before the row exists: its event id is filled in by the first event."""
    return job_pb2.Job(
        job_id=str(job_id),
        state=job_pb2.JOB_STATE_QUEUED,
        text_to_image=plan.operation,
        credits_quoted=format_credits(plan.quote),
        credits_held=format_credits(held),
        queue_position=plan.position,
        estimated_wait_seconds=plan.estimate.p50_seconds,
        estimated_wait_p90_seconds=plan.estimate.p90_seconds,
        tier=plan.tier.tier,  # type: ignore[arg-type]
        create_time=timestamp(now),
    )


def _place(parts: tuple[str, ...]) -> tuple[datetime, UUID]:
    moment, job_id = parts
    return datetime.fromisoformat(moment), UUID(job_id)
