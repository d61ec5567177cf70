"""Owns the statements on the pictures that stand for users."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.store.models import Avatar, User


async def find_avatar(session: AsyncSession, user_id: UUID) -> bytes:
    """Returns the picture of a user; empty, if there is none."""
    return await session.scalar(select(Avatar.content).where(Avatar.user_id == user_id)) or b""


async def replace_avatar(session: AsyncSession, user: User, content: bytes | None) -> None:
    """Stores the picture of a user in place of another; None removes it."""
    if content is None:
        await session.execute(delete(Avatar).where(Avatar.user_id == user.user_id))
        return
    values = {"user_id": user.user_id, "account_id": user.account_id, "content": content}
    statement = insert(Avatar).values(values)
    await session.execute(statement.on_conflict_do_update(index_elements=[Avatar.user_id], set_={"content": content}))
