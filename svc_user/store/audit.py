"""Owns the statements on the audit log: events are added and read, and nothing else."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain.audit import AuditKind
from svc_user.store.models import AuditEvent


async def insert_event(session: AsyncSession, event: AuditEvent) -> None:
    """Adds an event."""
    session.add(event)
    await session.flush()


async def has_event(session: AsyncSession, event_id: UUID) -> bool:
    """Returns whether an event is in the log."""
    return await session.get(AuditEvent, event_id) is not None


async def list_events(
    session: AsyncSession, *, account_id: UUID | None, kind: AuditKind | None, before: UUID | None, limit: int
) -> Sequence[AuditEvent]:
    """Returns at most `limit` events that the session's role may see, the newest first; their ids sort by time."""
    statement = select(AuditEvent)
    if account_id is not None:
        statement = statement.where(AuditEvent.account_id == account_id)
    if kind is not None:
        statement = statement.where(AuditEvent.kind == kind.value)
    if before is not None:
        statement = statement.where(AuditEvent.event_id < before)
    return (await session.scalars(statement.order_by(AuditEvent.event_id.desc()).limit(limit))).all()
