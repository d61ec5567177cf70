"""Owns the statements on API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain import API_KEY_USE_PRECISION
from svc_user.store.models import ApiKey
from svc_user.store.queries import count_changed, enter_account

Place = tuple[datetime, str]
"""Where a page of the list ends: the sort key of its last key."""


async def enter_account_by_api_key(session: AsyncSession, api_key_id: str) -> None:
    """Makes the account that a key belongs to the transaction's; none, if the key is unknown."""
    await enter_account(session, func.users.account_by_api_key(api_key_id))


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the creations of an account take turns until the transaction ends, so that a repetition finds the first."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"api_keys:{account_id}", 0))))


async def find_request(session: AsyncSession, request_id: str) -> ApiKey | None:
    """Returns the key that the account made by a request."""
    return await session.scalar(select(ApiKey).where(ApiKey.request_id == request_id))


async def insert_api_key(session: AsyncSession, api_key: ApiKey) -> None:
    """Inserts a new key."""
    session.add(api_key)
    await session.flush()


async def find_api_key(session: AsyncSession, api_key_id: str) -> ApiKey | None:
    """Returns a key, if the transaction's account may see it."""
    return await session.get(ApiKey, api_key_id)


async def list_api_keys(session: AsyncSession, user_id: UUID, *, after: Place | None, limit: int) -> Sequence[ApiKey]:
    """Returns at most `limit` keys of a user, the newest first, from a place in the list on."""
    statement = select(ApiKey).where(ApiKey.user_id == user_id)
    if after is not None:
        statement = statement.where(tuple_(ApiKey.create_time, ApiKey.api_key_id) < after)
    newest_first = statement.order_by(ApiKey.create_time.desc(), ApiKey.api_key_id.desc()).limit(limit)
    return (await session.scalars(newest_first)).all()


async def delete_api_key(session: AsyncSession, user_id: UUID, api_key_id: str) -> bool:
    """Deletes a key of a user, and tells whether it was there."""
    is_the_one = (ApiKey.api_key_id == api_key_id) & (ApiKey.user_id == user_id)
    return await count_changed(session, delete(ApiKey).where(is_the_one)) == 1


async def delete_api_keys(session: AsyncSession, user_id: UUID) -> None:
    """Deletes all keys of a user."""
    await session.execute(delete(ApiKey).where(ApiKey.user_id == user_id))


async def note_use(session: AsyncSession, api_key: ApiKey, now: datetime) -> None:
    """Notes that a key is used, once a minute at most: a write for each use would make every call one."""
    if api_key.last_use_time is None or now - api_key.last_use_time >= API_KEY_USE_PRECISION:
        is_the_one = ApiKey.api_key_id == api_key.api_key_id
        await session.execute(update(ApiKey).where(is_the_one).values(last_use_time=now))
