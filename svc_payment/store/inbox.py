"""The inbox of the providers' reports: kept as they come, claimed one at a time.

Each function takes part in the caller's transaction, which must be of the role for tasks.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.store.models import Delivery


async def keep(
    session: AsyncSession, *, delivery_id: UUID, provider: str, name: str, body: bytes, sha256: bytes
) -> bool:
    """Keeps a report; returns whether it is new."""
    now = func.payment.ledger_now()
    row = (
        insert(Delivery)
        .values(
            delivery_id=delivery_id,
            provider=provider,
            name=name,
            body=body,
            sha256=sha256,
            receive_time=now,
            next_time=now,
        )
        .on_conflict_do_nothing(constraint="webhook_inbox_body_key")
        .returning(Delivery.delivery_id)
    )
    return (await session.execute(row)).first() is not None


async def next_due(session: AsyncSession) -> Delivery | None:
    """Returns the report that is due longest and that nobody else is applying."""
    query = (
        select(Delivery)
        .where(Delivery.state == "new", Delivery.next_time <= func.payment.ledger_now())
        .order_by(Delivery.next_time, Delivery.delivery_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def claim(session: AsyncSession, delivery_id: UUID) -> bool:
    """Keeps a report for this transaction; returns False when another has it, or it is done."""
    query = (
        select(Delivery.delivery_id)
        .where(Delivery.delivery_id == delivery_id, Delivery.state == "new")
        .with_for_update(skip_locked=True)
    )
    return (await session.execute(query)).first() is not None


async def close(session: AsyncSession, delivery_id: UUID, state: str) -> None:
    """Says what became of a report for good."""
    await _change(session, delivery_id, state=state, error=None)


async def put_off(session: AsyncSession, delivery_id: UUID, *, state: str, error: str, delay: timedelta) -> None:
    """Notes that a report couldn't be applied, and when to try again."""
    next_time = func.payment.ledger_now() + delay
    await _change(session, delivery_id, state=state, error=error, attempts=Delivery.attempts + 1, next_time=next_time)


async def forget(session: AsyncSession, *, age: timedelta, limit: int) -> int:
    """Deletes reports of that age from which nothing is to be expected any more; returns how many."""
    old = (
        select(Delivery.delivery_id)
        .where(Delivery.state.in_(("applied", "ignored")), Delivery.receive_time < func.payment.ledger_now() - age)
        .order_by(Delivery.receive_time)
        .limit(limit)
    )
    found = await session.execute(delete(Delivery).where(Delivery.delivery_id.in_(old)).returning(Delivery.delivery_id))
    return len(found.all())


async def _change(session: AsyncSession, delivery_id: UUID, **values: Any) -> None:
    await session.execute(update(Delivery).where(Delivery.delivery_id == delivery_id).values(**values))
