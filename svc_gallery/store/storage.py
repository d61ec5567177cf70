"""Owns the statements on what is noted of overages, in the table of what accounts' pictures take."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_gallery.domain.storage import Overage
from svc_gallery.store.models import Storage


async def note_overage(session: AsyncSession, account_id: UUID, quota_bytes: int, now: datetime) -> Overage | None:
    """Notes whether an account's pictures take more than its tier stores, and returns the overage if they do.

    The first look that finds one dates it; one that finds none forgets it, so that a later overage has a date of its own.
    """
    facts = select(Storage.image_bytes, Storage.over_quota_since).where(Storage.account_id == account_id)
    found = (await session.execute(facts)).one_or_none()
    if found is None:
        return None
    is_over = found.image_bytes > quota_bytes
    since = found.over_quota_since
    if is_over and since is None:
        # Two looks at the same time agree on one date: the second one waits for the first and changes nothing.
        begun = update(Storage).where(Storage.account_id == account_id, Storage.over_quota_since.is_(None))
        await session.execute(begun.values(over_quota_since=now, overage_mail_time=None))
        since = await session.scalar(select(Storage.over_quota_since).where(Storage.account_id == account_id)) or now
    elif not is_over and since is not None:
        over = update(Storage).where(Storage.account_id == account_id, Storage.image_bytes <= quota_bytes)
        await session.execute(over.values(over_quota_since=None, overage_mail_time=None))
    return Overage(since, found.image_bytes, quota_bytes) if is_over and since is not None else None


async def list_unchecked(session: AsyncSession, before: datetime, limit: int) -> Sequence[UUID]:
    """Returns accounts with pictures that were looked at before then or never, those first that wait longest; for tasks."""
    is_due = or_(Storage.quota_check_time.is_(None), Storage.quota_check_time < before)
    due = select(Storage.account_id).where(is_due).order_by(Storage.quota_check_time.nulls_first()).limit(limit)
    return (await session.scalars(due)).all()


async def note_check(session: AsyncSession, account_id: UUID, now: datetime) -> None:
    """Notes that a sweep has looked at an account."""
    await session.execute(update(Storage).where(Storage.account_id == account_id).values(quota_check_time=now))


async def list_unmailed(session: AsyncSession, limit: int) -> Sequence[tuple[UUID, int, datetime]]:
    """Returns account, bytes and date of overages whose owners have had no mail yet, the oldest first; for tasks."""
    facts = select(Storage.account_id, Storage.image_bytes, Storage.over_quota_since)
    is_unmailed = Storage.over_quota_since.is_not(None) & Storage.overage_mail_time.is_(None)
    found = await session.execute(facts.where(is_unmailed).order_by(Storage.over_quota_since).limit(limit))
    return [(account_id, image_bytes, since) for account_id, image_bytes, since in found if since is not None]


async def note_mail(session: AsyncSession, account_id: UUID, since: datetime, now: datetime) -> None:
    """Notes that the mail about the overage of that date is on its way; one that began meanwhile gets its own."""
    is_the_one = (Storage.account_id == account_id) & (Storage.over_quota_since == since)
    await session.execute(update(Storage).where(is_the_one).values(overage_mail_time=now))
