"""Runs calls that come at the same time as one transaction. Knows nothing of credits.

A commit waits for the disk; calls that arrive meanwhile wait anyway, so they go together into the next one. Nothing
waits for company: a call that finds nobody at work starts at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from svc_common.errors import ServiceError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    answer: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """Gathers items while a batch is in flight; `commit` gets 1 to `limit` items and returns their results in order.

    `commit` must be safe to repeat: when a batch fails, each of its items is tried again alone, so that one that can't
    be committed doesn't fail the others. A ServiceError fails the whole batch at once: it means that the database is
    away, for all of them.

    After a batch of several items the next one waits `linger_seconds` for company, as PostgreSQL's commit_delay does: the
    items come from concurrent callers then, and a fuller batch costs each of them less. A lone caller never waits.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        limit: int,
        linger_seconds: float = 0.0,
    ) -> None:
        self._commit = commit
        self._limit = limit
        self._linger_seconds = linger_seconds
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Returns the item's result after its commit. Whoever stops waiting can't know whether it was committed."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, answer))
        self._begin()
        return await answer

    async def submit_all(self, items: Sequence[Item]) -> list[Result | BaseException]:
        """Returns what `submit` would return or raise for each item; they go into as few batches as there's room for."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        self._waiting.extend(map(_Waiting, items, answers))
        self._begin()
        return await asyncio.gather(*answers, return_exceptions=True)

    def _begin(self) -> None:
        if self._worker is None:
            # An empty context: a batch serves many calls, so it takes neither the deadline nor the id of the first.
            self._worker = asyncio.create_task(self._work(), context=Context())

    async def _work(self) -> None:
        batch: list[_Waiting[Item, Result]] = []
        try:
            while batch := self._next_batch():
                await self._run(batch)
                if self._linger_seconds and len(batch) > 1:
                    await asyncio.sleep(self._linger_seconds)
        finally:
            # Reached with something left only when the task is cancelled, which is when the process stops.
            for abandoned in (*batch, *self._waiting):
                abandoned.answer.cancel()
            self._waiting.clear()
            self._worker = None

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        while self._waiting and len(batch) < self._limit:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # done: its caller gave up before anything was sent
                batch.append(waiting)
        return batch

    async def _run(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._commit([waiting.item for waiting in batch])
            answers = list(zip(batch, results, strict=True))
        except ServiceError as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits, not swallowed
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                for waiting in batch:
                    await self._run([waiting])
        else:
            for waiting, result in answers:
                if not waiting.answer.done():
                    waiting.answer.set_result(result)


def _fail(waiting: _Waiting[Item, Result], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
