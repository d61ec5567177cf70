"""Ends jobs ahead of time: cancelled by their owner, or past their deadline.

A job that waits is over at once; one that runs is over when its worker has stopped.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from svc_common.db import Database
from svc_common.errors import Reason
from svc_generation.domain.states import CANCELLABLE, Cancellation, JobState
from svc_generation.store import transitions
from svc_generation.store.models import Job
from svc_generation.usecases.finalizing import Finalizer
from svc_generation.usecases.offering import Offering

MOST_CLEARED: Final = 100
"""As many jobs as the contract lets one call reach."""

_SECONDS: Final = 5.0
"""Half of what a call has that sets no deadline: an answer with exact counts must still reach the caller."""
_LANES: Final = 4
"""Changes of one account's jobs follow one another in the database; beside them the ledger and Redis are waited for. More
lanes would take the database's connections from the workers' reports."""


class Canceller:
    """Cancels and expires jobs."""

    def __init__(
        self, *, database: Database, finalizer: Finalizer, offering: Offering, now: Callable[[], datetime]
    ) -> None:
        """Takes the parts; the database is that of tasks."""
        self._database = database
        self._finalizer = finalizer
        self._offering = offering
        self._now = now

    async def cancel(self, job_id: UUID, among: Collection[JobState] = CANCELLABLE) -> Cancellation:
        """Ends a waiting job at once, or asks the worker of a running one to stop, and returns which of the two it was.

        Does nothing to a job that is in none of the states `among`, whatever it was when the caller read it.
        """
        done = await transitions.decide(self._database, job_id, partial(self._cancel, among=among))
        if done is Cancellation.ENDED:
            await self._offering.withdraw(job_id)
            await self._finalizer.finalize(job_id)
        elif done in (Cancellation.ASKED, Cancellation.REPEATED):
            await self._offering.stop(job_id)
        return done or Cancellation.NOTHING

    async def expire(self, job_id: UUID) -> bool:
        """Fails a job that hasn't ended by its deadline; returns whether it hadn't."""
        if not await transitions.decide(self._database, job_id, self._expire):
            return False
        await self._offering.withdraw(job_id)
        await self._offering.stop(job_id)  # the report of a worker that still runs it would be refused
        await self._finalizer.finalize_or_defer(job_id)
        return True

    async def _cancel(self, job: Job, *, among: Collection[JobState]) -> Cancellation:
        """Ends a waiting job, or notes that a running one is to be stopped."""
        if job.state not in among:
            return Cancellation.NOTHING
        if job.state == JobState.QUEUED:
            await transitions.close(self._database, job, transitions.Ending(JobState.CANCELLED), self._now())
            return Cancellation.ENDED
        if job.cancel_requested:
            return Cancellation.REPEATED
        await transitions.request_cancel(self._database, job)
        return Cancellation.ASKED

    async def _expire(self, job: Job) -> bool:
        """Puts a job on the way to its end, unless it is there; returns whether it was put there."""
        if job.state >= JobState.FINALIZING:
            return False
        message = "No worker could take the job before its deadline. Try again later."
        ending = transitions.Ending(JobState.FAILED, 0, Reason.JOB_EXPIRED, message)
        await transitions.close(self._database, job, ending, self._now())
        return True


async def cancel_each(
    job_ids: Sequence[UUID], cancel: Callable[[UUID], Awaitable[Cancellation]], *, seconds: float = _SECONDS
) -> Counter[Cancellation]:
    """Cancels jobs in their order and counts what that has done; those that no time was left for are not counted.

    Raises:
        Exception: the first failure of `cancel`. None is begun behind it, and those that were begun are finished.
    """
    done: Counter[Cancellation] = Counter()
    waiting = deque(job_ids)
    clock = asyncio.get_running_loop().time
    end = clock() + seconds

    async def lane() -> None:
        while waiting and clock() < end:
            try:
                done[await cancel(waiting.popleft())] += 1
            except Exception:
                waiting.clear()
                raise

    for outcome in await asyncio.gather(*(lane() for _ in range(_LANES)), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    return done
