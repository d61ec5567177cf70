"""What a worker does with a claimed job: start an attempt, render, encode, upload, report.

The pipeline's thread does nothing but render: while the artifacts of one job are encoded and uploaded, the next one is
claimed and rendered. Whether a job gets another attempt is decided by svc_generation, never here.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import structlog
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_event_pb2, job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.worker.v1 import worker_service_pb2, worker_service_pb2_grpc

from gpu_worker.encode import Artifact, encode_artifacts
from gpu_worker.lease import HandBack, Lease
from gpu_worker.model_files import ModelFile, ModelFilesError, ModelSpec
from gpu_worker.preview import preview_jpeg
from gpu_worker.recipe import image_recipe
from gpu_worker.rendering import (
    InvalidOutputError,
    OutOfMemoryError,
    Pipeline,
    RenderCancelledError,
    RenderedImage,
    RenderError,
    RenderResult,
    RenderSpec,
    StepReport,
)
from gpu_worker.upload import Uploader, UploadError
from svc_common.errors import Reason, ServiceError
from svc_common.events import EventPublisher
from svc_common.queue import Claim
from svc_common.redis_client import REDIS_ERRORS

R = TypeVar("R")

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_UPLOAD_AGAIN: Final = frozenset({Reason.ARTIFACT_MISSING, Reason.ARTIFACT_MISMATCH})
_REPEATED: Final = frozenset({Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_TOO_SHORT, Reason.OVERLOADED})
_UPLOAD_TRIES: Final = 3
_LAST_STEPS_SECONDS: Final = 1.0
"""How long the last steps may take to be published; a Redis that answers takes a millisecond for each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Says why an attempt ends without pictures; no reason means that it was cancelled."""

    reason: Reason | None
    message: str
    gpu_seconds: float = 0.0


class JobHandler:
    """Handles one claimed job after the other, and the uploads of earlier ones beside it."""

    def __init__(
        self,
        *,
        worker_id: str,
        pipeline: Pipeline,
        service: "worker_service_pb2_grpc.WorkerServiceAsyncStub",
        publisher: EventPublisher,
        uploader: Uploader,
        render_thread: Executor,
        encode_pool: Executor,
    ) -> None:
        """Takes the parts; `render_thread` has one thread, which is the only one that ever touches the pipeline."""
        self._worker_id = worker_id
        self._pipeline = pipeline
        self._service = service
        self._publisher = publisher
        self._uploader = uploader
        self._render_thread = render_thread
        self._encode_pool = encode_pool

    async def __call__(self, claim: Claim, lease: Lease) -> None:
        """Takes a claimed job to its report.

        Raises:
            HandBack: the job goes back to the queue at once.
        """
        log = _log.bind(job_id=str(claim.job.job_id), fence=claim.fence)
        attempt = await self._start_attempt(claim, lease)
        if attempt is None:
            log.info("job.dropped")
            return
        log = log.bind(attempt=attempt.attempt)
        log.info("job.claimed")
        try:
            await self._attempt(attempt, lease)
        except asyncio.CancelledError:
            # The worker is shutting down and the grace period is over: the attempt isn't the job's fault.
            await asyncio.shield(self._give_back(attempt, lease))
            raise
        log.info("job.reported", lost=lease.lost.is_set())

    async def warm_up(self, spec: RenderSpec) -> None:
        """Renders once into nowhere, so that the first job of a user doesn't pay for loading."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._render_thread, self._pipeline.render, spec, lambda _: None, lambda: False)

    async def _attempt(self, attempt: worker_service_pb2.Attempt, lease: Lease) -> None:
        spec = render_spec(attempt)
        outcome = await self._render(spec, attempt, lease)
        lease.release_slot()
        if lease.lost.is_set():
            return
        failure = await self._deliver(spec, outcome, attempt, lease) if isinstance(outcome, RenderResult) else outcome
        if failure is not None and not lease.lost.is_set():
            await self._report_failure(attempt, failure, lease)

    async def _start_attempt(self, claim: Claim, lease: Lease) -> worker_service_pb2.Attempt | None:
        request = worker_service_pb2.StartAttemptRequest(
            job_id=str(claim.job.job_id), worker_id=self._worker_id, claim_id=claim.holder
        )
        try:
            return await insist(lambda: self._service.StartAttempt(request), lease)
        except ServiceError as error:
            if error.reason in (Reason.JOB_NOT_FOUND, Reason.JOB_NOT_RUNNABLE):
                return None
            raise

    async def _render(
        self, spec: RenderSpec, attempt: worker_service_pb2.Attempt, lease: Lease
    ) -> RenderResult | Failure:
        stop = threading.Event()
        reporter = ProgressReporter(self._publisher, attempt, self._encode_pool)
        watching = asyncio.create_task(_set_when_unwanted(stop, lease))
        loop = asyncio.get_running_loop()
        rendering = loop.run_in_executor(
            self._render_thread, self._pipeline.render, spec, reporter.threadsafe(loop), stop.is_set
        )
        try:
            return await asyncio.shield(rendering)
        except RenderCancelledError as cancelled:
            return Failure(None, "", cancelled.gpu_seconds)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([rendering])
            rendering.exception()  # looked at, or asyncio would log it as forgotten
            raise
        except Exception as error:  # noqa: BLE001 - whatever the pipeline raises ends this job and no other
            return _failure_of(error)
        finally:
            watching.cancel()
            await reporter.close()

    async def _deliver(
        self, spec: RenderSpec, result: RenderResult, attempt: worker_service_pb2.Attempt, lease: Lease
    ) -> Failure | None:
        """Encodes, uploads and reports; uploads again when the store turns out not to have what was sent."""
        loop = asyncio.get_running_loop()
        encoding = (
            loop.run_in_executor(self._encode_pool, encode_artifacts, image.pixels, image_recipe(spec, image, result))
            for image in result.images
        )
        artifacts = await asyncio.gather(*encoding)
        report = _completion(attempt, result, artifacts)
        for _ in range(_UPLOAD_TRIES):
            try:
                await self._uploader.upload(attempt.slots, artifacts)
                await insist(lambda: self._service.CompleteAttempt(report), lease)
            except UploadError as error:
                _log.warning("job.upload_failed", job_id=attempt.job_id, error=str(error))
            except ServiceError as error:
                if error.reason not in _UPLOAD_AGAIN:
                    _log.warning("job.report_refused", job_id=attempt.job_id, error=str(error))
                    return None
                _log.warning("job.upload_incomplete", job_id=attempt.job_id, error=str(error))
            else:
                return None
        return Failure(Reason.STORAGE_FAILED, "The pictures couldn't be stored. Try again later.", result.gpu_seconds)

    async def _report_failure(self, attempt: worker_service_pb2.Attempt, failure: Failure, lease: Lease) -> None:
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
        if response is not None and response.state == job_pb2.JOB_STATE_QUEUED:
            raise HandBack

    async def _give_back(self, attempt: worker_service_pb2.Attempt, lease: Lease) -> None:
        request = worker_service_pb2.ReturnAttemptRequest(job_id=attempt.job_id, attempt=attempt.attempt)
        if lease.lost.is_set():
            return
        try:
            await self._service.ReturnAttempt(request)
        except ServiceError as error:
            _log.warning("job.return_refused", job_id=attempt.job_id, error=str(error))


class ProgressReporter:
    """Publishes what the render reports, one message at a time, in their order."""

    def __init__(self, publisher: EventPublisher, attempt: worker_service_pb2.Attempt, pool: Executor) -> None:
        """Takes where to publish, and the pool in which previews become JPEGs."""
        self._publisher = publisher
        self._attempt = attempt
        self._pool = pool
        self._reports: asyncio.Queue[StepReport | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def threadsafe(self, loop: asyncio.AbstractEventLoop) -> Callable[[StepReport], None]:
        """Returns the callback for the render's thread; it returns at once."""

        def report_step(report: StepReport) -> None:
            loop.call_soon_threadsafe(self._reports.put_nowait, report)

        return report_step

    async def close(self) -> None:
        """Publishes what is left and ends. What Redis doesn't take by then is given up: the pictures don't wait for it."""
        self._reports.put_nowait(None)
        try:
            await asyncio.wait([self._task], timeout=_LAST_STEPS_SECONDS)
        finally:
            self._task.cancel()

    async def _run(self) -> None:
        while (report := await self._reports.get()) is not None:
            try:
                await self._publish(report)
            except REDIS_ERRORS as error:
                # A lost step is no loss: the job goes on, and the changes of its state don't pass here.
                _log.warning("progress.lost", job_id=self._attempt.job_id, error=repr(error))

    async def _publish(self, report: StepReport) -> None:
        event = progress_event(self._attempt, report)
        if report.preview is not None:
            loop = asyncio.get_running_loop()
            event.progress.preview_jpeg = await loop.run_in_executor(self._pool, preview_jpeg, report.preview)
        await self._publisher.publish_progress(
            UUID(self._attempt.account_id), UUID(self._attempt.job_id), event.SerializeToString()
        )


async def insist(call: Callable[[], Awaitable[R]], lease: Lease) -> R | None:
    """Repeats a call while a part of the platform is away, with growing pauses, for as long as the lease is held.

    Returns None when the lease was lost meanwhile. What is computed is not thrown away because a database restarts.
    """
    pause = _FIRST_PAUSE_SECONDS
    while not lease.lost.is_set():
        try:
            return await call()
        except ServiceError as error:
            if error.reason not in _REPEATED:
                raise
            _log.warning("call.repeated", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return None


def render_spec(attempt: worker_service_pb2.Attempt) -> RenderSpec:
    """Converts an attempt to what the pipeline renders."""
    operation = attempt.text_to_image
    return RenderSpec(
        model=model_spec(attempt.model),
        prompt=operation.prompt,
        negative_prompt=operation.negative_prompt,
        width_px=operation.width_px,
        height_px=operation.height_px,
        step_count=operation.step_count,
        guidance_scale=operation.guidance_scale,
        seed=operation.seed,
        image_count=operation.image_count,
        scheduler=operation.scheduler,
    )


def model_spec(message: model_pb2.ModelSpec) -> ModelSpec:
    """Converts what the catalogue says of a model to what the pipeline loads."""
    model = message.model
    files = tuple(ModelFile(file.path, file.size_bytes, file.sha256) for file in message.files)
    return ModelSpec(model.model_id, model.revision, model.family, files)


def progress_event(attempt: worker_service_pb2.Attempt, report: StepReport) -> job_event_pb2.JobEvent:
    """Writes a step as an event, numbered below the attempt's started event."""
    event = job_event_pb2.JobEvent(
        event_id=f"{attempt.event_sequence}-{report.step}",
        job_id=attempt.job_id,
        state=job_pb2.JOB_STATE_RUNNING,
        progress=job_event_pb2.JobProgress(
            step=report.step,
            step_count=report.step_count,
            percent=100 * report.step // report.step_count,
            seconds_left=round(report.seconds_left, 3),
            image_index=report.image_index,
        ),
    )
    event.create_time.GetCurrentTime()
    return event


async def _set_when_unwanted(stop: threading.Event, lease: Lease) -> None:
    """Stops the render when the owner wants the job cancelled, or another worker has it."""
    waits = [asyncio.create_task(lease.lost.wait()), asyncio.create_task(lease.cancel_requested.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
    finally:
        for wait in waits:
            wait.cancel()


def _failure_of(error: Exception) -> Failure:
    """Tells a person what went wrong; a trace is for the log alone."""
    _log.warning("job.render_failed", exc_info=error)
    if isinstance(error, OutOfMemoryError):
        return Failure(Reason.OUT_OF_MEMORY, "The picture didn't fit into the GPU's memory. Ask for a smaller one.")
    if isinstance(error, InvalidOutputError):
        return Failure(Reason.INVALID_OUTPUT, "The model produced no usable picture. Try another seed or scheduler.")
    if isinstance(error, ModelFilesError):
        return Failure(Reason.MODEL_LOAD_FAILED, "The model couldn't be loaded. Try another model.")
    if isinstance(error, RenderError):
        return Failure(Reason.PIPELINE_FAILED, f"The picture couldn't be made: {error}.")
    return Failure(Reason.PIPELINE_FAILED, "The pipeline failed. Try other parameters; if it stays so, report the job.")


def _reason_value(reason: Reason | None) -> error_reason_pb2.ErrorReason.ValueType:
    return error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}")


def _completion(
    attempt: worker_service_pb2.Attempt, result: RenderResult, artifacts: Sequence[tuple[Artifact, ...]]
) -> worker_service_pb2.CompleteAttemptRequest:
    images = [
        _reported(slot.image_id, image, of_image)
        for slot, image, of_image in zip(attempt.slots, result.images, artifacts, strict=True)
    ]
    return worker_service_pb2.CompleteAttemptRequest(
        job_id=attempt.job_id,
        attempt=attempt.attempt,
        gpu_milliseconds=round(result.gpu_seconds * 1000),
        images=images,
    )


def _reported(image_id: str, image: RenderedImage, artifacts: tuple[Artifact, ...]) -> worker_service_pb2.ReportedImage:
    original, thumbnail, metadata = (
        worker_service_pb2.ReportedObject(size_bytes=artifact.size_bytes, sha256=artifact.sha256)
        for artifact in artifacts
    )
    height, width, _ = image.pixels.shape
    return worker_service_pb2.ReportedImage(
        image_id=image_id,
        width_px=width,
        height_px=height,
        seed=image.seed,
        original=original,
        thumbnail=thumbnail,
        metadata=metadata,
    )
