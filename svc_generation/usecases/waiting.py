"""Where jobs stand in the queue, and how long they are expected to wait."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Histogram

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.queue import JobQueue
from svc_common.redis_client import REDIS_ERRORS
from svc_common.tiers import tier_name
from svc_generation.domain.limits import TierFacts
from svc_generation.domain.states import JobState
from svc_generation.domain.waiting import WaitEstimate, WaitStatistics
from svc_generation.store import queries
from svc_generation.store.models import Job
from svc_generation.usecases.pausing import TierPauses

_log = structlog.get_logger(__name__)

_WAIT_SECONDS: Final = Histogram(
    "job_wait_seconds",
    "Time from a job's acceptance to the start of its first attempt.",
    ("tier",),
    # The targets of the tiers (15 s to 5 min) and the waits of the guard against starvation (2 to 30 min) are bounds.
    buckets=(0.5, 1, 2, 5, 15, 30, 60, 120, 300, 600, 1800, 3600),
)

_NO_WAIT: Final = WaitEstimate(0.0, 0.0)
_REMEMBERED_WAITS: Final = 200


class WaitTimes:
    """Answers for waiting jobs and for those that may come; an estimate is never worth refusing a job for."""

    def __init__(self, queue: JobQueue, pauses: TierPauses) -> None:
        """Takes the queue, and which of its tiers are paused; nothing is measured yet."""
        self._queue = queue
        self._pauses = pauses
        self._statistics = WaitStatistics()

    async def recall(self, database: Database) -> None:
        """Takes up the waits of the jobs that were started last, from the tasks' database; without it it starts anew."""
        try:
            async with database.transaction() as session:
                waits = await queries.recent_waits(session, _REMEMBERED_WAITS)
        except ServiceError:
            return
        for position, wait in waits:
            self._statistics.observe(position, wait.total_seconds())

    async def observe_start(self, job: Job, now: datetime) -> None:
        """Records that a job has begun its first attempt; one that a pause held up says nothing of the waits to come."""
        wait_seconds = (now - job.create_time).total_seconds()
        if not (await self._pauses.known()).held_up(job.tier, job.create_time):
            self._statistics.observe(job.queue_position, wait_seconds)
        _WAIT_SECONDS.labels(tier_name(job.tier)).observe(wait_seconds)

    async def of_job(self, row: Job) -> tuple[int, WaitEstimate]:
        """Returns position and estimated wait of a job; zeros unless it is queued."""
        if row.state != JobState.QUEUED:
            return 0, _NO_WAIT
        try:
            position = await self._queue.position(row.job_id) or 0
        except REDIS_ERRORS:
            position = row.queue_position
        estimate = self._statistics.estimate(position, row.quoted_millicredits / 1000)
        return position, replace(estimate, is_tier_paused=await self._is_paused(row.tier))

    async def of_new(self, tier: TierFacts, account_id: UUID, run_seconds: float) -> tuple[int, WaitEstimate]:
        """Returns position and estimated wait of a job that the account would submit now."""
        return (await self.of_each_new([(tier, account_id, run_seconds)]))[0]

    async def of_each_new(self, lines: Sequence[tuple[TierFacts, UUID, float]]) -> list[tuple[int, WaitEstimate]]:
        """Returns what `of_new` says of each, in one call of Redis; while it is away, what an empty queue would be."""
        try:
            positions = await self._queue.positions_for_new([(tier.tier_name, account) for tier, account, _ in lines])
        except REDIS_ERRORS as error:
            _log.warning("queue.position_unknown", error=repr(error))
            positions = [0] * len(lines)
        pauses = await self._pauses.known()
        return [
            (
                position,
                replace(
                    self._statistics.estimate(position, run_seconds),
                    is_tier_paused=pauses.present(tier.tier) is not None,
                ),
            )
            for position, (tier, _, run_seconds) in zip(positions, lines, strict=True)
        ]

    async def _is_paused(self, tier: int) -> bool:
        return (await self._pauses.known()).present(tier) is not None
