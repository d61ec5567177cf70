"""The users' service: prices, accepts, shows, lists, cancels and watches jobs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import UUID

from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_event_pb2, job_pb2

from svc_common.caller import current_account, current_user
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.idempotency import idempotency_key
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_common.queue import JobQueue
from svc_generation.domain.pricing import hold_millicredits
from svc_generation.domain.states import JobState
from svc_generation.servicer.accepting import Acceptor
from svc_generation.servicer.conversion import JobConverter
from svc_generation.servicer.operations import asked
from svc_generation.servicer.planning import Planner
from svc_generation.servicer.submissions import Submission
from svc_generation.servicer.watch import Watch, no_such_job
from svc_generation.store import queries
from svc_generation.store.models import Job

_USUAL_RUN_SECONDS: Final = 1.0
"""What a job is taken to run for where no request says more and nothing was measured."""


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Implements pingvas.generation.v1.GenerationService."""

    def __init__(
        self,
        *,
        database: Database,
        planner: Planner,
        acceptor: Acceptor,
        queue: JobQueue,
        converter: JobConverter,
        watch: Watch,
        page_tokens: PageTokens,
        cancel: Callable[[UUID], Awaitable[None]],
    ) -> None:
        """Takes the parts; `cancel` ends a waiting job or asks its worker to."""
        self._database = database
        self._planner = planner
        self._acceptor = acceptor
        self._queue = queue
        self._converter = converter
        self._watch = watch
        self._page_tokens = page_tokens
        self._cancel = cancel

    async def QuoteJob(
        self, request: generation_service_pb2.QuoteJobRequest, _context: object
    ) -> generation_service_pb2.JobQuote:
        """Prices a request and holds nothing."""
        account_id = current_account()
        plan = await self._planner.plan(asked(request), account_id)
        position, estimate = await self._planner.wait(plan.tier, account_id, plan.run_seconds)
        return generation_service_pb2.JobQuote(
            credits=format_credits(plan.quote),
            credits_held=format_credits(hold_millicredits(plan.quote)),
            queue_position=position,
            estimated_wait_seconds=estimate.p50_seconds,
            estimated_wait_p90_seconds=estimate.p90_seconds,
        )

    async def CreateJob(self, request: generation_service_pb2.CreateJobRequest, _context: object) -> job_pb2.Job:
        """Accepts a job."""
        submission = Submission.of(request, current_account(), current_user(), idempotency_key(request.request_id))
        return await self._acceptor.accept(submission)

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
        before = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            rows = await queries.list_jobs(session, account_id, states, before, size + 1)
        page, token = self._page_tokens.cut(
            rows, size, scope, lambda row: (row.create_time.isoformat(), str(row.job_id))
        )
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
        tier = await self._planner.tier(account_id)
        async with self._database.transaction(account_id) as session:
            own_waiting = await queries.count_waiting(session, account_id)
            own_running = await queries.count_running(session, account_id)
        depths = await self._queue.depths()
        names = list(depths)  # highest first
        _, estimate = await self._planner.wait(tier, account_id, _USUAL_RUN_SECONDS)
        return generation_service_pb2.QueueStatus(
            tier=tier.tier,  # type: ignore[arg-type]
            own_waiting=own_waiting,
            own_running=own_running,
            waiting_ahead=sum(depths[name].waiting for name in names[: names.index(tier.tier_name) + 1]),
            running=sum(depth.running for depth in depths.values()),
            estimated_wait_seconds=estimate.p50_seconds,
            estimated_wait_p90_seconds=estimate.p90_seconds,
        )

    async def _own_job(self, job_id: str) -> Job:
        account_id = current_account()
        async with self._database.direct(account_id) as direct:
            row = await queries.get_job(direct, UUID(job_id), account_id)
        if row is None:
            raise no_such_job(job_id)
        return row

    async def _converted(self, row: Job) -> job_pb2.Job:
        position, estimate = await self._watch.place(row)
        return await self._converter.job(row, position, estimate)
