"""Owns the statements on the copies of everything that accounts ask for."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain.account_exports import LEASE, MEMORY, MOST_ATTEMPTS, AccountExportState
from svc_user.store.models import AccountExport, User

_PENDING = AccountExport.state == AccountExportState.PENDING.value
_READY = AccountExport.state == AccountExportState.READY.value


async def find_newest(session: AsyncSession, account_id: UUID) -> AccountExport | None:
    """Returns the newest copy of an account."""
    of_account = select(AccountExport).where(AccountExport.account_id == account_id)
    return await session.scalar(of_account.order_by(AccountExport.create_time.desc()).limit(1))


async def insert_export(session: AsyncSession, export: AccountExport) -> None:
    """Inserts a copy that is to be made, and lets those before it expire."""
    earlier = update(AccountExport).where(AccountExport.account_id == export.account_id, _READY)
    await session.execute(earlier.values(expire_time=export.create_time))
    session.add(export)
    await session.flush()


async def claim_export(session: AsyncSession, now: datetime) -> AccountExport | None:
    """Takes the copy that has waited longest, or whose attempt shows no life any more, for the tasks role.

    The attempt's number is the fence: whatever it writes later holds only while no other has begun.
    """
    is_free = or_(AccountExport.lease_until.is_(None), AccountExport.lease_until <= now)
    waiting = select(AccountExport).where(_PENDING, is_free, AccountExport.attempt < MOST_ATTEMPTS)
    ordered = waiting.order_by(AccountExport.create_time).limit(1)
    export = await session.scalar(ordered.with_for_update(skip_locked=True))
    if export is not None:
        export.attempt, export.lease_until = export.attempt + 1, now + LEASE
        export.image_count = export.left_out_count = 0
        await session.flush()
    return export


async def report(session: AsyncSession, export: AccountExport, lease_until: datetime | None, **values: Any) -> bool:
    """Writes how far an attempt is, and its lease; tells whether it may go on, for the tasks role."""
    still_ours = (AccountExport.export_id == export.export_id) & (AccountExport.attempt == export.attempt) & _PENDING
    written = update(AccountExport).where(still_ours).values(lease_until=lease_until, **values)
    returned = written.returning(AccountExport.export_id).execution_options(synchronize_session=False)
    return await session.scalar(returned) is not None


async def give_up(session: AsyncSession, now: datetime) -> Sequence[AccountExport]:
    """Returns copies whose last attempt shows no life any more, for the tasks role."""
    is_lost = (AccountExport.attempt >= MOST_ATTEMPTS) & (AccountExport.lease_until <= now)
    return (await session.scalars(select(AccountExport).where(_PENDING, is_lost))).all()


async def list_expired(session: AsyncSession, now: datetime, limit: int) -> Sequence[AccountExport]:
    """Returns at most `limit` copies whose zip is to be deleted, for the tasks role."""
    over = select(AccountExport).where(_READY, AccountExport.expire_time <= now)
    return (await session.scalars(over.order_by(AccountExport.expire_time).limit(limit))).all()


async def end_exports(session: AsyncSession, export_ids: Sequence[UUID], state: AccountExportState) -> None:
    """Puts copies into a state in which they have no zip, for the tasks role."""
    await session.execute(
        update(AccountExport).where(AccountExport.export_id.in_(export_ids)).values(state=state.value)
    )


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Deletes the rows of copies that ended long ago, for the tasks role."""
    has_ended = AccountExport.state.in_([AccountExportState.EXPIRED.value, AccountExportState.FAILED.value])
    await session.execute(delete(AccountExport).where(has_ended, AccountExport.create_time < now - MEMORY))


async def stop_exports(session: AsyncSession, account_id: UUID, now: datetime) -> bool:
    """Ends the copies that are being made of an account, and tells whether an attempt may still be writing one.

    What it writes then is lost at its next sign of life, or when its lease is over at the latest; for the tasks role.
    """
    of_account = AccountExport.account_id == account_id
    failed = update(AccountExport).where(of_account, _PENDING).values(state=AccountExportState.FAILED.value)
    await session.execute(failed)
    alive = select(AccountExport.export_id).where(of_account, AccountExport.lease_until > now)
    return await session.scalar(alive.limit(1)) is not None


async def find_ready(session: AsyncSession, export_id: UUID, account_id: UUID, now: datetime) -> AccountExport | None:
    """Returns a copy of an account whose zip can be downloaded, for the tasks role."""
    is_sought = (AccountExport.export_id == export_id) & (AccountExport.account_id == account_id)
    return await session.scalar(select(AccountExport).where(is_sought, _READY, AccountExport.expire_time > now))


async def find_confirmed_email(session: AsyncSession, user_id: UUID) -> str | None:
    """Returns the address of a user if they have shown that it's theirs, for the tasks role."""
    return await session.scalar(select(User.email).where(User.user_id == user_id, User.email_verified))
