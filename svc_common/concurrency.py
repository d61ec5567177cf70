"""Ends asyncio tasks for certain, waits for events no longer than one likes, and lets what has one key take turns.

One cancellation may not end a task: on Python 3.11 `asyncio.wait_for` returns as if nothing were the matter when it is
cancelled just as that for which it waits is done (cpython issue 86296, mended in 3.12), and redis-py sends each command
with it. A task that talks to Redis in a loop would go on for ever, and who waits for its end as well.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final
from weakref import WeakValueDictionary

_AGAIN_SECONDS: Final = 0.2
"""Within it a task that has heard of its end has closed what it had open, so that a second cancellation cuts nothing short."""


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks until they have ended, however they end; what they raise is not raised here.

    For tasks that may be cut off at any point: one that takes longer to end than a fifth of a second is cancelled again in it.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, or asyncio would log it as forgotten


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Waits for an event, but no longer than so many seconds; tells whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def until_set(stop: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs work that has no end of its own until an event is set; raises what the work raises."""
    task = asyncio.create_task(work())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        await end_tasks(task, stopped)


class KeyedLocks:
    """A lock for each key that somebody uses at the moment, within one process."""

    def __init__(self) -> None:
        """Starts without keys."""
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Hashable) -> asyncio.Lock:
        """Returns the key's lock, which is there as long as somebody holds it or waits for it."""
        return self._locks.setdefault(key, asyncio.Lock())
