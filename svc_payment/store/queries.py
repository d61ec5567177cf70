"""Reads and moves credits. Each function takes part in the caller's transaction, but for the two that every job waits for.

A movement is one call of a database function; what it does is written there (migrations). Amounts are millicredits.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from pingvas.vocabulary import Tier
from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_common.statements import Statement
from svc_payment.domain.ledger import (
    SPENDING_PRIORITY,
    CloseOutcome,
    Closing,
    GrantOutcome,
    GrantTerms,
    Hold,
    HoldState,
    HoldTerms,
    Reservation,
    ReserveOutcome,
)
from svc_payment.store.models import Account, Entitlement, Grant, TierLimits

# The casts tell the driver the types, which it can't infer from an empty or mixed list.
_GRANT_CREDITS: Final = text("""
    SELECT * FROM payment.grant_credits(
        :account_id, :request_id, :kind, CAST(:priority AS smallint), :amount, CAST(:expire_time AS timestamptz))
""")
_RESERVE_CREDITS: Final = Statement(
    text("""
    SELECT * FROM payment.reserve_credits(
        CAST(:account_ids AS uuid[]), CAST(:hold_ids AS uuid[]), CAST(:requested AS bigint[]),
        CAST(:minimums AS bigint[]), CAST(:lifetimes AS interval[]))
""")
)
_CLOSE_HOLD: Final = Statement(
    text("SELECT * FROM payment.close_hold(CAST(:account_id AS uuid), CAST(:hold_id AS uuid), CAST(:used AS bigint))")
)
_OPEN_HOLDS: Final = Statement(
    text("""
    SELECT account_id, hold_id, state, amount, settled, expire_time FROM payment.holds
    WHERE state = 'held' AND expire_time - lifetime < CAST(:held_before AS timestamptz)
        AND (expire_time, hold_id) > (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid))
    ORDER BY expire_time, hold_id LIMIT CAST(:most AS integer)
""")
)
_BEFORE_ALL: Final = (datetime.min.replace(tzinfo=UTC), UUID(int=0))
_RELEASE_EXPIRED_HOLDS: Final = text("SELECT payment.release_expired_holds(:limit)")
_LAPSE_DUE_GRANTS: Final = text("SELECT payment.lapse_due_grants(:limit)")


async def grant_credits(session: AsyncSession, terms: GrantTerms) -> tuple[GrantOutcome, Grant]:
    """Gives credits, and returns the grant of that request id as it is now: on CONFLICT the one with other terms."""
    parameters = {
        "account_id": terms.account_id,
        "request_id": terms.request_id,
        "kind": terms.kind,
        "priority": SPENDING_PRIORITY[terms.kind],
        "amount": terms.amount,
        "expire_time": terms.expire_time,
    }
    answer = (await session.execute(_GRANT_CREDITS, parameters)).one()
    # A statement of its own: one that calls a function doesn't see the rows which that function inserts.
    grant = (await session.execute(select(Grant).where(Grant.grant_id == answer.grant_id))).scalar_one()
    return GrantOutcome(answer.outcome), grant


async def reserve_credits(database: Database, items: Sequence[HoldTerms]) -> list[Reservation]:
    """Opens many holds in one transaction, each as if it came alone; returns their answers in the same order.

    It needs no account in the transaction's setting: the database's function locks and reads each item's account by
    itself.
    """
    parameters = {
        "account_ids": [item.account_id for item in items],
        "hold_ids": [item.hold_id for item in items],
        "requested": [item.requested for item in items],
        "minimums": [item.minimum for item in items],
        "lifetimes": [item.lifetime for item in items],
    }
    rows = await database.call(_RESERVE_CREDITS, parameters)
    answers = {row["number"]: row for row in rows}
    return [_reservation(item, answers[number]) for number, item in enumerate(items, start=1)]


async def close_hold(database: Database, account_id: UUID, hold_id: UUID, *, used: int) -> Closing:
    """Settles a hold for what was used, at most the hold, or releases it when nothing was used, in one transaction.

    It needs no account in the transaction's setting, like `reserve_credits`.
    """
    parameters = {"account_id": account_id, "hold_id": hold_id, "used": used}
    (row,) = await database.call(_CLOSE_HOLD, parameters)
    outcome = CloseOutcome(row["outcome"])
    return Closing(outcome, None if outcome is CloseOutcome.MISSING else _hold(account_id, hold_id, row))


async def open_holds(
    database: Database, *, held_before: datetime, after: tuple[datetime, UUID] | None, limit: int
) -> list[Hold]:
    """Returns open holds of all accounts that were made before a moment, in the order of their expiry.

    `after` is the expiry and the id of the last one seen; `database` must see the rows of all accounts.
    """
    after_time, after_id = after or _BEFORE_ALL
    parameters = {"held_before": held_before, "after_time": after_time, "after_id": after_id, "most": limit}
    rows = await database.call(_OPEN_HOLDS, parameters)
    return [_hold(row["account_id"], row["hold_id"], row) for row in rows]


async def balance(session: AsyncSession, account_id: UUID) -> tuple[int, list[Grant]]:
    """Returns what open holds have set aside, and the grants that can be spent, in their order of spending.

    One statement and so one moment: between two, a movement could be counted twice or not at all. Grants that lapsed
    are left out even before a sweep has booked that.
    """
    spendable = and_(
        Grant.account_id == Account.account_id,
        Grant.remaining > 0,
        or_(Grant.expire_time.is_(None), Grant.expire_time > func.payment.ledger_now()),
    )
    query = (
        select(Account.held, Grant)
        .outerjoin(Grant, spendable)
        .where(Account.account_id == account_id)
        .order_by(Grant.priority, Grant.expire_time, Grant.sequence)
    )
    rows = (await session.execute(query)).all()
    return (rows[0].held if rows else 0), [row.Grant for row in rows if row.Grant is not None]


async def ledger_now(session: AsyncSession) -> datetime:
    """Returns the time by the ledger's clock."""
    return (await session.execute(select(func.payment.ledger_now()))).scalar_one()  # type: ignore[no-any-return]


async def tier_limits(session: AsyncSession, tier: Tier) -> TierLimits:
    """Returns the limits of a tier."""
    return (await session.execute(select(TierLimits).where(TierLimits.tier == tier.label))).scalar_one()


async def set_tier(session: AsyncSession, account_id: UUID, tier: Tier) -> None:
    """Puts an account on a tier, whatever it subscribes to."""
    row = insert(Entitlement).values(account_id=account_id, tier=tier.label)
    await session.execute(
        row.on_conflict_do_update(index_elements=[Entitlement.account_id], set_={"tier": row.excluded.tier})
    )


async def release_expired_holds(session: AsyncSession, *, limit: int) -> int:
    """Releases holds that nobody closed in time, the oldest first; returns how many, at most `limit`."""
    return (await session.execute(_RELEASE_EXPIRED_HOLDS, {"limit": limit})).scalar_one()  # type: ignore[no-any-return]


async def lapse_due_grants(session: AsyncSession, *, limit: int) -> int:
    """Takes away what is left of grants past their expiry; returns in how many accounts, at most `limit`."""
    return (await session.execute(_LAPSE_DUE_GRANTS, {"limit": limit})).scalar_one()  # type: ignore[no-any-return]


def _reservation(terms: HoldTerms, row: asyncpg.Record) -> Reservation:
    outcome = ReserveOutcome(row["outcome"])
    has_hold = outcome in (ReserveOutcome.HELD, ReserveOutcome.REPLAYED)
    return Reservation(outcome, _hold(terms.account_id, terms.hold_id, row) if has_hold else None, row["balance"])


def _hold(account_id: UUID, hold_id: UUID, row: asyncpg.Record) -> Hold:
    columns: dict[str, Any] = {name: row[name] for name in ("amount", "settled", "expire_time")}
    return Hold(account_id=account_id, hold_id=hold_id, state=HoldState(row["state"]), **columns)
