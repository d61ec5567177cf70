"""Owns the statements on who earned the credits that a person gets once, and on whether they were granted."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.store.models import Welcome


async def enter_welcome(session: AsyncSession, person_hash: bytes, account_id: UUID, now: datetime) -> bool:
    """Enters that a person earned the credits for an account and tells whether it's the first time; the key decides races."""
    values = {"person_hash": person_hash, "account_id": account_id, "create_time": now, "grant_time": None}
    statement = insert(Welcome).values(values).on_conflict_do_nothing(index_elements=[Welcome.person_hash])
    connection = await session.connection()
    return (await connection.execute(statement)).rowcount == 1


async def list_due(session: AsyncSession, limit: int) -> Sequence[Welcome]:
    """Returns at most `limit` of those whose credits aren't granted yet, for the tasks role."""
    due = select(Welcome).where(Welcome.grant_time.is_(None)).order_by(Welcome.create_time).limit(limit)
    return (await session.scalars(due)).all()


async def mark_granted(session: AsyncSession, person_hash: bytes, now: datetime) -> None:
    """Marks that the credits were granted, for the tasks role."""
    is_due = (Welcome.person_hash == person_hash) & Welcome.grant_time.is_(None)
    await session.execute(update(Welcome).where(is_due).values(grant_time=now))
