"""What a worker does with a claimed job: start an attempt, prepare, render, deliver, report.

Owns the order and the calls that begin and end an attempt. A render may have a head start before its attempt. The pipeline's
thread does nothing but render: while the pictures of one job are encoded and stored, the next one is claimed and rendered.
Whether a job gets another attempt is decided by svc_generation, never here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.attempt.delivery import Deliverer, Pictures
from gpu_worker.attempt.execution import Renderer
from gpu_worker.attempt.failures import AttemptFailedError, NoRoomError
from gpu_worker.attempt.head_start import HeadStart, expected_attempt
from gpu_worker.attempt.insisting import insist
from gpu_worker.attempt.interruption import StoppingError, unless_interrupted
from gpu_worker.attempt.preparation import Preparer
from gpu_worker.attempt.reporter import ProgressReporter
from gpu_worker.claim.lease import HandBack, HandBackLater, Lease, LeaseLostError
from svc_common.errors import Reason, ServiceError
from svc_common.queue import Claim

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

_log = structlog.get_logger(__name__)


class JobHandler:
    """Handles one claimed job after the other, and the deliveries of earlier ones beside it."""

    def __init__(
        self,
        *,
        worker_id: str,
        service: "WorkerServiceAsyncStub",
        preparer: Preparer,
        renderer: Renderer,
        deliverer: Deliverer,
        make_reporter: Callable[[], ProgressReporter],
    ) -> None:
        """Takes the parts."""
        self._worker_id = worker_id
        self._service = service
        self._preparer = preparer
        self._renderer = renderer
        self._deliverer = deliverer
        self._make_reporter = make_reporter
        self._latest_models: dict[str, model_pb2.ModelSpec] = {}
        """Those of the latest attempt, by id, as svc_generation described them."""

    async def __call__(self, claim: Claim, lease: Lease) -> None:
        """Takes a claimed job to its report.

        Raises:
            HandBack: the job goes back to the queue at once.
        """
        log = _log.bind(job_id=str(claim.job.job_id), fence=claim.fence)
        head_start = self._head_start(claim, lease)
        try:
            attempt = await self._start_attempt(claim, lease)
            if attempt is None:
                log.info("job.dropped")
            else:
                await self._work_on(attempt, lease, head_start, log.bind(attempt=attempt.attempt))
        finally:
            if head_start is not None:
                await head_start.give_up()

    def _head_start(self, claim: Claim, lease: Lease) -> HeadStart | None:
        """Begins to render what the queue says of the job, if that is all that is needed."""
        expected = expected_attempt(claim, self._latest_models)
        if expected is None:
            return None
        reporter = self._make_reporter()
        making = asyncio.create_task(self._make(expected, reporter, lease), name=f"head start {expected.job_id}")
        return HeadStart(expected, reporter, making)

    async def _work_on(
        self,
        attempt: worker_service_pb2.Attempt,
        lease: Lease,
        head_start: HeadStart | None,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        log.info("job.claimed")
        try:
            await self._attempt(attempt, lease, head_start)
        except LeaseLostError:
            log.info("job.lost")
        except (StoppingError, NoRoomError, asyncio.CancelledError) as end:
            # The worker is shutting down, or has no room: that isn't the job's fault, and the attempt isn't counted.
            await asyncio.shield(self._give_back(attempt, lease))
            log.info("job.handed_back")
            if isinstance(end, asyncio.CancelledError):
                raise
            if isinstance(end, NoRoomError):
                log.warning("job.waits_for_room", error=str(end))
                raise HandBackLater from end
            raise HandBack from end
        else:
            log.info("job.reported")

    async def _start_attempt(self, claim: Claim, lease: Lease) -> worker_service_pb2.Attempt | None:
        request = worker_service_pb2.StartAttemptRequest(
            job_id=str(claim.job.job_id), worker_id=self._worker_id, claim_id=claim.holder
        )
        try:
            return await insist(lambda: self._service.StartAttempt(request), lease)
        except LeaseLostError:
            return None
        except ServiceError as error:
            if error.reason in (Reason.JOB_NOT_FOUND, Reason.JOB_NOT_RUNNABLE):
                return None
            raise

    async def _attempt(self, attempt: worker_service_pb2.Attempt, lease: Lease, head_start: HeadStart | None) -> None:
        try:
            await self._make_pictures(attempt, lease, head_start)
        except AttemptFailedError as failure:
            lease.release_slot()
            if lease.lost.is_set():
                raise LeaseLostError from failure
            await self._report_failure(attempt, failure, lease)

    async def _make_pictures(
        self, attempt: worker_service_pb2.Attempt, lease: Lease, head_start: HeadStart | None
    ) -> None:
        self._latest_models = {model.model.model_id: model for model in (attempt.model, *attempt.loras)}
        making: Awaitable[Pictures]
        if head_start is not None and head_start.is_for(attempt):
            reporter, making = head_start.reporter, head_start.making
        else:
            if head_start is not None:
                await head_start.give_up()
            reporter = self._make_reporter()
            making = self._make(attempt, reporter, lease)
        reporter.begin(attempt)
        telling: asyncio.Task[None] | None = None
        try:
            pictures = await making
            lease.release_slot()
            if lease.lost.is_set():
                raise LeaseLostError
            telling = asyncio.create_task(reporter.close())
            await self._deliverer.deliver(attempt, pictures, lease, telling)
        finally:
            await (telling or reporter.close())

    async def _make(self, attempt: worker_service_pb2.Attempt, reporter: ProgressReporter, lease: Lease) -> Pictures:
        """Prepares, renders and begins to encode; what is raised is told by the parts."""
        job = await unless_interrupted(self._preparer.prepare(attempt, reporter, lease), lease)
        return await self._renderer.render(
            job.spec,
            reporter,
            lease,
            repair=lambda: unless_interrupted(self._preparer.repair(job.spec, reporter, lease), lease),
            hand_over=partial(self._deliverer.encode, job),
        )

    async def _report_failure(
        self, attempt: worker_service_pb2.Attempt, failure: AttemptFailedError, lease: Lease
    ) -> None:
        request = worker_service_pb2.FailAttemptRequest(
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            gpu_milliseconds=round(failure.gpu_seconds * 1000),
            reason=_reason_value(failure.reason),
            message=failure.message,
        )
        try:
            response = await insist(lambda: self._service.FailAttempt(request), lease)
        except ServiceError as error:
            _log.warning("job.report_refused", job_id=attempt.job_id, error=str(error))
            return
        if response.state == job_pb2.JOB_STATE_QUEUED:
            raise HandBack

    async def _give_back(self, attempt: worker_service_pb2.Attempt, lease: Lease) -> None:
        request = worker_service_pb2.ReturnAttemptRequest(job_id=attempt.job_id, attempt=attempt.attempt)
        if lease.lost.is_set():
            return
        try:
            await self._service.ReturnAttempt(request)
        except ServiceError as error:
            _log.warning("job.return_refused", job_id=attempt.job_id, error=str(error))


def _reason_value(reason: Reason | None) -> error_reason_pb2.ErrorReason.ValueType:
    return error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}")
