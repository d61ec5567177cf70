"""Adds up what jobs used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Date, Interval, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_generation.domain.states import JobState
from svc_generation.store.models import Job, KeySpending


@dataclass(frozen=True, slots=True)
class DayUsage:
    """Holds what the jobs of an account with one model, which ended on one day, have used."""

    day: date
    model_id: str
    millicredits: int
    job_count: int
    image_count: int


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


async def key_spending(session: AsyncSession, account_id: UUID, api_key_id: str, now: datetime) -> tuple[int, int]:
    """Returns what the jobs of an API key cost or hold of this day and of this month of UTC, in millicredits."""
    today = now.astimezone(UTC).date()
    of_today = case((KeySpending.day == today, KeySpending.millicredits), else_=0)
    is_of_key = (KeySpending.account_id == account_id) & (KeySpending.api_key_id == api_key_id)
    statement = select(func.coalesce(func.sum(of_today), 0), func.coalesce(func.sum(KeySpending.millicredits), 0))
    row = (await session.execute(statement.where(is_of_key, KeySpending.day >= today.replace(day=1)))).one()
    return int(row[0]), int(row[1])
