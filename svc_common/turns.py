"""Work on large pictures, one after the other in a thread of its own, so that the event loop goes on and memory is bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

_AT_ONCE: Final = 1
"""A picture of 40 megapixels takes some 500 MB while it is decoded. Most take a few milliseconds."""

Result = TypeVar("Result")


class Turn:
    """The right to use the thread."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Takes the pool of one thread."""
        self._pool = pool

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Runs a function in the thread and returns what it returns."""
        # With one thread, work that outlives its time is waited for by the next turn.
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


class Turns:
    """Gives callers their turns, each within the same time."""

    def __init__(self, name: str, seconds: float) -> None:
        """Takes the name of the thread, and how long a caller may wait and work altogether."""
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def next(self) -> AsyncIterator[Turn]:
        """Waits for a turn. What is read within it is the only thing in memory. Raises TimeoutError when time is up."""
        async with asyncio.timeout(self._seconds), self._slots:
            yield Turn(self._pool)
