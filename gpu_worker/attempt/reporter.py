"""Tells the job's watchers how far an attempt is: fetching, loading, step by step.

Owns the numbering of progress. Losing a message is harmless; changes of the job's state don't pass here.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from pingvas.generation.v1 import job_event_pb2, job_pb2
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.pictures.preview import preview_jpeg
from gpu_worker.render.interface import Pixels, StepReport
from svc_common.events import EventPublisher
from svc_common.redis_client import REDIS_ERRORS

_log = structlog.get_logger(__name__)

_LAST_REPORTS_SECONDS: Final = 1.0
"""How long the last reports may take to be published; a Redis that answers takes a millisecond for each."""
_FETCH_INTERVAL_SECONDS: Final = 1.0
"""Between two reports of a fetch: that of 24 GB takes minutes, and the history of a job is bounded."""
_SMALL_PREVIEW_BYTES: Final = 64 * 64 * 3
"""Such a preview is a JPEG in 0.2 ms, less than a pool takes to take it on while the GPU's thread is busy."""


@dataclass(frozen=True, slots=True)
class _Report:
    number: int
    """Counts the reports of the attempt, from 1."""
    event: job_event_pb2.JobEvent
    """Has no id yet: that has the attempt's in front."""
    preview: Pixels | None


class ProgressReporter:
    """Publishes the progress of one attempt, every report of it, in their order.

    A render may be ahead of its attempt: until `begin` reports are kept.
    """

    def __init__(self, publisher: EventPublisher, pool: Executor) -> None:
        """Takes where to publish, and the pool in which large previews become JPEGs."""
        self._publisher = publisher
        self._pool = pool
        self._count = 0
        self._previous_fetch_s: float | None = None
        self._reports: asyncio.Queue[list[_Report] | None] = asyncio.Queue()
        self._publishing: asyncio.Task[None] | None = None

    def begin(self, attempt: worker_service_pb2.Attempt) -> None:
        """Begins to publish, what has been reported so far first. To be called once."""
        self._publishing = asyncio.create_task(self._publish_all(attempt))

    def tell_fetch(self, fetched_bytes: int, size_bytes: int) -> None:
        """Reports how much of the models is there: the first, the last, and one a second between."""
        now_s = asyncio.get_running_loop().time()
        previous_s = self._previous_fetch_s
        if previous_s is None or fetched_bytes >= size_bytes or now_s - previous_s >= _FETCH_INTERVAL_SECONDS:
            self._previous_fetch_s = now_s
            progress = job_event_pb2.JobProgress(
                stage=job_event_pb2.JOB_STAGE_FETCHING_MODEL, fetched_bytes=fetched_bytes, fetch_size_bytes=size_bytes
            )
            self._tell((progress, None))

    def tell_loading(self) -> None:
        """Reports that the model is being loaded."""
        self._tell((job_event_pb2.JobProgress(stage=job_event_pb2.JOB_STAGE_LOADING_MODEL), None))

    def tell_steps(self, reports: Sequence[StepReport]) -> None:
        """Reports steps, which travel together."""
        self._tell(*((_step(report), report.preview) for report in reports))

    async def close(self) -> None:
        """Publishes what is left and ends. What Redis doesn't take by then is given up: the pictures don't wait for it."""
        if self._publishing is None:
            return
        self._reports.put_nowait(None)
        try:
            await asyncio.wait([self._publishing], timeout=_LAST_REPORTS_SECONDS)
        finally:
            self._publishing.cancel()

    def _tell(self, *told: tuple[job_event_pb2.JobProgress, Pixels | None]) -> None:
        first = self._count + 1
        self._count += len(told)
        self._reports.put_nowait(
            [_Report(number, _event(progress), preview) for number, (progress, preview) in enumerate(told, first)]
        )

    async def _publish_all(self, attempt: worker_service_pb2.Attempt) -> None:
        while (reports := await self._reports.get()) is not None:
            try:
                await self._publish(attempt, reports)
            except REDIS_ERRORS as error:
                _log.warning("progress.lost", job_id=attempt.job_id, reports=len(reports), error=repr(error))

    async def _publish(self, attempt: worker_service_pb2.Attempt, reports: Sequence[_Report]) -> None:
        for report in reports:
            # Numbered below the attempt's started event. Reports are counted, not steps: a render that is begun anew has
            # step 1 twice, and its watchers must hear both.
            report.event.event_id = f"{attempt.event_sequence}-{report.number}"
            report.event.job_id = attempt.job_id
            if report.preview is not None:
                report.event.progress.preview_jpeg = await self._jpeg(report.preview)
        events = [report.event.SerializeToString() for report in reports]
        await self._publisher.publish_progress(UUID(attempt.account_id), UUID(attempt.job_id), *events)

    async def _jpeg(self, preview: Pixels) -> bytes:
        if preview.nbytes <= _SMALL_PREVIEW_BYTES:
            return preview_jpeg(preview)
        return await asyncio.get_running_loop().run_in_executor(self._pool, preview_jpeg, preview)


def _step(report: StepReport) -> job_event_pb2.JobProgress:
    return job_event_pb2.JobProgress(
        stage=job_event_pb2.JOB_STAGE_RENDERING,
        step=report.step,
        step_count=report.step_count,
        percent=100 * report.step // report.step_count,
        seconds_left=round(report.seconds_left, 3),
        image_index=report.image_index,
    )


def _event(progress: job_event_pb2.JobProgress) -> job_event_pb2.JobEvent:
    event = job_event_pb2.JobEvent(state=job_pb2.JOB_STATE_RUNNING, progress=progress)
    event.create_time.GetCurrentTime()
    return event
