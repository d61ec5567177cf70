"""Backoff after failed attempts, counted in Redis for all processes, or in this one while Redis is away.

Which budgets an attempt is charged to, and how long each makes its owner wait, is the caller's policy. An attempt is
charged before it is made and refunded when it was no failure, so that parallel ones can't pass the same check.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from svc_common.limits.redis_guard import RedisGuard

_KEPT: Final = 20_000
_PREFIX: Final = "attempts:"

_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Budget:
    """Failures of one owner: `delays` are the waits after the first, second, ... one; the last repeats."""

    key: str
    delays: Sequence[timedelta]
    memory: timedelta
    """How long after the last attempt the failures are remembered; longer than any delay."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who makes an attempt: a known origin is charged to `own` alone, any other to all of `shared`."""

    marker: str
    """The key under which a successful attempt makes the origin known."""
    own: Budget
    shared: Sequence[Budget]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as it was judged: refused for `wait` if that isn't zero, else charged to `charged`."""

    origin: Origin
    wait: timedelta
    charged: Sequence[Budget]


class LocalAttempts:
    """Counts in this process; by the same rules as the scripts in lua/."""

    def __init__(self, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes a clock that never goes back."""
        self._monotonic_seconds = monotonic_seconds
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()
        """For each key: failures, when the next attempt may begin, and when all is forgotten."""
        self._known: OrderedDict[str, float] = OrderedDict()
        self._alone: OrderedDict[str, float] = OrderedDict()
        """The keys of charges that Redis doesn't know, and when they are forgotten."""

    def begin(self, origin: Origin) -> Attempt:
        """Judges an attempt and charges it."""
        now = self._monotonic_seconds()
        is_known = self._known.get(origin.marker, 0.0) > now
        budgets = (origin.own,) if is_known else tuple(origin.shared)
        wait = max(self._read(budget.key, now)[1] - now for budget in budgets)
        if wait > 0:
            return Attempt(origin, timedelta(seconds=wait), ())
        self.charge(budgets)
        for budget in budgets:
            _put(self._alone, budget.key, now + budget.memory.total_seconds())
        return Attempt(origin, timedelta(0), budgets)

    def wait_of_own(self, budgets: Iterable[Budget]) -> timedelta:
        """Returns how long those of the budgets make their owner wait that were charged here and not in Redis."""
        now = self._monotonic_seconds()
        own = (budget.key for budget in budgets if self._alone.get(budget.key, 0.0) > now)
        return timedelta(seconds=max((self._read(key, now)[1] - now for key in own), default=0.0))

    def charge(self, budgets: Iterable[Budget]) -> None:
        """Counts a failure of each budget."""
        now = self._monotonic_seconds()
        for budget in budgets:
            failures = self._read(budget.key, now)[0] + 1
            delay = budget.delays[min(failures, len(budget.delays)) - 1]
            entry = failures, now + delay.total_seconds(), now + budget.memory.total_seconds()
            _put(self._failures, budget.key, entry)

    def refund(self, budgets: Iterable[Budget]) -> None:
        """Takes charges back."""
        for budget in budgets:
            failures, opens, forgotten = self._read(budget.key, self._monotonic_seconds())
            if failures:
                self._failures[budget.key] = failures - 1, opens, forgotten

    def clear(self, keys: Iterable[str]) -> None:
        """Forgets failures."""
        for key in keys:
            self._failures.pop(key, None)

    def remember(self, marker: str, memory: timedelta) -> None:
        """Makes an origin known."""
        _put(self._known, marker, self._monotonic_seconds() + memory.total_seconds())

    def _read(self, key: str, now: float) -> tuple[int, float, float]:
        entry = self._failures.get(key, (0, 0.0, 0.0))
        return entry if entry[2] > now else (0, 0.0, 0.0)


class SharedAttempts:
    """Counts in Redis."""

    def __init__(self, guard: RedisGuard, *, local: LocalAttempts | None = None) -> None:
        """Takes the guarded Redis."""
        self._guard = guard
        self._begin = guard.script("attempt")
        self._refund = guard.script("refund")
        self._local = local or LocalAttempts()

    async def begin(self, origin: Origin) -> Attempt:
        """Judges an attempt and charges it; call `succeeded` or `void` when it turns out to be no failure."""
        budgets = (origin.own, *origin.shared)
        keys = [_PREFIX + key for key in (origin.marker, *(budget.key for budget in budgets))]
        arguments = [argument for budget in budgets for argument in (_delays(budget), _milliseconds(budget.memory))]
        answer = await self._guard.ask(lambda: self._begin(keys=keys, args=arguments))
        if answer is None:
            return self._local.begin(origin)
        wait, is_known = int(answer[0]), bool(answer[1])
        charged = () if wait else (origin.own,) if is_known else tuple(origin.shared)
        if (wait_of_own := self._local.wait_of_own(charged)) > timedelta(0):
            # What was let pass here while Redis wasn't heard counts as well, or each of the two would give a budget.
            await self._guard.ask(lambda: self._refund(keys=[_PREFIX + budget.key for budget in charged]))
            return Attempt(origin, wait_of_own, ())
        # Kept here as well, so that nobody begins anew when Redis goes away, or when this process is too busy to hear it.
        self._local.charge(charged)
        return Attempt(origin, timedelta(milliseconds=wait), charged)

    async def succeeded(self, attempt: Attempt, *, cleared: Sequence[Budget], memory: timedelta) -> None:
        """Refunds an attempt, forgets the failures of its own origin (`cleared`), and knows that origin from now on."""
        origin = attempt.origin
        self._local.refund(attempt.charged)
        self._local.clear(budget.key for budget in cleared)
        # Kept here as well, so that people who were here before are known while Redis is away.
        self._local.remember(origin.marker, memory)

        async def settle() -> bool:
            async with self._guard.redis.pipeline(transaction=False) as pipeline:
                await self._refund(keys=[_PREFIX + budget.key for budget in attempt.charged], client=pipeline)
                pipeline.delete(*(_PREFIX + budget.key for budget in cleared))
                pipeline.set(_PREFIX + origin.marker, "1", px=_milliseconds(memory))
                await pipeline.execute()
            return True

        await self._guard.ask(settle)

    async def know(self, marker: str, memory: timedelta) -> None:
        """Makes an origin known without an attempt."""
        self._local.remember(marker, memory)
        await self._guard.ask(lambda: self._guard.redis.set(_PREFIX + marker, "1", px=_milliseconds(memory)))

    async def void(self, attempt: Attempt) -> None:
        """Refunds an attempt that told its maker nothing."""
        self._local.refund(attempt.charged)
        keys = [_PREFIX + budget.key for budget in attempt.charged]
        await self._guard.ask(lambda: self._refund(keys=keys))


def _put(entries: OrderedDict[str, _V], key: str, value: _V) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > _KEPT:
        entries.popitem(last=False)


def _delays(budget: Budget) -> str:
    return ",".join(str(_milliseconds(delay)) for delay in budget.delays)


def _milliseconds(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
