"""What may end an attempt from outside: a lost lease, the owner's cancellation, a worker that is stopping.

Owns the question whether a job still fits into what a stopping worker has left. A job that doesn't is handed back at once
and not at the end of the grace: its owner waits, and another worker may be free.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any, Final, TypeVar

from gpu_worker.attempt.failures import AttemptFailedError
from gpu_worker.claim.lease import Lease, LeaseLostError
from svc_common.concurrency import is_set_within

R = TypeVar("R")

_DELIVERY_SHARE: Final = 0.1
_LONGEST_DELIVERY_SECONDS: Final = 5.0
"""What is left of the grace for encoding and uploading; four pictures of 1024 x 1024 pixels take one on two cores."""


class Interruption(Enum):
    """Why an attempt shall end."""

    LOST = auto()
    CANCELLED = auto()
    STOPPING = auto()


class StoppingError(Exception):
    """The worker stops before the job could be done: it goes back, and the attempt isn't counted."""


class TimeLeft:
    """The latest estimate of when a render ends, in seconds of the event loop's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Starts without an estimate."""
        self._clock = clock
        self._end_s: float | None = None
        self._changed = asyncio.Event()

    def note(self, seconds_left: float) -> None:
        """Takes a new estimate, made just now."""
        self._end_s = self._clock() + seconds_left
        self._changed.set()

    async def exceeds_grace(self, lease: Lease) -> None:
        """Returns when the worker is stopping and the job doesn't fit into what is left, by the latest estimate.

        A render that has begun may do its first step, which makes the first estimate.
        """
        await lease.stopping.wait()
        grace_seconds = lease.grace_end_s - self._clock()
        latest_end_s = lease.grace_end_s - min(_DELIVERY_SHARE * grace_seconds, _LONGEST_DELIVERY_SECONDS)
        while (self._end_s is None or self._end_s <= latest_end_s) and self._clock() < latest_end_s:
            self._changed.clear()
            # When no step tells of the render any more, the time is up by the clock.
            await is_set_within(self._changed, latest_end_s - self._clock())


async def interruption(lease: Lease, stopping: Coroutine[Any, Any, object]) -> Interruption:
    """Waits for what ends an attempt; `stopping` returns when a stop of the worker does."""
    waits = {
        asyncio.create_task(lease.lost.wait()): Interruption.LOST,
        asyncio.create_task(lease.cancel_requested.wait()): Interruption.CANCELLED,
        asyncio.create_task(stopping): Interruption.STOPPING,
    }
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return next(why for wait, why in waits.items() if wait.done())
    finally:
        for wait in waits:
            wait.cancel()


async def unless_interrupted(work: Coroutine[Any, Any, R], lease: Lease) -> R:
    """Does what comes before a render, and gives it up as soon as it isn't wanted, or the worker is stopping.

    Raises:
        LeaseLostError: the lease was lost.
        AttemptFailedError: the job was cancelled.
        StoppingError: the worker is stopping.
    """
    working = asyncio.create_task(work)
    interrupting = asyncio.create_task(interruption(lease, lease.stopping.wait()))
    try:
        await asyncio.wait([working, interrupting], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise error_of(interrupting.result())
    finally:
        interrupting.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def error_of(why: Interruption) -> Exception:
    """Returns what is raised for an interruption."""
    match why:
        case Interruption.LOST:
            return LeaseLostError()
        case Interruption.CANCELLED:
            return AttemptFailedError(None)
        case Interruption.STOPPING:
            return StoppingError()
