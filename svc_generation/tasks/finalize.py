"""Closes jobs: pictures into the gallery, credits settled or released, then the terminal state.

Each step is idempotent by the job's id, and the job stays FINALIZING until all are done; so a crash anywhere in between is
repaired by doing it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from pingvas.gallery.v1 import import_service_pb2, import_service_pb2_grpc
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.queue import JobQueue
from svc_common.redis_client import REDIS_ERRORS
from svc_generation.domain.states import JobState
from svc_generation.store import queries, transitions
from svc_generation.store.models import Job

_log = structlog.get_logger(__name__)

_PNG = "image/png"


class Finalizer:
    """Takes FINALIZING jobs to their end."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        gallery: "import_service_pb2_grpc.ImportServiceAsyncStub",
        queue: JobQueue,
        tell: Callable[[Job], Awaitable[None]],
        now: Callable[[], datetime],
        prompt_of: Callable[[Job], str],
    ) -> None:
        """Takes the tasks' database, the stubs of those who keep credits and pictures, and two things that are done to a job.

        `tell` tells its watchers of a change that has been committed, `prompt_of` reads its prompt.
        """
        self._database = database
        self._ledger = ledger
        self._gallery = gallery
        self._queue = queue
        self._tell = tell
        self._now = now
        self._prompt_of = prompt_of

    async def finalize(self, job_id: UUID) -> JobState:
        """Closes one job and returns its state; one that isn't FINALIZING is left as it is.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE; the job stays FINALIZING, and doing it again is safe.
        """
        job = await queries.find_job(self._database, job_id)
        return await self.close(job) if job else JobState.FAILED

    async def close(self, job: Job) -> JobState:
        """Does what `finalize` does to a job that has just been read.

        Pictures and credits go side by side: neither needs the other, and the job ends when both are done.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE; the job stays FINALIZING, and doing it again is safe.
        """
        if job.state != JobState.FINALIZING:
            return JobState(job.state)
        used, _ = await asyncio.gather(self._close_hold(job), self._import_images(job))
        outcome = JobState(job.outcome or JobState.FAILED)
        try:
            await transitions.end(self._database, job, used, self._now())
        except transitions.ChangedError:
            return outcome  # another call has ended it
        await self._tell(job)
        _log.info("job.ended", job_id=str(job.job_id), outcome=outcome.name, used_millicredits=used)
        return outcome

    async def cancel(self, job_id: UUID) -> None:
        """Ends a waiting job at once, or asks the worker of a running one to stop; does nothing to one that is ending."""
        state = await transitions.decide(self._database, job_id, self._give_up)
        if state is JobState.QUEUED:
            await self._forget_in_queue(job_id)
            await self.finalize(job_id)
        elif state is JobState.RUNNING:
            await self._tell_worker(job_id)

    async def _give_up(self, job: Job) -> JobState:
        """Ends a waiting job, or notes that a running one is to be stopped; returns the state in which it was found."""
        state = JobState(job.state)
        if state is JobState.QUEUED:
            await transitions.close(self._database, job, transitions.Ending(JobState.CANCELLED), self._now())
        elif state is JobState.RUNNING:
            await transitions.request_cancel(self._database, job)
        return state

    async def _import_images(self, job: Job) -> None:
        if job.outcome != JobState.COMPLETED:
            return
        request = import_service_pb2.ImportImagesRequest(
            account_id=str(job.account_id),
            created_by=str(job.created_by),
            job_id=str(job.job_id),
            prompt=self._prompt_of(job),
            model_id=job.model_id,
            images=[_imported(image) for image in job.images],
        )
        await self._gallery.ImportImages(request)

    async def _close_hold(self, job: Job) -> int:
        try:
            return await self._settle(job)
        except ServiceError as error:
            if error.reason is not Reason.HOLD_CLOSED or error.metadata.get("state") != "released":
                raise
            # It lapsed, since closing the job was impossible for an hour past its deadline. The pictures are made, the
            # credits are back with their owner, and a job that never ends would help nobody.
            _log.error("job.hold_lapsed", job_id=str(job.job_id), lost_millicredits=job.gpu_milliseconds)
            return 0

    async def _settle(self, job: Job) -> int:
        key = {"hold_id": str(job.job_id), "account_id": str(job.account_id)}
        if job.gpu_milliseconds > 0:
            settle = ledger_service_pb2.SettleCreditsRequest(amount_millicredits=job.gpu_milliseconds, **key)
            return (await self._ledger.SettleCredits(settle)).settled_millicredits
        await self._ledger.ReleaseCredits(ledger_service_pb2.ReleaseCreditsRequest(**key))
        return 0

    async def _forget_in_queue(self, job_id: UUID) -> None:
        """Takes a job out of the queue. If Redis is away, a worker's claim of it is refused later: as harmless."""
        try:
            await self._queue.remove(job_id)
        except REDIS_ERRORS as error:
            _log.warning("queue.remove_lost", job_id=str(job_id), error=repr(error))

    async def _tell_worker(self, job_id: UUID) -> None:
        """Asks the worker to stop. If Redis is away, the sweep of cancelled jobs asks again."""
        try:
            await self._queue.request_cancel(job_id)
        except REDIS_ERRORS as error:
            _log.warning("queue.cancel_lost", job_id=str(job_id), error=repr(error))


def _imported(image: Mapping[str, Any]) -> import_service_pb2.ImportedImage:
    """Writes a picture of a row for the gallery, which doesn't keep what is said of its LoRAs."""
    kept = {name: value for name, value in image.items() if name != "partial_loras"}
    return import_service_pb2.ImportedImage(content_type=_PNG, **kept)
