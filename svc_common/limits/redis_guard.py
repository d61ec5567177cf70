"""Asks Redis for limits without ever waiting long for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from svc_common.redis_client import REDIS_ERRORS, connect

_log: Final = structlog.get_logger("limits")

_PATIENCE_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
"""For so long nobody asks a Redis that has failed, so that an outage costs one call a second its patience, not every call."""

T = TypeVar("T")


class RedisGuard:
    """A client of Redis that answers None instead of raising, and leaves a Redis that failed alone for a second."""

    def __init__(self, redis: Redis, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes a client that doesn't retry by itself."""
        self.redis = redis
        self._monotonic_seconds = monotonic_seconds
        self._away_until = 0.0

    @classmethod
    def connected_to(cls, url: str) -> "RedisGuard":
        """Returns a guard of the Redis at a URL; it connects when it is first asked."""
        return cls(connect(url, socket_timeout_seconds=_PATIENCE_SECONDS, retries=0))

    async def ask(self, command: Callable[[], Awaitable[T]]) -> T | None:
        """Returns what a command answers, or None while Redis is away. No command may answer None itself."""
        if self._monotonic_seconds() < self._away_until:
            return None
        try:
            # The client's own time-outs are for one try of one step; connecting and asking together must end in time.
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await command()
        except REDIS_ERRORS as error:
            self._away_until = self._monotonic_seconds() + _PAUSE_SECONDS
            _log.warning("limits.redis_away", error=repr(error))
            return None

    def script(self, name: str) -> AsyncScript:
        """Returns the script `lua/<name>.lua`, with the shared clock in front."""
        folder = files("svc_common.limits") / "lua"
        parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("clock", name)]
        return self.redis.register_script("".join(parts))

    async def close(self) -> None:
        """Closes the connections."""
        await self.redis.aclose()
