"""Ends access tokens before they expire: whose tokens of which epochs are refused, known in every process.

A user's epoch is a number in svc_user's database that grows whenever all their tokens must end: at a suspension, at a change
of role, when they log out everywhere. Tokens name the epoch in which they were issued. svc_user notes each growth in Redis, and
every process reads once a second what was noted; a call costs a look-up in memory. Without Redis tokens live until they expire,
ten minutes at most, as if there were nothing here.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from uuid import UUID

import structlog
from redis.asyncio import Redis

from svc_common.concurrency import is_set_within
from svc_common.errors import Reason, ServiceError
from svc_common.redis_client import REDIS_ERRORS, connect
from svc_common.tokens import AccessClaims, token_expired

_log: Final = structlog.get_logger("revocations")

KEPT: Final = timedelta(minutes=15)
"""How long a growth is known: longer than any access token lives."""

_KEY: Final = "revoked-tokens"
_EXCHANGE_EVERY_SECONDS: Final = 0.5
# Written with the clock of Redis and read with it, so that what is noted while a process reads isn't missed.
_OVERLAP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Revocation:
    """Says that tokens of a user are refused if their epoch is below `least_epoch`."""

    user_id: UUID
    least_epoch: int
    is_suspended: bool

    def to_text(self) -> str:
        """Returns the form in Redis."""
        return f"{self.user_id.hex}:{self.least_epoch}:{int(self.is_suspended)}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Reads the form in Redis."""
        user_id, least_epoch, is_suspended = text.split(":")
        return cls(UUID(user_id), int(least_epoch), is_suspended == "1")


class Revocations:
    """What one process knows of revoked tokens."""

    def __init__(self, redis: Redis, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes a client that doesn't retry by itself, and a clock that never goes back."""
        self._redis = redis
        self._monotonic_seconds = monotonic_seconds
        self._known: dict[UUID, tuple[Revocation, float]] = {}
        self._unwritten: dict[UUID, Revocation] = {}
        self._read_up_to = 0.0
        self._is_away = False

    @classmethod
    def connected_to(cls, url: str) -> Self:
        """Returns what reads from the Redis at a URL; it connects when it first reads."""
        return cls(connect(url, decode_responses=True, retries=0))

    def check(self, claims: AccessClaims) -> None:
        """Raises ACCOUNT_SUSPENDED, or TOKEN_EXPIRED so that the client gets a new token, if the token was revoked."""
        known = self._known.get(claims.user_id)
        if known is None or claims.epoch >= known[0].least_epoch:
            return
        raise account_suspended() if known[0].is_suspended else token_expired()

    async def note(self, revocation: Revocation) -> None:
        """Lets every process know, this one at once, and the others when Redis is there. Never raises."""
        self._keep(revocation)
        self._unwritten[revocation.user_id] = revocation
        await self.exchange()

    async def run(self, stop: asyncio.Event) -> None:
        """Writes and reads until the event is set."""
        while not stop.is_set():
            await self.exchange()
            await is_set_within(stop, _EXCHANGE_EVERY_SECONDS)

    async def exchange(self) -> None:
        """Writes what isn't written yet, reads what was noted since the last time, and forgets what no living token meets."""
        try:
            await self._write()
            await self._read()
            self._is_away = False
        except REDIS_ERRORS as error:
            if not self._is_away:
                _log.warning("revocations.redis_away", error=repr(error))
            self._is_away = True
            # It may come back without its data, or with an earlier clock.
            self._read_up_to = 0.0
        now = self._monotonic_seconds()
        for user_id in [user_id for user_id, (_, ends) in self._known.items() if ends <= now]:
            del self._known[user_id]

    async def _write(self) -> None:
        if not self._unwritten:
            return
        written = list(self._unwritten.values())
        seconds, _ = await self._redis.time()
        await self._redis.zadd(_KEY, {each.to_text(): seconds for each in written})
        await self._redis.zremrangebyscore(_KEY, "-inf", seconds - KEPT.total_seconds())
        for each in written:
            if self._unwritten.get(each.user_id) is each:
                del self._unwritten[each.user_id]

    async def _read(self) -> None:
        since = self._read_up_to - _OVERLAP_SECONDS
        for text, seconds in await self._redis.zrangebyscore(_KEY, since, "+inf", withscores=True):
            self._keep(Revocation.from_text(text))
            self._read_up_to = max(self._read_up_to, seconds)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    def _keep(self, revocation: Revocation) -> None:
        known = self._known.get(revocation.user_id)
        if known is None or known[0].least_epoch < revocation.least_epoch:
            self._known[revocation.user_id] = (revocation, self._monotonic_seconds() + KEPT.total_seconds())


def account_suspended() -> ServiceError:
    """Returns the refusal of whatever a suspended account asks for."""
    return ServiceError(
        Reason.ACCOUNT_SUSPENDED, "An administrator suspended this account. Ask the support of this deployment."
    )
