"""What a client shows to be let in: a key that stays, or a session that renews itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, TypeAlias

from pingvas.user.v1.auth_service_pb2 import TokenPair

# Exchanges a refresh token for a new pair.
Refresh: TypeAlias = Callable[[str], Awaitable[TokenPair]]
# A token is replaced while it still has this much life, so that it doesn't end on its way.
RENEWAL_SECONDS: Final = 30.0


class Credentials(Protocol):
    """Where the token of a call comes from."""

    async def token(self, refresh: Refresh) -> str:
        """Returns a token to send; a session that is about to expire is renewed first."""

    async def renew(self, refused: str, refresh: Refresh) -> bool:
        """Replaces a token that was refused; returns whether there is another one to try."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, or an access token that somebody else renews."""

    secret: str = field(repr=False)

    async def token(self, refresh: Refresh) -> str:  # noqa: ARG002 - a key isn't renewed
        """Returns the key."""
        return self.secret

    async def renew(self, refused: str, refresh: Refresh) -> bool:  # noqa: ARG002 - a key isn't renewed
        """Returns that there is no other."""
        return False


class Session:
    """A log-in, in memory. The refresh token works once, so calls at the same time share one renewal."""

    def __init__(self, pair: TokenPair) -> None:
        """Takes the answer of the log-in."""
        self._lock = asyncio.Lock()
        self._take(pair)

    @classmethod
    async def begin(cls, log_in: Awaitable[TokenPair]) -> Self:
        """Waits for a log-in and returns its session."""
        return cls(await log_in)

    async def token(self, refresh: Refresh) -> str:
        """Returns the access token, a new one when the present one is about to expire."""
        if time.monotonic() >= self._expires - RENEWAL_SECONDS:
            await self.renew(self._pair.access_token, refresh)
        return self._pair.access_token

    async def renew(self, refused: str, refresh: Refresh) -> bool:
        """Exchanges the refresh token, unless another call has just done so."""
        async with self._lock:
            if self._pair.access_token == refused:
                self._take(await refresh(self._pair.refresh_token))
        return True

    def _take(self, pair: TokenPair) -> None:
        self._pair = pair
        self._expires = time.monotonic() + pair.expires_in
