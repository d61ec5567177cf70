"""Owns the statements that change a user's address, and those on addresses that can be had back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain import LinkPurpose
from svc_user.store.models import FormerEmail, LinkToken, User


async def find_link(session: AsyncSession, token_hash: bytes, purpose: LinkPurpose, now: datetime) -> LinkToken | None:
    """Returns a token that is good for a purpose at `now`."""
    is_good = (
        (LinkToken.token_hash == token_hash) & (LinkToken.purpose == purpose.value) & (LinkToken.expire_time > now)
    )
    return await session.scalar(select(LinkToken).where(is_good))


async def keep_email(session: AsyncSession, user: User, expire_time: datetime) -> None:
    """Lets a user have their present address back until a time."""
    values = {
        "account_id": user.account_id,
        "email": user.email,
        "user_id": user.user_id,
        "expire_time": expire_time,
    }
    statement = insert(FormerEmail).values(values)
    key = [FormerEmail.account_id, FormerEmail.email]
    await session.execute(statement.on_conflict_do_update(index_elements=key, set_={"expire_time": expire_time}))


async def keeps_email(session: AsyncSession, user_id: UUID, email: str, now: datetime) -> bool:
    """Returns whether a user can have an address back."""
    is_kept = (FormerEmail.user_id == user_id) & (FormerEmail.email == email) & (FormerEmail.expire_time > now)
    return await session.scalar(select(FormerEmail.email).where(is_kept)) is not None


async def drop_former_emails(session: AsyncSession, user_id: UUID, email: str | None = None) -> None:
    """Lets go of the addresses that a user can have back, or of one of them."""
    goes = FormerEmail.user_id == user_id
    if email is not None:
        goes &= FormerEmail.email == email
    await session.execute(delete(FormerEmail).where(goes))


async def delete_all_link_tokens(session: AsyncSession, user_id: UUID) -> None:
    """Deletes the tokens of all links that were mailed for a user."""
    await session.execute(delete(LinkToken).where(LinkToken.user_id == user_id))


async def delete_expired_former_emails(session: AsyncSession, now: datetime, limit: int) -> int:
    """Deletes at most `limit` addresses that nobody can have back any more, and tells how many."""
    key = (FormerEmail.account_id, FormerEmail.email)
    batch = select(*key).where(FormerEmail.expire_time <= now).limit(limit)
    connection = await session.connection()
    return (await connection.execute(delete(FormerEmail).where(tuple_(*key).in_(batch)))).rowcount
