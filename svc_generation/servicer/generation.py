"""The users' service: prices, accepts, shows, lists, cancels and watches jobs."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from uuid import UUID

from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_event_pb2, job_pb2

from svc_common.caller import current_account, current_caller, current_user
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.idempotency import idempotency_key
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_common.queue import JobQueue
from svc_generation.domain.pricing import hold_millicredits
from svc_generation.domain.sizes import SIZE_PRESETS
from svc_generation.domain.states import CANCELLABLE, Cancellation, JobState
from svc_generation.messages.jobs import JobConverter, size_preset_message
from svc_generation.messages.operations import asked
from svc_generation.messages.refusals import job_already_ended
from svc_generation.servicer.watch import Watch
from svc_generation.store import queries
from svc_generation.store.models import Job
from svc_generation.usecases.accepting import Acceptor
from svc_generation.usecases.cancelling import MOST_CLEARED, Canceller, cancel_each
from svc_generation.usecases.lookups import Lookups
from svc_generation.usecases.own_jobs import own_job
from svc_generation.usecases.planning import Planner
from svc_generation.usecases.submissions import Submission
from svc_generation.usecases.waiting import WaitTimes

_USUAL_RUN_SECONDS: Final = 1.0
"""What a job is taken to run for where no request says more and nothing was measured."""


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Implements pingvas.generation.v1.GenerationService."""

    def __init__(
        self,
        *,
        database: Database,
        lookups: Lookups,
        planner: Planner,
        acceptor: Acceptor,
        canceller: Canceller,
        waits: WaitTimes,
        queue: JobQueue,
        converter: JobConverter,
        watch: Watch,
        page_tokens: PageTokens,
    ) -> None:
        """Takes the parts."""
        self._database = database
        self._lookups = lookups
        self._planner = planner
        self._acceptor = acceptor
        self._canceller = canceller
        self._waits = waits
        self._queue = queue
        self._converter = converter
        self._watch = watch
        self._page_tokens = page_tokens

    async def QuoteJob(
        self, request: generation_service_pb2.QuoteJobRequest, _context: object
    ) -> generation_service_pb2.JobQuote:
        """Prices a request and holds nothing."""
        account_id = current_account()
        plan = await self._planner.plan(asked(request), account_id, current_caller().key)
        position, estimate = await self._waits.of_new(plan.tier, account_id, plan.run_seconds)
        return generation_service_pb2.JobQuote(
            credits=format_credits(plan.quote),
            credits_held=format_credits(hold_millicredits(plan.quote)),
            queue_position=position,
            estimated_wait_seconds=estimate.p50_seconds,
            estimated_wait_p90_seconds=estimate.p90_seconds,
            is_tier_paused=estimate.is_tier_paused,
        )

    async def CreateJob(self, request: generation_service_pb2.CreateJobRequest, _context: object) -> job_pb2.Job:
        """Accepts a job."""
        request_id, key = idempotency_key(request.request_id), current_caller().key
        submission = Submission.of(request, current_account(), current_user(), request_id, key)
        return await self._acceptor.accept(submission)

    async def GetJob(self, request: generation_service_pb2.GetJobRequest, _context: object) -> job_pb2.Job:
        """Returns one of the caller's jobs."""
        return await self._converted(await own_job(self._database, current_account(), UUID(request.job_id)))

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
        row = await own_job(self._database, current_account(), UUID(request.job_id))
        if row.state in (JobState.COMPLETED, JobState.FAILED):
            raise job_already_ended(row.job_id, row.state)
        await self._canceller.cancel(row.job_id)
        return await self._converted(await own_job(self._database, current_account(), UUID(request.job_id)))

    async def ClearQueue(
        self, request: generation_service_pb2.ClearQueueRequest, _context: object
    ) -> generation_service_pb2.ClearQueueResponse:
        """Cancels what the caller has waiting, and on request what runs."""
        account_id = current_account()
        among = CANCELLABLE if request.includes_running else frozenset({JobState.QUEUED})
        async with self._database.transaction(account_id) as session:
            job_ids, beyond = await queries.list_cancellable(session, account_id, among, MOST_CLEARED)
        done = await cancel_each(job_ids, partial(self._canceller.cancel, among=among))
        return generation_service_pb2.ClearQueueResponse(
            cancelled_count=done[Cancellation.ENDED],
            stopping_count=done[Cancellation.ASKED],
            remaining_count=beyond + len(job_ids) - done.total(),
        )

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
        names = list(depths)  # highest first
        _, estimate = await self._waits.of_new(tier, account_id, _USUAL_RUN_SECONDS)
        return generation_service_pb2.QueueStatus(
            tier=tier.tier,  # type: ignore[arg-type]
            own_waiting=own_waiting,
            own_running=own_running,
            waiting_ahead=sum(depths[name].waiting for name in names[: names.index(tier.tier_name) + 1]),
            running=sum(depth.running for depth in depths.values()),
            estimated_wait_seconds=estimate.p50_seconds,
            estimated_wait_p90_seconds=estimate.p90_seconds,
            is_tier_paused=estimate.is_tier_paused,
        )

    async def ListSizePresets(
        self, request: generation_service_pb2.ListSizePresetsRequest, _context: object
    ) -> generation_service_pb2.ListSizePresetsResponse:
        """Lists the sizes that have a name."""
        scope, size, names = "size_presets", page_size(request.page_size), list(SIZE_PRESETS)
        start = 0
        if request.page_token:
            (last,) = self._page_tokens.decode(request.page_token, scope)
            start = names.index(last) + 1
        page, token = self._page_tokens.cut(names[start:], size, scope, lambda name: (name,))
        return generation_service_pb2.ListSizePresetsResponse(
            size_presets=[size_preset_message(name, SIZE_PRESETS[name]) for name in page], next_page_token=token
        )

    async def _converted(self, row: Job) -> job_pb2.Job:
        position, estimate = await self._waits.of_job(row)
        return await self._converter.job(row, position, estimate)
