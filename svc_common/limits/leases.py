"""Token buckets of which each process leases a few tokens at a time, so that most calls ask nobody.

Redis keeps the buckets; while it is away, the process has buckets of its own. What a holder hasn't used it gives back, and
what a holder that died had leased lapses.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from svc_common.limits.buckets import Grant, Rate
from svc_common.limits.redis_guard import RedisGuard

LEASE_LIFETIME: Final = timedelta(seconds=3)
"""When a lease lapses of which nothing was heard again. Its holder must use or return its tokens well before."""

_KEPT: Final = 20_000
_HOLDER_BYTES: Final = 8


@dataclass(slots=True)
class _Bucket:
    """A bucket with one holder: what is in it, what is on lease, and the moments when either was true."""

    tokens: float
    since: float
    leased: int = 0
    lapses: float = 0.0


class LocalLeases:
    """Buckets of this process, their only holder; those that nobody used for longest are forgotten first."""

    def __init__(self, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes a clock that never goes back."""
        self._monotonic_seconds = monotonic_seconds
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def lease(self, key: str, rate: Rate, *, returned: int, wanted: int) -> Grant:
        """Takes back what is left of the lease and leases anew; the same rule as lua/lease.lua."""
        now = self._monotonic_seconds()
        bucket = self._buckets.setdefault(key, _Bucket(float(rate.burst), now))
        leased = bucket.leased if bucket.lapses > now else 0
        tokens = min(rate.burst - leased, bucket.tokens + (now - bucket.since) * rate.per_second)
        tokens += min(returned, leased)
        taken = max(0, min(wanted, int(tokens)))
        bucket.tokens, bucket.since = tokens - taken, now
        bucket.leased, bucket.lapses = taken, now + LEASE_LIFETIME.total_seconds()
        self._buckets.move_to_end(key)
        if len(self._buckets) > _KEPT:
            self._buckets.popitem(last=False)
        return Grant(taken, timedelta(seconds=max(0.0, (1.0 - bucket.tokens) / rate.per_second)))


class SharedLeases:
    """Buckets in Redis, of which this process is one holder. Keys name the limit and its owner, such as `calls:{id}`."""

    def __init__(self, guard: RedisGuard, *, local: LocalLeases | None = None) -> None:
        """Takes the guarded Redis."""
        self._guard = guard
        self._lease = guard.script("lease")
        self._local = local or LocalLeases()
        self._holder = secrets.token_hex(_HOLDER_BYTES)

    async def lease(self, key: str, rate: Rate, *, returned: int, wanted: int) -> Grant:
        """Gives back `returned` tokens of the present lease, whose others were used, and leases up to `wanted` anew.

        The grant's `wait` says when the bucket has another token after that: zero when it has one now.
        """
        lifetime = int(LEASE_LIFETIME.total_seconds() * 1000)
        arguments: list[str | int | float] = [rate.per_second, rate.burst, self._holder, returned, wanted, lifetime]
        answer = await self._guard.ask(lambda: self._lease(keys=[f"limit:{key}"], args=arguments))
        if answer is None:
            return self._local.lease(key, rate, returned=returned, wanted=wanted)
        return Grant(int(answer[0]), timedelta(milliseconds=int(answer[1])))
