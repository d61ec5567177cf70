"""The sweeps: what Redis has lost is put back, what a crash has interrupted is taken up, what is overdue is ended.

None of them is on the path of a healthy job. Each is safe to repeat, and safe beside the calls that it repairs.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from svc_common.clients import CallError
from svc_common.concurrency import is_set_within
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.object_keys import image_key
from svc_common.objects import ObjectStore
from svc_common.queue import JobQueue, QueuedJob
from svc_common.sweeps import Sweep
from svc_generation.domain.objects import OBJECT_NAMES
from svc_generation.domain.states import JobState
from svc_generation.store import queries, transitions
from svc_generation.store.models import Attempt
from svc_generation.usecases.cancelling import Canceller
from svc_generation.usecases.finalizing import Finalizer
from svc_generation.usecases.pausing import TierPauses
from svc_generation.usecases.uncertain_holds import UncertainHolds

_log = structlog.get_logger(__name__)

_PAGE = 500
_PAGES_A_ROUND = 4
_ENQUEUE_GRACE = timedelta(seconds=1)
"""A job younger than this may be between its commit and its enqueue."""
_FINALIZE_GRACE = timedelta(seconds=3)
"""A job that has been FINALIZING for less is being closed by the call that made it so."""
_CLOSED_AT_ONCE = 8
_FIRST_ID = UUID(int=0)
_SETTLE_SECONDS: Final = 2.0


class Sweeper:
    """Owns the sweeps of svc_generation and the little that they remember between rounds."""

    def __init__(
        self,
        *,
        database: Database,
        queue: JobQueue,
        objects: ObjectStore,
        finalizer: Finalizer,
        canceller: Canceller,
        holds: UncertainHolds,
        pauses: TierPauses,
        now: Callable[[], datetime],
        lease: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the tasks' database and the lease of the workers' claims."""
        self._database = database
        self._queue = queue
        self._objects = objects
        self._finalizer = finalizer
        self._canceller = canceller
        self._holds = holds
        self._pauses = pauses
        self._now = now
        self._lease = lease
        self._monotonic = monotonic
        self._looked_at = _FIRST_ID
        self._unleased_since: dict[tuple[UUID, int], float] = {}

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweeps with their intervals."""
        second = timedelta(seconds=1)
        return (
            Sweep("generation.enqueue_missing", second, self.enqueue_missing),
            Sweep("generation.offer_lost", second, self.offer_lost),
            Sweep("generation.finish_interrupted", 2 * second, self.finish_interrupted),
            Sweep("generation.expire_overdue", 30 * second, self.expire_overdue),
            Sweep("generation.delete_orphans", 2 * second, self.delete_orphans),
            Sweep("generation.release_forgotten_holds", 60 * second, self._holds.release_forgotten),
        )

    async def enqueue_missing(self) -> int:
        """Puts waiting jobs back that Redis doesn't know: the loss of a message, or of all of Redis.

        A round looks at 2,000 waiting jobs and the next one goes on behind them, so a long queue costs no more than a
        short one. Before it puts anything back, the queue is told which tiers are paused: it may have lost that as well.
        """
        await self._pauses.apply()
        count = 0
        for _ in range(_PAGES_A_ROUND):
            async with self._database.transaction() as session:
                page = await queries.list_waiting(session, self._looked_at, self._now() - _ENQUEUE_GRACE, _PAGE)
            self._looked_at = page[-1] if len(page) == _PAGE else _FIRST_ID
            missing = await self._queue.missing(page) if page else []
            if missing:
                async with self._database.transaction() as session:
                    jobs = await queries.get_waiting(session, missing)
                count += sum(await self._queue.enqueue_all([QueuedJob.of(job) for job in jobs]))
            if len(page) < _PAGE:
                break
        return count

    async def offer_lost(self) -> int:
        """Offers running jobs to the workers again whose lease Redis hasn't known for a whole lease time.

        A lease that lapses is noticed by the claims themselves, at once. This is for leases that vanished with Redis: a
        worker that lives renews its lease within a third of the lease time, so one that stays away is dead. It also asks
        again for the cancellation of a job whose worker may have missed it.
        """
        async with self._database.transaction() as session:
            running = await queries.list_running(session)
        known = await self._known([job.job_id for job in running])
        moment = self._monotonic()
        since = {
            (job.job_id, job.attempt): self._unleased_since.get((job.job_id, job.attempt), moment)
            for job in running
            if job.job_id not in known
        }
        self._unleased_since = since
        count = 0
        for job in running:
            if job.cancel_requested and job.job_id in known:
                await self._queue.request_cancel(job.job_id)
            unleased = since.get((job.job_id, job.attempt))
            if unleased is not None and moment - unleased >= self._lease.total_seconds():
                count += await self._queue.enqueue(QueuedJob.of(job))
                _log.warning("job.offered_again", job_id=str(job.job_id), attempt=job.attempt)
        return count

    async def finish_interrupted(self) -> int:
        """Closes the jobs whose closing was interrupted."""
        now = self._now()
        async with self._database.transaction() as session:
            stuck = await queries.list_stuck(session, now - _FINALIZE_GRACE, _PAGE)
        for job_id in stuck:
            await transitions.touch_finalizing(self._database, job_id, now)
        # Side by side, so that a few whose closing hangs until its deadline don't hold up the rest.
        places = asyncio.Semaphore(_CLOSED_AT_ONCE)

        async def is_finished(job_id: UUID) -> bool:
            async with places:
                return await self._finalizer.finalize_or_defer(job_id) is not JobState.FINALIZING

        return sum(await asyncio.gather(*map(is_finished, stuck)))

    async def expire_overdue(self) -> int:
        """Fails jobs that haven't ended by their deadline, before their hold lapses under them."""
        async with self._database.transaction() as session:
            overdue = await queries.list_overdue(session, self._now(), _PAGE)
        for job_id in overdue:
            await self._canceller.expire(job_id)
        return len(overdue)

    async def delete_orphans(self) -> int:
        """Deletes the objects of attempts that lost.

        At once, so that nothing is left behind; and again when the addresses that the attempt had no longer work, since a
        worker that was only paused could have uploaded in between.
        """
        async with self._database.transaction() as session:
            attempts = await queries.list_to_clean(session, self._now(), _PAGE)
        for attempt in attempts:
            await self._objects.delete(_keys(attempt))
            now = self._now()
            again = attempt.upload_expire_time if attempt.upload_expire_time > now else None
            async with self._database.transaction() as session:
                await queries.set_clean_time(session, attempt, again)
        return len(attempts)

    async def _known(self, job_ids: Sequence[UUID]) -> set[UUID]:
        missing = set(await self._queue.missing(job_ids)) if job_ids else set()
        return {job_id for job_id in job_ids if job_id not in missing}


def _keys(attempt: Attempt) -> list[str]:
    return [image_key(attempt.account_id, image_id, name) for image_id in attempt.image_ids for name in OBJECT_NAMES]


async def settle_noted_holds(holds: UncertainHolds, stop: asyncio.Event) -> None:
    """Settles what this process has noted of holds, every two seconds until it stops."""
    while not stop.is_set():
        await is_set_within(stop, _SETTLE_SECONDS)
        try:
            await holds.settle()
        except (ServiceError, CallError) as error:
            _log.warning("hold.settling_postponed", error=str(error))
