"""Owns the worker's hold on one job: renews the lease in a task of its own and tells the handler what happens to it.

What a lost lease or a wanted cancellation means for the pipeline is the handler's business.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from redis.exceptions import RedisError

from svc_common.concurrency import end_tasks
from svc_common.queue import Claim, JobQueue, LeaseState

RENEWALS_PER_LEASE = 3
"""Two renewals may fail before the lease lapses."""

_log = structlog.get_logger(__name__)


class HandBack(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler whose job shall run again, here or elsewhere: the job goes back to the head of its line."""


class HandBackLater(HandBack):
    """Raised by a handler whose job shall run again after a while, here or elsewhere."""


class LeaseLostError(Exception):
    """Another worker holds the job, or it has ended: whatever is being done for it is in vain."""


class Lease:
    """What the handler of a job sees of its lease, and of the worker's end."""

    def __init__(self, claim: Claim, release_slot: Callable[[], None]) -> None:
        self.lost = asyncio.Event()
        """Set when another worker holds the job or it has ended: the handler aborts and reports nothing."""
        self.cancel_requested = asyncio.Event()
        """Set when the job shall be cancelled: the handler stops at the next step and reports what ran."""
        if claim.cancel_requested:
            self.cancel_requested.set()
        self.stopping = asyncio.Event()
        """Set when the worker is stopping: the handler ends by `grace_end_s`, or hands the job back before."""
        self.grace_end_s = math.inf
        """When a handler that has not ended is cancelled, by the clock of the event loop."""
        self._release_slot: Callable[[], None] | None = release_slot

    def release_slot(self) -> None:
        """Frees the GPU slot before the handler returns, so that the next job is claimed while this one is encoded.

        Calling it again does nothing; without a call the slot is freed when the handler returns.
        """
        if self._release_slot is not None:
            release, self._release_slot = self._release_slot, None
            release()

    def stop_by(self, grace_end_s: float) -> None:
        """Tells the handler that the worker is stopping, and how long it has."""
        self.grace_end_s = grace_end_s
        self.stopping.set()


@asynccontextmanager
async def renewing(queue: JobQueue, claim: Claim, lease: Lease, lease_ms: int) -> AsyncIterator[None]:
    """Keeps the claim's lease alive for as long as the context lasts, or until it is lost."""
    renewals = asyncio.create_task(_renew_until_lost(queue, claim, lease, lease_ms), name=f"renew {claim.job.job_id}")
    try:
        yield
    finally:
        await end_tasks(renewals)


async def _renew_until_lost(queue: JobQueue, claim: Claim, lease: Lease, lease_ms: int) -> None:
    """Renews three times a lease.

    While Redis can't be reached the job goes on: nobody else can claim it then either, and after the outage the first
    renewal tells who holds it. A worker that alone is cut off works in vain at worst, for its report will be refused.
    """
    pause_seconds = lease_ms / 1000 / RENEWALS_PER_LEASE
    while not lease.lost.is_set():
        await asyncio.sleep(pause_seconds)
        try:
            state = await queue.renew(claim, lease_ms)
        except (RedisError, OSError) as error:
            _log.warning("lease.renewal_failed", job_id=str(claim.job.job_id), error=repr(error))
            continue
        if state is LeaseState.LOST:
            _log.warning("lease.lost", job_id=str(claim.job.job_id), fence=claim.fence)
            lease.lost.set()
        elif state is LeaseState.CANCEL_REQUESTED:
            lease.cancel_requested.set()
