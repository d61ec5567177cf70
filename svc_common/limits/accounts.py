"""What an account may do at once, of the whole platform: calls by its tier's rate and burst, and open streams.

One figure bounds both: an account may have as many streams open as it may make calls at once (docs/adr/0032).
"""

import asyncio
from functools import partial
from typing import Self
from uuid import UUID

from svc_common.concurrency import until_set
from svc_common.entitlements import Entitlements, Fetch
from svc_common.limits.allowances import Allowances
from svc_common.limits.buckets import Rate
from svc_common.limits.calls import CallRates
from svc_common.limits.leases import SharedLeases
from svc_common.limits.redis_guard import RedisGuard
from svc_common.limits.streams import OpenStreams
from svc_common.redis_client import connect
from svc_common.settings import ServiceSettings


class AccountLimits:
    """The limits of one process, with the entitlements that they come from and what they need in the background."""

    def __init__(self, *, redis_url: str, factor: float, fetch: Fetch) -> None:
        """Takes where to count, what the tiers' figures are multiplied by (0: no limits), and whom to ask for them."""
        self.are_on = factor > 0
        self.entitlements = Entitlements(fetch)
        self.allowances = Allowances(self.entitlements)
        self._factor = factor
        self._guard = RedisGuard.connected_to(redis_url)
        self._listening_redis = connect(redis_url, socket_timeout_seconds=None, retries=0)
        self.calls = CallRates(SharedLeases(self._guard), self._rate)
        self.streams = OpenStreams(self._guard, self._most_streams)

    @classmethod
    def from_settings(cls, settings: ServiceSettings, fetch: Fetch) -> Self:
        """Returns the limits that the settings name."""
        return cls(redis_url=settings.redis_url, factor=settings.account_limit_factor, fetch=fetch)

    async def run(self, stop: asyncio.Event) -> None:
        """Does what limits need beside the calls, until the event is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(until_set(stop, partial(self.entitlements.hear_changes, self._listening_redis)))
            if self.are_on:
                group.create_task(self.calls.run(stop))
                group.create_task(self.streams.run(stop))

    async def close(self) -> None:
        """Closes the connections."""
        await self.streams.close()
        await self._guard.close()
        await self._listening_redis.aclose()

    async def _rate(self, account_id: UUID) -> Rate:
        calls = (await self.allowances.of(account_id)).calls
        return Rate(calls.per_second * self._factor, max(1, int(calls.burst * self._factor)))

    async def _most_streams(self, account_id: UUID) -> int:
        return (await self._rate(account_id)).burst
