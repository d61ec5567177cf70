"""Pauses tiers and lets them go on. PostgreSQL has which are paused, and Redis is told again and again."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.queue import JobQueue
from svc_common.redis_client import REDIS_ERRORS
from svc_common.tiers import tier_name
from svc_generation.domain.pauses import Pauses
from svc_generation.store import pauses

_FRESH_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class TierPauses:
    """The pauses as this process knows them; any number of callers share one look a second."""

    def __init__(
        self,
        *,
        database: Database,
        queue: JobQueue,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the tasks' database and the queue."""
        self._database = database
        self._queue = queue
        self._now = now
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._known = Pauses({})
        self._read_at: float | None = None

    async def known(self) -> Pauses:
        """Returns the pauses as they were a second ago at most, or, while the database is away, when it was last there."""
        async with self._lock:
            moment = self._monotonic()
            if self._read_at is None or moment - self._read_at >= _FRESH_SECONDS:
                try:
                    self._known = await pauses.read(self._database)
                    self._read_at = moment
                except ServiceError as error:
                    _log.warning("tier.pauses_unknown", error=str(error))
            return self._known

    async def pause(self, tier: int, *, reason: str, by: UUID) -> bool:
        """Pauses a tier; returns False for one that was paused, whose reason is replaced."""
        async with self._database.transaction() as session:
            is_changed = await pauses.pause(session, tier, reason=reason, by=by, now=self._now())
        await self._apply_soon()
        return is_changed

    async def resume(self, tier: int) -> bool:
        """Lets a tier go on; returns False for one that wasn't paused."""
        async with self._database.transaction() as session:
            is_changed = await pauses.resume(session, tier, self._now())
        await self._apply_soon()
        return is_changed

    async def apply(self) -> None:
        """Tells the queue which tiers are paused; raises ServiceError or a Redis error."""
        async with self._lock:
            self._known = await pauses.read(self._database)
            self._read_at = self._monotonic()
            paused = self._known.paused_tiers()
        await self._queue.pause_only([tier_name(tier) for tier in sorted(paused)])

    async def _apply_soon(self) -> None:
        # What was decided stays decided: a sweep tells the queue when it is there again.
        try:
            await self.apply()
        except (ServiceError, *REDIS_ERRORS) as error:
            _log.warning("tier.pauses_not_applied", error=repr(error))
