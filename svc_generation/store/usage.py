"""Adds up what jobs used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Date, Interval, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_generation.domain.states import JobState
from svc_generation.store.models import Job, KeySpending

_ENDS: Final = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """Holds what the jobs of an account with one model, which ended on one day, have used."""

    day: date
    model_id: str
    millicredits: int
    job_count: int
    image_count: int


@dataclass(frozen=True, slots=True)
class KindUsage:
    """Holds what the jobs of an account of one kind have used, and how many of them ended in each state."""

    operation_kind: str
    millicredits: int
    image_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int

    @property
    def job_count(self) -> int:
        """How many jobs ended."""
        return self.completed_count + self.failed_count + self.cancelled_count


@dataclass(frozen=True, slots=True)
class Waits:
    """Holds what half of some jobs, and nine in ten of them, waited at most; None when there are none."""

    median: timedelta | None
    p90: timedelta | None


async def usage_by_day(
    session: AsyncSession, account_id: UUID, since: datetime, utc_offset: timedelta
) -> Sequence[DayUsage]:
    """Returns what the jobs of an account that ended since a moment have used, by day and model, oldest first.

    Days begin at the midnight of a clock that is ahead of UTC by the offset.
    """
    local_end = func.timezone("UTC", Job.end_time) + literal(utc_offset, Interval())
    day = cast(local_end, Date).label("day")
    # Of the others' pictures a list may be left, but nobody has them.
    pictures = case((Job.state == JobState.COMPLETED, func.jsonb_array_length(Job.images)), else_=0)
    statement = (
        select(day, Job.model_id, func.sum(Job.used_millicredits), func.count(), func.sum(pictures))
        .where(Job.account_id == account_id, Job.end_time >= since)
        .group_by(day, Job.model_id)
        .order_by(day, Job.model_id)
    )
    rows = await session.execute(statement)
    return [DayUsage(day, model, int(used), jobs, int(images)) for day, model, used, jobs, images in rows]


async def usage_by_kind(session: AsyncSession, account_id: UUID, since: datetime) -> Sequence[KindUsage]:
    """Returns what the jobs of an account that ended since a moment have used, by operation, the most jobs first."""
    pictures = func.coalesce(func.sum(func.jsonb_array_length(Job.images)).filter(Job.state == JobState.COMPLETED), 0)
    ends = (func.count().filter(Job.state == state) for state in _ENDS)
    statement = (
        select(Job.operation_kind, func.sum(Job.used_millicredits), pictures, *ends)
        .where(Job.account_id == account_id, Job.end_time >= since)
        .group_by(Job.operation_kind)
        .order_by(func.count().desc(), Job.operation_kind)
    )
    rows = await session.execute(statement)
    return [KindUsage(kind, int(used), int(images), *counts) for kind, used, images, *counts in rows]


async def waits(session: AsyncSession, account_id: UUID, since: datetime) -> Waits:
    """Returns how long those jobs of an account waited that ended since a moment and were begun."""
    waited = Job.start_time - Job.create_time
    shares = (func.percentile_cont(share).within_group(waited.asc()) for share in (0.5, 0.9))
    statement = select(*shares).where(Job.account_id == account_id, Job.end_time >= since, Job.start_time.is_not(None))
    return Waits(*(await session.execute(statement)).one())


async def key_spending(session: AsyncSession, account_id: UUID, api_key_id: str, now: datetime) -> tuple[int, int]:
    """Returns what the jobs of an API key cost or hold of this day and of this month of UTC, in millicredits."""
    today = now.astimezone(UTC).date()
    of_today = case((KeySpending.day == today, KeySpending.millicredits), else_=0)
    is_of_key = (KeySpending.account_id == account_id) & (KeySpending.api_key_id == api_key_id)
    statement = select(func.coalesce(func.sum(of_today), 0), func.coalesce(func.sum(KeySpending.millicredits), 0))
    row = (await session.execute(statement.where(is_of_key, KeySpending.day >= today.replace(day=1)))).one()
    return int(row[0]), int(row[1])
