"""Offers jobs to the workers and takes them back, after the commit that decided it.

What is lost while Redis is away is harmless: a sweep offers every job that waits, and a worker's claim of a job that has
ended is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog

from svc_common.queue import Claim, JobQueue, QueuedJob
from svc_common.redis_client import REDIS_ERRORS
from svc_generation.store.acceptance import NewJob
from svc_generation.store.models import Job

_log = structlog.get_logger(__name__)


class Offering:
    """The queue, as those use it who have a change of state behind them; never raises while Redis is away."""

    def __init__(self, queue: JobQueue) -> None:
        """Takes the queue."""
        self._queue = queue

    async def offer(self, jobs: Sequence[Job | NewJob]) -> None:
        """Puts jobs into the queue. One that was claimed before keeps its lease, which ends by itself."""
        with _harmless("queue.enqueue_lost", jobs=len(jobs)):
            await self._queue.enqueue_all([QueuedJob.of(job) for job in jobs])

    async def take_back(self, job: Job, claim_id: str) -> None:
        """Ends the lease of a claim and puts its job at the head of its account's line; one of a newer claim stays."""
        worker_id, _, fence = claim_id.rpartition(":")
        queued = QueuedJob.of(job)
        with _harmless("queue.take_back_lost", job_id=str(job.job_id)):
            if not fence.isdecimal() or not await self._queue.hand_back(Claim(queued, worker_id, int(fence))):
                await self._queue.enqueue(queued)

    async def withdraw(self, job_id: UUID) -> None:
        """Takes a job out of the queue."""
        with _harmless("queue.remove_lost", job_id=str(job_id)):
            await self._queue.remove(job_id)

    async def stop(self, job_id: UUID) -> None:
        """Asks the worker that has claimed a job to stop."""
        with _harmless("queue.cancel_lost", job_id=str(job_id)):
            await self._queue.request_cancel(job_id)


@contextmanager
def _harmless(event: str, **facts: object) -> Iterator[None]:
    try:
        yield
    except REDIS_ERRORS as error:
        _log.warning(event, error=repr(error), **facts)
