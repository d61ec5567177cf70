"""Serves OperatorService: the queue, the workers and anybody's jobs, for the platform's operator."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.generation.v1 import job_event_pb2, job_pb2, operator_service_pb2, operator_service_pb2_grpc

from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.events import EventPublisher
from svc_common.paging import PageTokens, page_size
from svc_common.queue import JobQueue, WorkerPresence, WorkerReport
from svc_generation.domain.pauses import TierPause
from svc_generation.domain.states import AttemptOutcome, JobState
from svc_generation.messages.jobs import timestamp
from svc_generation.messages.refusals import no_such_job, no_such_worker
from svc_generation.store import hot, pauses, queries
from svc_generation.store.models import Attempt, Job

_LIST: Final = "workers"

_log: Final = structlog.get_logger(__name__)


class OperatorServicer(operator_service_pb2_grpc.OperatorServiceServicer):
    """Implements pingvas.generation.v1.OperatorService, over the tasks' database: an operator sees every account."""

    def __init__(
        self,
        *,
        database: Database,
        queue: JobQueue,
        presence: WorkerPresence,
        publisher: EventPublisher,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
    ) -> None:
        """Takes the parts."""
        self._database = database
        self._queue = queue
        self._presence = presence
        self._publisher = publisher
        self._page_tokens = page_tokens
        self._now = now

    async def GetQueue(
        self, _request: operator_service_pb2.GetQueueRequest, _context: object
    ) -> operator_service_pb2.Queue:
        """Adds up what waits and runs."""
        depths = await self._queue.depths()
        async with self._database.transaction() as session:
            waiting, _ = await queries.open_work(session, self._now())
            oldest = await queries.oldest_waiting(session)
        paused = await pauses.read(self._database)
        tiers = [
            operator_service_pb2.QueueTier(
                tier=number,
                waiting_count=depth.waiting,
                running_count=depth.running,
                waiting_gpu_seconds=waiting.get(number, 0.0),
                oldest_create_time=_if_known(oldest.get(number)),
                **_pause(paused.present(number)),
            )
            for name, depth in depths.items()
            for number in (tier_pb2.Tier.Value(f"TIER_{name.upper()}"),)
        ]
        return operator_service_pb2.Queue(tiers=tiers, worker_count=len(await self._presence.workers()))

    async def ListWorkers(
        self, request: operator_service_pb2.ListWorkersRequest, _context: object
    ) -> operator_service_pb2.ListWorkersResponse:
        """Lists those that report themselves."""
        size, after = page_size(request.page_size), ""
        if request.page_token:
            (after,) = self._page_tokens.decode(request.page_token, _LIST)
        found = [report for report in await self._presence.workers() if report.worker_id > after][: size + 1]
        page, token = self._page_tokens.cut(found, size, _LIST, lambda report: (report.worker_id,))
        return operator_service_pb2.ListWorkersResponse(workers=map(_worker, page), next_page_token=token)

    async def DrainWorker(
        self, request: operator_service_pb2.DrainWorkerRequest, _context: object
    ) -> operator_service_pb2.DrainWorkerResponse:
        """Leaves the worker a note that it finds at its next report."""
        if not await self._presence.drain(request.worker_id):
            raise no_such_worker(request.worker_id)
        _log.info("worker.drain_requested", worker_id=request.worker_id)
        return operator_service_pb2.DrainWorkerResponse()

    async def GetJobRecord(
        self, request: operator_service_pb2.GetJobRecordRequest, _context: object
    ) -> operator_service_pb2.JobRecord:
        """Reads a job and its attempts."""
        job_id = UUID(request.job_id)
        job = await hot.find_job(self._database, job_id)
        if job is None:
            raise no_such_job(job_id)
        async with self._database.transaction() as session:
            attempts = await queries.list_attempts(session, job_id)
        record = _record(job, attempts)
        if job.state == JobState.RUNNING and (told := await self._publisher.history(job_id)):
            record.progress.CopyFrom(_without_preview(told[-1]))
        return record


def _without_preview(event: bytes) -> job_event_pb2.JobProgress:
    """Returns the progress that a serialized event tells of: pictures are their owner's."""
    progress = job_event_pb2.JobEvent.FromString(event).progress
    progress.ClearField("preview_jpeg")
    return progress


def _worker(report: WorkerReport) -> operator_service_pb2.Worker:
    return operator_service_pb2.Worker(
        worker_id=report.worker_id,
        start_time=_moment(report.start_time_ms),
        seen_time=_moment(report.seen_time_ms),
        loaded_model_ids=report.loaded_models,
        job_ids=report.job_ids,
        last_job_id=report.last_job_id,
        memory_used_bytes=report.device_memory_used_bytes,
        memory_bytes=report.device_memory_bytes,
    )


def _record(job: Job, attempts: Sequence[Attempt]) -> operator_service_pb2.JobRecord:
    return operator_service_pb2.JobRecord(
        job_id=str(job.job_id),
        account_id=str(job.account_id),
        state=job_pb2.JobState.ValueType(job.state),
        tier=tier_pb2.Tier.ValueType(job.tier),
        operation=job.operation_kind,
        model_id=job.model_id,
        create_time=timestamp(job.create_time),
        queue_time=timestamp(job.queue_time),
        start_time=_if_known(job.start_time),
        end_time=_if_known(job.end_time),
        deadline_time=timestamp(job.deadline_time),
        credits_quoted=format_credits(job.quoted_millicredits),
        credits_held=format_credits(job.held_millicredits),
        credits_used="" if job.used_millicredits is None else format_credits(job.used_millicredits),
        failure_reason=job.failure_reason or "",
        attempts=map(_attempt, attempts),
    )


def _attempt(attempt: Attempt) -> operator_service_pb2.JobAttempt:
    return operator_service_pb2.JobAttempt(
        attempt=attempt.attempt,
        worker_id=attempt.worker_id,
        outcome=AttemptOutcome(attempt.outcome).name.lower(),
        start_time=timestamp(attempt.start_time),
        end_time=_if_known(attempt.end_time),
    )


def _pause(pause: TierPause | None) -> dict[str, Any]:
    return {} if pause is None else {"pause_time": timestamp(pause.pause_time), "pause_reason": pause.reason}


def _if_known(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)


def _moment(milliseconds: int) -> Timestamp:
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC))
