"""Owns every statement on accounts' own LoRAs; those in an account's name also name the account."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_models.domain.loras import LEASE, MOST_ATTEMPTS, LoraState
from svc_models.store.models import OwnLora

_LASTING = (LoraState.ASSEMBLING, LoraState.READY)
_PASSING = (LoraState.UPLOADING, LoraState.REFUSED)


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that open uploads follow each other, so that what is counted next stays true."""
    await db.take_turn(session, f"loras:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str, now: datetime) -> OwnLora | None:
    """Returns the LoRA that a request id of an account has opened, if it is still there."""
    return await session.scalar(select(OwnLora).where(_there(account_id, now), OwnLora.request_id == request_id))


async def add_lora(session: AsyncSession, lora: OwnLora) -> None:
    """Inserts a LoRA. One that isn't there any more may hold the request id until the sweep comes."""
    stale = (OwnLora.account_id == lora.account_id) & (OwnLora.request_id == lora.request_id)
    await session.execute(update(OwnLora).where(stale).values(request_id=None))
    session.add(lora)
    await session.flush()


async def count_loras(session: AsyncSession, account_id: UUID, now: datetime) -> int:
    """Returns how many LoRAs of an account count against its limit: all that are there but the refused ones."""
    counting = _there(account_id, now) & (OwnLora.state != LoraState.REFUSED)
    return await session.scalar(select(func.count()).select_from(OwnLora).where(counting)) or 0


async def find_lora(
    session: AsyncSession, account_id: UUID, lora_id: UUID, now: datetime, *, for_update: bool = False
) -> OwnLora | None:
    """Returns a LoRA of an account; `for_update` holds its row until the transaction ends."""
    found = select(OwnLora).where(_there(account_id, now), OwnLora.lora_id == lora_id)
    return await session.scalar(found.with_for_update() if for_update else found)


async def list_loras(
    session: AsyncSession, account_id: UUID, now: datetime, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[OwnLora]:
    """Returns at most `limit` LoRAs of an account, newest first, from a place in the list on."""
    statement = select(OwnLora).where(_there(account_id, now))
    if before is not None:
        statement = statement.where(tuple_(OwnLora.create_time, OwnLora.lora_id) < before)
    ordered = statement.order_by(OwnLora.create_time.desc(), OwnLora.lora_id.desc()).limit(limit)
    return (await session.scalars(ordered)).all()


async def list_ready(session: AsyncSession, account_id: UUID) -> Sequence[OwnLora]:
    """Returns the LoRAs of an account that can be used."""
    is_ready = (OwnLora.account_id == account_id) & (OwnLora.state == LoraState.READY)
    return (await session.scalars(select(OwnLora).where(is_ready))).all()


async def find_ready(session: AsyncSession, lora_id: UUID, account_id: UUID | None = None) -> OwnLora | None:
    """Returns a LoRA that can be used: of an account, or of any (for tasks, with the id of a job that was accepted)."""
    found = select(OwnLora).where(OwnLora.lora_id == lora_id, OwnLora.state == LoraState.READY)
    return await session.scalar(found if account_id is None else found.where(OwnLora.account_id == account_id))


async def claim_lora(session: AsyncSession, now: datetime) -> OwnLora | None:
    """Takes the LoRA that has waited longest for its parts to be put together, or whose attempt shows no life; for tasks.

    The attempt's number is the fence: what it writes later holds only while no other has begun.
    """
    is_free = or_(OwnLora.lease_until.is_(None), OwnLora.lease_until <= now)
    to_make = (OwnLora.state == LoraState.ASSEMBLING) & is_free & (OwnLora.attempt < MOST_ATTEMPTS)
    waiting = select(OwnLora).where(to_make).order_by(OwnLora.create_time).limit(1)
    lora = await session.scalar(waiting.with_for_update(skip_locked=True))
    if lora is not None:
        lora.attempt, lora.lease_until = lora.attempt + 1, now + LEASE
    return lora


async def report(session: AsyncSession, lora: OwnLora, now: datetime, **values: Any) -> bool:
    """Writes what an attempt has to say, and renews its lease; tells whether it may go on; for tasks."""
    still_ours = (
        (OwnLora.lora_id == lora.lora_id) & (OwnLora.attempt == lora.attempt) & (OwnLora.state == LoraState.ASSEMBLING)
    )
    written = update(OwnLora).where(still_ours).values(lease_until=now + LEASE, **values).returning(OwnLora.lora_id)
    return await session.scalar(written.execution_options(synchronize_session=False)) is not None


async def list_given_up(session: AsyncSession, now: datetime) -> Sequence[OwnLora]:
    """Returns and holds LoRAs whose last attempt shows no life any more; for tasks."""
    is_lost = (
        (OwnLora.state == LoraState.ASSEMBLING)
        & (OwnLora.attempt >= MOST_ATTEMPTS)
        & or_(OwnLora.lease_until.is_(None), OwnLora.lease_until <= now)
    )
    return (await session.scalars(select(OwnLora).where(is_lost).with_for_update(skip_locked=True))).all()


async def delete_expired(session: AsyncSession, now: datetime) -> int:
    """Marks uploads as deleted that were never completed, or refused long enough ago; for tasks."""
    is_over = OwnLora.state.in_(_PASSING) & (OwnLora.expire_time <= now)
    marked = update(OwnLora).where(is_over).values(state=LoraState.DELETED).returning(OwnLora.lora_id)
    return len((await session.scalars(marked.execution_options(synchronize_session=False))).all())


async def list_deleted(session: AsyncSession, now: datetime, limit: int) -> Sequence[OwnLora]:
    """Returns deleted LoRAs of all accounts to whose parts nobody has an address any more; for tasks."""
    is_gone = (
        (OwnLora.state == LoraState.DELETED)
        & (OwnLora.address_expire_time <= now)
        & or_(OwnLora.lease_until.is_(None), OwnLora.lease_until <= now)
    )
    return (await session.scalars(select(OwnLora).where(is_gone).order_by(OwnLora.lora_id).limit(limit))).all()


async def list_with_parts(session: AsyncSession, now: datetime, limit: int) -> Sequence[OwnLora]:
    """Returns LoRAs of all accounts whose parts nobody needs or can put any more; for tasks."""
    is_done = (
        OwnLora.has_parts
        & OwnLora.state.in_((LoraState.READY, LoraState.REFUSED))
        & (OwnLora.address_expire_time <= now)
    )
    return (await session.scalars(select(OwnLora).where(is_done).limit(limit))).all()


async def forget_parts(session: AsyncSession, lora_ids: Sequence[UUID]) -> None:
    """Notes that the parts of LoRAs are deleted; for tasks."""
    await session.execute(update(OwnLora).where(OwnLora.lora_id.in_(lora_ids)).values(has_parts=False))


async def delete_loras(session: AsyncSession, lora_ids: Sequence[UUID]) -> None:
    """Deletes rows of any account; for tasks."""
    await session.execute(delete(OwnLora).where(OwnLora.lora_id.in_(lora_ids)))


async def delete_account(session: AsyncSession, account_id: UUID) -> None:
    """Deletes all rows of an account; for tasks."""
    await session.execute(delete(OwnLora).where(OwnLora.account_id == account_id))


def _there(account_id: UUID, now: datetime) -> ColumnElement[bool]:
    return and_(
        OwnLora.account_id == account_id,
        or_(OwnLora.state.in_(_LASTING), OwnLora.state.in_(_PASSING) & (OwnLora.expire_time > now)),
    )
