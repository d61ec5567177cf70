"""Owns every statement on the uploads of the schema `gallery`; like those on pictures, each names the account."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_gallery.domain.uploads import OpenUploads
from svc_gallery.store.models import Upload


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that open uploads follow each other, so that what is read next stays true."""
    await db.take_turn(session, f"uploads:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> Upload | None:
    """Returns the upload that a request id of an account has opened, if there is one."""
    is_the_one = (Upload.account_id == account_id) & (Upload.request_id == request_id)
    return await session.scalar(select(Upload).where(is_the_one))


async def open_uploads(session: AsyncSession, account_id: UUID, now: datetime) -> OpenUploads:
    """Returns how many uploads of an account haven't expired, how large, and when the first does (now when there is none)."""
    is_open = (Upload.account_id == account_id) & (Upload.expire_time > now)
    facts = select(func.count(), func.sum(Upload.size_bytes), func.min(Upload.expire_time)).where(is_open)
    count, size_bytes, earliest_expiry = (await session.execute(facts)).one()
    return OpenUploads(count, int(size_bytes or 0), earliest_expiry or now)


async def find_upload(session: AsyncSession, account_id: UUID, upload_id: UUID, now: datetime) -> Upload | None:
    """Returns an upload of an account that hasn't expired."""
    is_the_one = (Upload.upload_id == upload_id) & (Upload.account_id == account_id) & (Upload.expire_time > now)
    return await session.scalar(select(Upload).where(is_the_one))


async def list_expired(session: AsyncSession, now: datetime, limit: int) -> Sequence[Row[UUID, UUID]]:
    """Returns account and id of uploads of all accounts that have expired, oldest first; for tasks."""
    statement = select(Upload.account_id, Upload.upload_id).where(Upload.expire_time <= now)
    return (await session.execute(statement.order_by(Upload.expire_time).limit(limit))).all()


async def delete_uploads(session: AsyncSession, upload_ids: Sequence[UUID]) -> None:
    """Deletes uploads of any account; for tasks."""
    await session.execute(delete(Upload).where(Upload.upload_id.in_(upload_ids)))
