"""Owns the statements that erase what svc_user has of an account, for the tasks role."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.store.models import Identity, Mail, Session, User, Welcome

NOBODY: Final = UUID(int=0)
"""The account of people who were erased, among those who got the credits that everybody gets once."""


async def list_due(session: AsyncSession, now: datetime, limit: int) -> Sequence[UUID]:
    """Returns at most `limit` accounts that are to be erased, those first that have waited longest."""
    due = select(User.account_id).where(User.erase_time <= now).order_by(User.erase_time).limit(limit)
    return (await session.scalars(due)).all()


async def erase_account(session: AsyncSession, account_id: UUID, now: datetime) -> None:
    """Deletes all rows of an account. That its person got the free credits stays known, but not for which account."""
    addresses = select(User.email).where(User.account_id == account_id).scalar_subquery()
    users = select(User.user_id).where(User.account_id == account_id).scalar_subquery()
    await session.execute(delete(Mail).where(or_(Mail.email == addresses, Mail.user_id == users)))
    # Credits that weren't granted yet are due to nobody any more.
    granted = func.coalesce(Welcome.grant_time, now)
    of_account = update(Welcome).where(Welcome.account_id == account_id)
    await session.execute(of_account.values(account_id=NOBODY, grant_time=granted))
    for table in (Session, Identity, User):
        await session.execute(delete(table).where(table.account_id == account_id))
    # Behind the user: the function of the database leaves accounts alone that are there.
    await session.execute(select(func.users.forget_audit_events(account_id)))
