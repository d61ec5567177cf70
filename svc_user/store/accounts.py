"""Owns the statements with which users are administered, all under the tasks role, which sees everybody but no password."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from svc_common.account_roles import AccountRole
from svc_user.domain.administration import Sought
from svc_user.store.models import Session, User

_SEEN: Final = load_only(
    User.user_id,
    User.account_id,
    User.email,
    User.email_verified,
    User.display_name,
    User.create_time,
    User.locale,
    User.role,
    User.suspend_time,
    User.suspend_reason,
    User.token_epoch,
    raiseload=True,
)
_ADMINISTRATORS_LOCK: Final = "administrators"


async def search_users(session: AsyncSession, what: Sought, *, before: UUID | None, limit: int) -> Sequence[User]:
    """Returns at most `limit` users, the newest first; their ids sort by time."""
    statement = select(User)
    if what.prefix:
        begins = (
            column.startswith(what.prefix, autoescape=True) for column in (User.email, func.lower(User.display_name))
        )
        statement = statement.where(or_(*begins))
    if what.user_id is not None:
        statement = statement.where(or_(User.user_id == what.user_id, User.account_id == what.user_id))
    if what.role is not None:
        statement = statement.where(User.role == what.role.value)
    if before is not None:
        statement = statement.where(User.user_id < before)
    return (await session.scalars(_seen(statement.order_by(User.user_id.desc()).limit(limit)))).all()


async def lock_user(session: AsyncSession, user_id: UUID) -> User | None:
    """Returns a user whose row nobody else changes or locks until the transaction ends."""
    return await session.scalar(_seen(select(User).where(User.user_id == user_id).with_for_update()))


async def find_user_by_email(session: AsyncSession, email: str) -> User | None:
    """Returns the user with a normalised address."""
    return await session.scalar(_seen(select(User).where(User.email == email)))


async def count_other_administrators(session: AsyncSession, user_id: UUID | None) -> int:
    """Returns how many administrators but one can log in; none is made or unmade until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(_ADMINISTRATORS_LOCK, 0))))
    statement = select(func.count()).where(
        User.role == AccountRole.ADMINISTRATOR.value,
        User.suspend_time.is_(None),
        User.user_id.is_distinct_from(user_id),
    )
    return int(await session.scalar(statement) or 0)


async def end_sessions(session: AsyncSession, user_id: UUID, now: datetime) -> None:
    """Ends all sessions of a user."""
    is_live = (Session.user_id == user_id) & Session.revoke_time.is_(None)
    await session.execute(update(Session).where(is_live).values(revoke_time=now))


def _seen(statement: Select[User]) -> Select[User]:
    """Limits a statement to what the tasks role may read."""
    return statement.options(_SEEN)
