"""Small documents in Redis that are kept for a short time under a secret and taken at most once.

Unlike the limits, nothing here goes on without Redis: whether a secret was used before is known there only.
"""

import hashlib
import json
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis

_PREFIX: Final = "ticket:"


class Tickets:
    """Documents of one purpose."""

    def __init__(self, redis: Redis, purpose: str) -> None:
        """Takes a client; a `take` that it repeats because the reply was lost finds nothing, and so stays at most once."""
        self._redis = redis
        self._purpose = purpose

    async def put(self, secret: str, document: dict[str, Any], lifetime: timedelta) -> None:
        """Keeps a document for a time. Raises redis' errors while Redis is away."""
        await self._redis.set(self._key(secret), json.dumps(document), px=int(lifetime.total_seconds() * 1000))

    async def take(self, secret: str) -> dict[str, Any] | None:
        """Returns and forgets the document, or None when it isn't there, any more or at all."""
        kept = await self._redis.getdel(self._key(secret))
        return None if kept is None else json.loads(kept)

    def _key(self, secret: str) -> str:
        # Whoever reads Redis must not find what opens an account.
        return f"{_PREFIX}{self._purpose}:{hashlib.sha256(secret.encode()).hexdigest()}"
