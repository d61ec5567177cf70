"""Token buckets that all processes share through Redis, with buckets of the process's own for when it is away."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from svc_common.limits.redis_guard import RedisGuard

_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket fills, in tokens a second, and how many it holds."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bucket gave; without tokens, `wait` tells when it has one."""

    tokens: int
    wait: timedelta


class LocalBuckets:
    """Buckets of this process; those that nobody used for longest are forgotten first."""

    def __init__(self, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes a clock that never goes back."""
        self._monotonic_seconds = monotonic_seconds
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, rate: Rate, wanted: int) -> Grant:
        """Takes up to `wanted` tokens; the same rule as lua/take.lua."""
        now = self._monotonic_seconds()
        tokens, since = self._levels.get(key, (float(rate.burst), now))
        tokens = min(float(rate.burst), tokens + (now - since) * rate.per_second)
        taken = min(wanted, int(tokens))
        self._levels[key] = (tokens - taken, now)
        self._levels.move_to_end(key)
        if len(self._levels) > _KEPT:
            self._levels.popitem(last=False)
        wait = 0.0 if taken else (1.0 - tokens) / rate.per_second
        return Grant(taken, timedelta(seconds=wait))


class SharedBuckets:
    """Buckets in Redis. Keys name the limit and its owner, such as `account:{id}`; they may be seen by operators."""

    def __init__(self, guard: RedisGuard, *, local: LocalBuckets | None = None) -> None:
        """Takes the guarded Redis."""
        self._guard = guard
        self._take = guard.script("take")
        self._local = local or LocalBuckets()

    async def take(self, key: str, rate: Rate, wanted: int = 1) -> Grant:
        """Takes up to `wanted` tokens from a bucket that begins full."""
        grant = await self.take_shared(key, rate, wanted)
        return self._local.take(key, rate, wanted) if grant is None else grant

    async def take_shared(self, key: str, rate: Rate, wanted: int = 1) -> Grant | None:
        """Takes them as `take` does, or returns None while Redis is away, for a caller who then decides otherwise."""
        arguments = [rate.per_second, rate.burst, wanted]
        answer = await self._guard.ask(lambda: self._take(keys=[f"limit:{key}"], args=arguments))
        return None if answer is None else Grant(int(answer[0]), timedelta(milliseconds=int(answer[1])))
