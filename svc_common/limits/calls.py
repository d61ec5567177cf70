"""The rate at which accounts may call, held by all processes together and without asking anybody at most calls.

A process leases a slice of an account's bucket (`leases`) and lets calls through while it lasts. A slice begins with one
token and doubles while calls use it up, so that a process that is called rarely withholds nothing from the others.
"""

import asyncio
import contextvars
import itertools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from svc_common.concurrency import is_set_within
from svc_common.errors import Reason, ServiceError
from svc_common.limits.buckets import Rate
from svc_common.limits.leases import LEASE_LIFETIME, SharedLeases

SLICE_SECONDS: Final = LEASE_LIFETIME.total_seconds() / 3
"""How long a slice is used; what is left then goes back while the lease still holds."""
_LARGEST_SHARE: Final = 4
"""A slice is at most a quarter of a burst, and half of what comes in while it is used."""
_LEAST_PAUSE_SECONDS: Final = 0.02
"""How long an empty bucket is left alone at least: at 500 calls a second a slice should be worth its question."""
_RETURNED_AT_ONCE: Final = 32
_NOT_ASKED_YET: Final = Rate(1, 1)


@dataclass(slots=True)
class _Slice:
    """Tokens of one account in this process. `work` is the question to the bucket that is on its way."""

    rate: Rate = _NOT_ASKED_YET
    tokens: int = 0
    size: int = 0
    ends: float = 0.0
    empty_until: float = 0.0
    work: asyncio.Task[None] | None = None


class CallRates:
    """Admits calls of accounts, or refuses them with RATE_LIMITED and the time to wait."""

    def __init__(
        self,
        leases: SharedLeases,
        rate_of: Callable[[UUID], Awaitable[Rate]],
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the buckets, what tells an account's rate and doesn't raise, and a clock that never goes back."""
        self._leases = leases
        self._rate_of = rate_of
        self._monotonic_seconds = monotonic_seconds
        self._slices: OrderedDict[UUID, _Slice] = OrderedDict()
        """Those that end first come first."""

    def admit(self, account_id: UUID) -> Awaitable[None] | None:
        """Admits a call at once, or returns what must be awaited first because the bucket has to be asked.

        Raises:
            ServiceError: RATE_LIMITED, also when awaited.
        """
        held = self._slices.get(account_id)
        if held is not None and self._takes(held):
            return None
        return self._ask_and_take(account_id)

    async def run(self, stop: asyncio.Event) -> None:
        """Gives back what is left of slices that have ended, and at the end of all."""
        while not await is_set_within(stop, SLICE_SECONDS / 2):
            await self._give_back(self._monotonic_seconds())
        await self._give_back(float("inf"))

    def _takes(self, held: _Slice) -> bool:
        """Takes a token of a slice if it has one; raises RATE_LIMITED while the bucket is known to be empty."""
        now = self._monotonic_seconds()
        if held.tokens and now < held.ends:
            held.tokens -= 1
            return True
        if now < held.empty_until:
            raise _rate_limited(held.rate, timedelta(seconds=held.empty_until - now))
        return False

    async def _ask_and_take(self, account_id: UUID) -> None:
        held = self._slices.setdefault(account_id, _Slice())
        while not self._takes(held):
            # Calls that come meanwhile wait for the same answer. One that is cancelled doesn't take it from the others.
            held.work = held.work or _detached(self._renew(account_id, held))
            await asyncio.shield(held.work)
            held = self._slices.setdefault(account_id, held)

    async def _renew(self, account_id: UUID, held: _Slice) -> None:
        """Leases the next slice."""
        try:
            held.rate = await self._rate_of(account_id)
            # From here to the answer nobody takes tokens: those that are left have ended.
            asked = self._monotonic_seconds()
            used_up = not held.tokens and asked < held.ends
            held.size = min(2 * held.size, _largest_slice(held.rate)) if used_up else 1
            returned, held.tokens = held.tokens, 0
            grant = await self._leases.lease(_key(account_id), held.rate, returned=returned, wanted=held.size)
            held.tokens, held.ends = grant.tokens, asked + SLICE_SECONDS
            pause = max(grant.wait.total_seconds(), _LEAST_PAUSE_SECONDS)
            held.empty_until = self._monotonic_seconds() + pause if grant.wait else 0.0
            self._slices.move_to_end(account_id)
        finally:
            held.work = None

    async def _give_back(self, before: float) -> None:
        ended = list(itertools.takewhile(lambda each: each[1].ends <= before, self._slices.items()))
        for batch in (ended[at : at + _RETURNED_AT_ONCE] for at in range(0, len(ended), _RETURNED_AT_ONCE)):
            for account_id, held in batch:
                held.work = held.work or _detached(self._end(account_id, held))
            await asyncio.wait({held.work for _, held in batch if held.work})

    async def _end(self, account_id: UUID, held: _Slice) -> None:
        try:
            returned, held.tokens = held.tokens, 0
            if returned:
                await self._leases.lease(_key(account_id), held.rate, returned=returned, wanted=0)
            self._slices.pop(account_id, None)
        finally:
            held.work = None


def _detached(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Starts work that belongs to no call, so that it has neither the deadline nor the request id of one."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


def _largest_slice(rate: Rate) -> int:
    return max(1, min(int(rate.per_second * SLICE_SECONDS / 2), rate.burst // _LARGEST_SHARE))


def _key(account_id: UUID) -> str:
    return f"calls:{account_id}"


def _rate_limited(rate: Rate, wait: timedelta) -> ServiceError:
    return ServiceError(
        Reason.RATE_LIMITED,
        f"Your account's tier allows {rate.per_second:g} calls a second and {rate.burst} at once. Wait for the delay in "
        "RetryInfo, then call again; spread calls, or upgrade.",
        metadata={"scope": "account", "per_second": f"{rate.per_second:g}", "burst": str(rate.burst)},
        retry_after=wait,
    )
