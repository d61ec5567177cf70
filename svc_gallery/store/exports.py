"""Owns every statement on the exports of the schema `gallery`; those in an account's name also name the account."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_gallery.domain.exports import LEASE, MOST_ATTEMPTS, ExportState, export_not_found
from svc_gallery.store.models import Export, ExportImage, Image


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that create exports follow each other, so that what is read next stays true."""
    await db.take_turn(session, f"exports:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str, now: datetime) -> Export | None:
    """Returns the export that a request id of an account has created, if it is still there."""
    found = select(Export).where(Export.account_id == account_id, Export.request_id == request_id)
    return await session.scalar(found.where(Export.expire_time > now))


async def count_exports(session: AsyncSession, account_id: UUID, now: datetime) -> int:
    """Returns how many exports of an account haven't expired."""
    there = (Export.account_id == account_id) & (Export.expire_time > now)
    return await session.scalar(select(func.count()).select_from(Export).where(there)) or 0


async def find_export(session: AsyncSession, account_id: UUID, export_id: UUID, now: datetime) -> Export:
    """Returns an export of an account.

    Raises:
        ServiceError: EXPORT_NOT_FOUND.
    """
    export = await session.scalar(select(Export).where(_there(account_id, now), Export.export_id == export_id))
    if export is None:
        raise export_not_found(export_id)
    return export


async def list_exports(
    session: AsyncSession, account_id: UUID, now: datetime, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Export]:
    """Returns at most `limit` exports of an account, newest first, from a place in the list on."""
    statement = select(Export).where(_there(account_id, now))
    if before is not None:
        statement = statement.where(tuple_(Export.create_time, Export.export_id) < before)
    ordered = statement.order_by(Export.create_time.desc(), Export.export_id.desc()).limit(limit)
    return (await session.scalars(ordered)).all()


async def add_export(session: AsyncSession, export: Export, image_ids: Sequence[UUID]) -> None:
    """Inserts an export with what it selected, in that order."""
    # An expired one may hold the request id until the sweep comes.
    stale = (Export.account_id == export.account_id) & (Export.request_id == export.request_id)
    await session.execute(update(Export).where(stale).values(request_id=None))
    session.add(export)
    await session.flush()
    rows = [
        {"export_id": export.export_id, "position": position, "account_id": export.account_id, "image_id": image_id}
        for position, image_id in enumerate(image_ids)
    ]
    await session.execute(insert(ExportImage), rows)


async def expire_export(session: AsyncSession, account_id: UUID, export_id: UUID, now: datetime) -> None:
    """Lets an export of an account expire now; the sweep deletes it and its zip.

    Raises:
        ServiceError: EXPORT_NOT_FOUND.
    """
    ended = update(Export).where(_there(account_id, now), Export.export_id == export_id).values(expire_time=now)
    if await session.scalar(ended.returning(Export.export_id)) is None:
        raise export_not_found(export_id)


async def claim_export(session: AsyncSession, now: datetime) -> Export | None:
    """Takes the export that has waited longest, or whose attempt shows no life any more; for tasks.

    The attempt's number is the fence: whatever it writes later holds only while no other has begun.
    """
    is_free = or_(
        Export.state == ExportState.QUEUED, and_(Export.state == ExportState.RUNNING, Export.lease_until <= now)
    )
    to_make = (Export.state.in_([ExportState.QUEUED, ExportState.RUNNING])) & is_free & (Export.expire_time > now)
    waiting = select(Export).where(to_make, Export.attempt < MOST_ATTEMPTS).order_by(Export.create_time).limit(1)
    export = await session.scalar(waiting.with_for_update(skip_locked=True))
    if export is not None:
        export.state, export.attempt, export.lease_until = ExportState.RUNNING, export.attempt + 1, now + LEASE
        export.done_count = export.left_out_count = 0
    return export


async def selected_images(session: AsyncSession, export: Export, after: int, limit: int) -> Sequence[Row[int, Image]]:
    """Returns positions and pictures of an export behind a position, None for those that are gone or in the bin; for tasks."""
    shown = (Image.image_id == ExportImage.image_id) & (Image.account_id == export.account_id)
    statement = (
        select(ExportImage.position, Image)
        .outerjoin(Image, shown & Image.delete_time.is_(None))
        .where(ExportImage.export_id == export.export_id, ExportImage.position > after)
    )
    return (await session.execute(statement.order_by(ExportImage.position).limit(limit))).all()


async def report(session: AsyncSession, export: Export, now: datetime, **values: Any) -> bool:
    """Writes how far an attempt is, and renews its lease; tells whether it may go on; for tasks."""
    still_ours = (
        (Export.export_id == export.export_id)
        & (Export.attempt == export.attempt)
        & (Export.state == ExportState.RUNNING)
        & (Export.expire_time > now)
    )
    written = update(Export).where(still_ours).values(lease_until=now + LEASE, **values).returning(Export.export_id)
    return await session.scalar(written.execution_options(synchronize_session=False)) is not None


async def give_up(session: AsyncSession, now: datetime) -> int:
    """Lets exports fail whose last attempt shows no life any more; for tasks."""
    is_lost = (Export.state == ExportState.RUNNING) & (Export.lease_until <= now) & (Export.attempt >= MOST_ATTEMPTS)
    failed = update(Export).where(is_lost).values(state=ExportState.FAILED).returning(Export.export_id)
    return len((await session.scalars(failed.execution_options(synchronize_session=False))).all())


async def list_expired(session: AsyncSession, now: datetime, limit: int) -> Sequence[Export]:
    """Returns exports of all accounts that have expired and that no attempt works on; for tasks."""
    is_idle = or_(Export.state != ExportState.RUNNING, Export.lease_until <= now)
    statement = select(Export).where(Export.expire_time <= now, is_idle)
    return (await session.scalars(statement.order_by(Export.expire_time).limit(limit))).all()


async def delete_exports(session: AsyncSession, export_ids: Sequence[UUID]) -> None:
    """Deletes the rows of exports of any account; for tasks."""
    await session.execute(delete(Export).where(Export.export_id.in_(export_ids)))


def _there(account_id: UUID, now: datetime) -> ColumnElement[bool]:
    return (Export.account_id == account_id) & (Export.expire_time > now)
