"""Owns every statement on the share links of the schema `gallery`; those in an account's name also name the account."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_gallery.domain.share_links import PASSWORD_SPAN, PASSWORDS_IN_A_SPAN
from svc_gallery.store import queries
from svc_gallery.store.models import Image, ShareLink


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that make links follow each other, so that what is read next stays true."""
    await db.take_turn(session, f"share_links:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> ShareLink | None:
    """Returns the link that a request id of an account has made, if there is one."""
    is_the_one = (ShareLink.account_id == account_id) & (ShareLink.request_id == request_id)
    return await session.scalar(select(ShareLink).where(is_the_one))


async def count_links(session: AsyncSession, account_id: UUID, image_id: UUID) -> int:
    """Returns how many links a picture of an account has."""
    return await session.scalar(select(func.count()).where(_of_image(account_id, image_id))) or 0


async def list_links(session: AsyncSession, account_id: UUID, image_id: UUID) -> Sequence[ShareLink]:
    """Returns the links of a picture of an account, oldest first."""
    statement = select(ShareLink).where(_of_image(account_id, image_id))
    return (await session.scalars(statement.order_by(ShareLink.create_time, ShareLink.share_link_id))).all()


async def delete_links(session: AsyncSession, account_id: UUID, image_id: UUID, share_link_id: UUID | None) -> None:
    """Deletes one link of a picture of an account, or all."""
    statement = delete(ShareLink).where(_of_image(account_id, image_id))
    if share_link_id is not None:
        statement = statement.where(ShareLink.share_link_id == share_link_id)
    await session.execute(statement)


async def account_by_token(session: AsyncSession, token_hash: bytes) -> UUID | None:
    """Returns the account whose picture the link with this token shows; asks in nobody's name."""
    return await session.scalar(select(func.gallery.account_by_share_token(token_hash)))


async def find_open(session: AsyncSession, account_id: UUID, token_hash: bytes, now: datetime) -> ShareLink | None:
    """Returns the link with this token, if it shows something; counts nothing."""
    return await session.scalar(select(ShareLink).where(_is_open(account_id, token_hash, now)))


async def take_try(session: AsyncSession, account_id: UUID, token_hash: bytes, now: datetime) -> bool:
    """Counts a password that is going to be tried, and tells whether it may be.

    It is counted before it is checked, so that many who try at the same time have no more tries than one.
    """
    is_over = or_(ShareLink.failed_since.is_(None), ShareLink.failed_since <= now - PASSWORD_SPAN)
    may_try = or_(is_over, ShareLink.failed_count < PASSWORDS_IN_A_SPAN)
    statement = (
        update(ShareLink)
        .where(_is_open(account_id, token_hash, now), may_try)
        .values(
            failed_count=case((is_over, 1), else_=ShareLink.failed_count + 1),
            failed_since=case((is_over, now), else_=ShareLink.failed_since),
        )
        .returning(ShareLink.share_link_id)
        .execution_options(synchronize_session=False)
    )
    return await session.scalar(statement) is not None


async def view(
    session: AsyncSession, account_id: UUID, token_hash: bytes, now: datetime, *, is_unlocked: bool = False
) -> tuple[ShareLink, Image] | None:
    """Counts a view of the link with this token and returns it with its picture; None when it shows nothing any more.

    The count and the limit are one statement, so that two who come at the same time can't both be the last. Without
    `is_unlocked` a link with a password shows nothing.
    """
    is_open = _is_open(account_id, token_hash, now)
    values: dict[str, Any] = {"view_count": ShareLink.view_count + 1}
    if is_unlocked:
        values |= {"failed_count": 0, "failed_since": None}
    else:
        is_open &= ShareLink.password_hash.is_(None)
    link = await session.scalar(update(ShareLink).where(is_open).values(values).returning(ShareLink))
    if link is None:
        return None
    image = await queries.find_image(session, account_id, link.image_id)
    return None if image is None else (link, image)


def _is_open(account_id: UUID, token_hash: bytes, now: datetime) -> ColumnElement[bool]:
    return (
        (ShareLink.account_id == account_id)
        & (ShareLink.token_hash == token_hash)
        & or_(ShareLink.expire_time.is_(None), ShareLink.expire_time > now)
        & or_(ShareLink.view_limit == 0, ShareLink.view_count < ShareLink.view_limit)
    )


def _of_image(account_id: UUID, image_id: UUID) -> ColumnElement[bool]:
    return (ShareLink.account_id == account_id) & (ShareLink.image_id == image_id)
