"""How many workers there shall be now: measures the queue and those who work, and asks the rule of `domain.scaling`.

What is measured is kept by the process: a replica that takes over begins with what is usual.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pingvas.common.v1.tier_pb2 import Tier
from prometheus_client import Gauge

from svc_common.db import Database
from svc_common.queue import WorkerPresence
from svc_generation.domain.scaling import Demand, StartTimes, loads_of, workers_needed
from svc_generation.store import pauses, queries

TARGET_SECONDS: Final[Mapping[int, float]] = {
    Tier.TIER_ENTERPRISE: 15.0,
    Tier.TIER_STUDIO: 30.0,
    Tier.TIER_PRO: 60.0,
    Tier.TIER_STARTER: 120.0,
    Tier.TIER_FREE: 300.0,
}
"""How long the last waiting job of a tier may wait; far below what the queue's own guard against starvation allows."""

_ARRIVALS: Final = timedelta(minutes=5)
_FRESH_SECONDS: Final = 1.0

_WANTED: Final = Gauge("workers_wanted", "Workers that the autoscaler was told to have.")
_START_SECONDS: Final = Gauge("worker_start_seconds", "Measured time from asking for a worker to its first work.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many workers there shall be, and whether any."""

    workers: int
    is_active: bool


class WorkerDemand:
    """Measures the queue and turns it into a number of workers. Any number of callers share one measurement a second."""

    def __init__(
        self,
        *,
        database: Database,
        presence: WorkerPresence,
        now: Callable[[], datetime],
        idle_seconds: float,
        start_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the tasks' database; `start_seconds` is assumed until starts were measured."""
        self._database = database
        self._presence = presence
        self._now = now
        self._monotonic = monotonic
        self._demand = Demand(idle_seconds)
        self._starts = StartTimes(start_seconds)
        self._lock = asyncio.Lock()
        self._measured: tuple[float, Wanted] | None = None

    async def wanted(self) -> Wanted:
        """Returns how many workers there shall be; raises ServiceError or a Redis error when it can't be measured."""
        async with self._lock:
            moment = self._monotonic()
            if self._measured is None or moment - self._measured[0] >= _FRESH_SECONDS:
                self._measured = moment, await self._measure(moment)
            return self._measured[1]

    async def _measure(self, moment: float) -> Wanted:
        now = self._now()
        async with self._database.transaction() as session:
            waiting, running = await queries.open_work(session, now)
            accepted = await queries.accepted_work(session, now - _ARRIVALS)
        paused = (await pauses.read(self._database)).paused_tiers()
        # More workers wouldn't help what waits for the tier to go on.
        waiting, accepted = (
            {tier: work for tier, work in works.items() if tier not in paused} for works in (waiting, accepted)
        )
        present = [report.worker_id for report in await self._presence.workers()]
        arriving = {tier: work / _ARRIVALS.total_seconds() for tier, work in accepted.items()}
        start_seconds = self._starts.start_seconds
        loads = loads_of(TARGET_SECONDS, waiting, running, arriving)
        needed = workers_needed(loads, present=len(present), start_seconds=start_seconds)
        workers = self._demand.observe(moment, needed, start_seconds, has_work=bool(waiting))
        self._starts.observe(moment, workers, present)
        _WANTED.set(workers)
        _START_SECONDS.set(start_seconds)
        return Wanted(workers, self._demand.is_active(moment))
