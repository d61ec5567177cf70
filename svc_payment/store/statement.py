"""Reads the journal for whoever owns it. Each function takes part in the caller's transaction."""

from dataclasses import fields
from uuid import UUID

from sqlalchemy import Date, case, cast, func, select, true
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain.ledger import GrantKind, TransactionKind
from svc_payment.domain.statement import Month, Movement, MovementFilter, Statement, Totals
from svc_payment.store.models import Entry, Grant, Hold, Transaction


async def movements(
    session: AsyncSession, account_id: UUID, selected: MovementFilter, *, before: int | None, limit: int
) -> list[Movement]:
    """Returns an account's movements, newest first; `before` is the sequence of the last one seen."""
    entries = (
        select(
            func.coalesce(func.sum(Entry.held), 0).label("held"),
            func.coalesce(func.sum(Entry.expired), 0).label("lapsed"),
            func.coalesce(func.sum(Entry.revoked), 0).label("revoked"),
            func.min(Grant.kind).filter(Entry.issued != 0).label("grant_kind"),
        )
        .join(Grant, Grant.grant_id == Entry.grant_id)
        .where(Entry.account_id == Transaction.account_id, Entry.sequence == Transaction.sequence)
        .lateral()
    )
    query = select(Transaction, entries).join(entries, true()).where(Transaction.account_id == account_id)
    if before is not None:
        query = query.where(Transaction.sequence < before)
    if selected.kinds:
        query = query.where(Transaction.kind.in_([kind.value for kind in selected.kinds]))
    if selected.hold_id is not None:
        # A hold has two movements at most, and its row knows them; the journal has no index by holds.
        own = select(func.unnest(array([Hold.reserve_sequence, Hold.close_sequence]))).where(
            Hold.account_id == account_id, Hold.hold_id == selected.hold_id
        )
        query = query.where(Transaction.sequence.in_(own))
    if selected.start_time is not None:
        query = query.where(Transaction.create_time >= selected.start_time)
    if selected.end_time is not None:
        query = query.where(Transaction.create_time < selected.end_time)
    rows = (await session.execute(query.order_by(Transaction.sequence.desc()).limit(limit))).all()
    return [
        Movement(
            transaction_id=row.Transaction.transaction_id,
            sequence=row.Transaction.sequence,
            kind=TransactionKind(row.Transaction.kind),
            hold_id=row.Transaction.hold_id,
            amount=row.Transaction.amount,
            held=int(row.held),
            spent=row.Transaction.spent,
            lapsed=int(row.lapsed),
            revoked=int(row.revoked),
            grant_kind=GrantKind(row.grant_kind) if row.grant_kind else None,
            create_time=row.Transaction.create_time,
        )
        for row in rows
    ]


async def statement(session: AsyncSession, account_id: UUID, month: Month) -> Statement:
    """Returns what a month did to an account, as one statement sees it, so that its parts fit together."""
    day = cast(func.timezone("UTC", Transaction.create_time), Date)
    given = {
        f"{kind}": -func.coalesce(func.sum(Entry.issued).filter(Grant.kind == kind.value), 0) for kind in GrantKind
    }
    query = (
        # What was before the month has no day, and makes the opening.
        select(
            case((Transaction.create_time >= month.start, day)).label("day"),
            *(amount.label(name) for name, amount in given.items()),
            func.sum(Entry.spent).label("charged"),
            func.sum(Entry.expired).label("lapsed"),
            func.sum(Entry.revoked).label("revoked"),
            func.count(Transaction.hold_id.distinct())
            .filter(Transaction.kind == TransactionKind.SETTLE.value)
            .label("charged_jobs"),
        )
        .join(Entry, (Entry.account_id == Transaction.account_id) & (Entry.sequence == Transaction.sequence))
        .join(Grant, Grant.grant_id == Entry.grant_id)
        .where(Transaction.account_id == account_id, Transaction.create_time < month.end)
        .group_by("day")
    )
    found = {
        row.day: Totals(**{each.name: int(getattr(row, each.name)) for each in fields(Totals)})
        for row in await session.execute(query)
    }
    before = found.pop(None, Totals())
    happened = {each: totals for each, totals in found.items() if totals != Totals()}
    return Statement(month, before.change, tuple(sorted(happened.items())))
