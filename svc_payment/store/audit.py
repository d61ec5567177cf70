"""Checks the ledger against its invariants. An empty answer means that every credit is accounted for.

One statement, hence one snapshot: movements may go on meanwhile without looking like breaches. The checks compare
aggregates over whole tables, as a subquery for each row would take many times as long.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain.ledger import Breach
from svc_payment.store.models import Account, Audit

# The sums that several checks compare. A filter of NULL means all accounts.
_SUMS: Final = """
    WITH entry AS MATERIALIZED (
        SELECT * FROM payment.entries
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), transaction AS MATERIALIZED (
        SELECT * FROM payment.transactions
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), hold AS MATERIALIZED (
        SELECT * FROM payment.holds
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), grant_row AS MATERIALIZED (
        SELECT * FROM payment.grants
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), account AS MATERIALIZED (
        SELECT * FROM payment.accounts
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), clawback AS MATERIALIZED (
        SELECT * FROM payment.clawbacks
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), invoice AS MATERIALIZED (
        SELECT * FROM payment.invoices
        WHERE CAST(:account_ids AS uuid[]) IS NULL OR account_id = ANY (CAST(:account_ids AS uuid[]))
    ), by_transaction AS MATERIALIZED (
        SELECT account_id, sequence, sum(available) AS available, sum(held) AS held, sum(spent) AS spent
        FROM entry GROUP BY account_id, sequence
    ), by_account AS MATERIALIZED (
        SELECT account_id, sum(available) AS available, sum(held) AS held FROM entry GROUP BY account_id
    ), by_grant AS MATERIALIZED (
        SELECT grant_id, -sum(issued) AS issued, sum(available) AS available, sum(held) AS held
        FROM entry GROUP BY grant_id
    ), counted AS MATERIALIZED (
        SELECT account_id, count(*) AS number, max(sequence) AS last FROM transaction GROUP BY account_id
    ), open_holds AS MATERIALIZED (
        SELECT account_id, sum(amount) AS held FROM hold WHERE state = 'held' GROUP BY account_id
    )
"""

# Invariant -> the rows that break it. FULL JOIN where either side may be what is missing.
_CHECKS: Final = {
    "entry_not_balanced": """
        SELECT account_id || '/' || sequence || '/' || ordinal FROM entry
        WHERE issued + available + held + spent + expired + revoked <> 0
    """,
    "entry_without_transaction": """
        SELECT DISTINCT e.account_id || '/' || e.sequence
        FROM entry e LEFT JOIN transaction t USING (account_id, sequence) WHERE t.sequence IS NULL
    """,
    "entry_of_foreign_grant": """
        SELECT DISTINCT e.account_id || '/' || e.sequence
        FROM entry e LEFT JOIN grant_row g USING (grant_id) WHERE g.account_id IS DISTINCT FROM e.account_id
    """,
    "transaction_differs_from_entries": """
        SELECT t.account_id || '/' || t.sequence
        FROM transaction t LEFT JOIN by_transaction e USING (account_id, sequence)
        WHERE (e.available, e.spent) IS DISTINCT FROM (t.amount::numeric, t.spent::numeric)
    """,
    "transaction_missing": """
        SELECT coalesce(a.account_id, c.account_id)::text FROM account a FULL JOIN counted c USING (account_id)
        WHERE (a.transaction_count, a.transaction_count)
            IS DISTINCT FROM (coalesce(c.number, 0), coalesce(c.last, 0))
    """,
    "grant_amount_differs_from_journal": """
        SELECT coalesce(g.grant_id, e.grant_id)::text FROM grant_row g FULL JOIN by_grant e USING (grant_id)
        WHERE g.amount::numeric IS DISTINCT FROM e.issued
    """,
    "grant_remaining_differs_from_journal": """
        SELECT coalesce(g.grant_id, e.grant_id)::text FROM grant_row g FULL JOIN by_grant e USING (grant_id)
        WHERE g.remaining::numeric IS DISTINCT FROM e.available
    """,
    "grant_below_zero": "SELECT grant_id::text FROM by_grant WHERE available < 0 OR held < 0",
    "available_differs_from_journal": """
        SELECT coalesce(a.account_id, e.account_id)::text FROM account a FULL JOIN by_account e USING (account_id)
        WHERE a.available IS DISTINCT FROM coalesce(e.available, 0)
    """,
    "held_differs_from_journal": """
        SELECT coalesce(a.account_id, e.account_id)::text FROM account a FULL JOIN by_account e USING (account_id)
        WHERE a.held IS DISTINCT FROM coalesce(e.held, 0)
    """,
    "held_differs_from_holds": """
        SELECT coalesce(a.account_id, h.account_id)::text FROM account a FULL JOIN open_holds h USING (account_id)
        WHERE a.held IS DISTINCT FROM coalesce(h.held, 0)
    """,
    "account_below_zero": "SELECT account_id::text FROM account WHERE available < 0 OR held < 0",
    "hold_differs_from_slices": """
        SELECT h.hold_id::text FROM hold h
        LEFT JOIN transaction t ON t.account_id = h.account_id AND t.sequence = h.reserve_sequence
            AND t.kind = 'reserve' AND t.hold_id = h.hold_id
        LEFT JOIN by_transaction e ON e.account_id = t.account_id AND e.sequence = t.sequence
        WHERE e.held IS DISTINCT FROM h.amount::numeric
    """,
    # The state says which kind of transaction must have closed the hold, and that one what it spent and gave up.
    "hold_differs_from_closing": """
        SELECT h.hold_id::text FROM hold h
        LEFT JOIN transaction t ON t.account_id = h.account_id AND t.sequence = h.close_sequence
            AND t.hold_id = h.hold_id AND (h.state, t.kind) IN (('settled', 'settle'), ('released', 'release'))
        LEFT JOIN by_transaction e ON e.account_id = t.account_id AND e.sequence = t.sequence
        WHERE CASE WHEN h.state = 'held' THEN h.close_sequence IS NOT NULL OR h.settled <> 0
            ELSE (e.spent, e.held) IS DISTINCT FROM (h.settled::numeric, -h.amount::numeric) END
    """,
    "clawback_differs_from_journal": """
        SELECT coalesce(c.account_id, e.account_id)::text
        FROM (SELECT account_id, sum(recovered) AS recovered FROM clawback GROUP BY account_id) AS c
        FULL JOIN (SELECT account_id, sum(revoked) AS revoked FROM entry GROUP BY account_id) AS e USING (account_id)
        WHERE coalesce(c.recovered, 0) IS DISTINCT FROM coalesce(e.revoked, 0)
    """,
    # Each payment has one grant, of its credits. That there is no second one is seen to by the grants' key.
    "invoice_without_grant": """
        SELECT i.provider || ':' || i.invoice_id FROM invoice i
        LEFT JOIN grant_row g ON g.account_id = i.account_id AND g.request_id = i.provider || ':' || i.invoice_id
        WHERE i.credits IS DISTINCT FROM g.amount
    """,
    "transaction_without_hold": """
        SELECT t.account_id || '/' || t.sequence FROM transaction t LEFT JOIN hold h USING (hold_id)
        WHERE t.hold_id IS NOT NULL
            AND CASE t.kind WHEN 'reserve' THEN h.reserve_sequence ELSE h.close_sequence END IS DISTINCT FROM t.sequence
    """,
}


def _statement() -> str:
    checks = (
        f"SELECT '{name}' AS invariant, broken.reference FROM ({rows}) AS broken (reference)"  # noqa: S608 - constants
        for name, rows in _CHECKS.items()
    )
    return f"{_SUMS} {' UNION ALL '.join(checks)} LIMIT :limit"


_FIND_BREACHES: Final = text(_statement())


async def find_breaches(session: AsyncSession, *, account_ids: Sequence[UUID] | None, limit: int) -> list[Breach]:
    """Returns the breaches of some accounts, or of all when it is None; at most `limit`. The role must see all rows."""
    ids = None if account_ids is None else list(account_ids)
    rows = await session.execute(_FIND_BREACHES, {"account_ids": ids, "limit": limit})
    return [Breach(row.invariant, row.reference) for row in rows]


async def due_accounts(session: AsyncSession, *, age: timedelta, limit: int) -> dict[UUID, int]:
    """Returns accounts that have moved since their last audit, or had none for `age`, with their numbers of movements."""
    query = (
        select(Account.account_id, Account.transaction_count)
        .outerjoin(Audit, Audit.account_id == Account.account_id)
        .where(
            or_(
                Audit.account_id.is_(None),
                Audit.transaction_count != Account.transaction_count,
                Audit.audit_time < func.payment.ledger_now() - age,
            )
        )
        .order_by(Audit.audit_time.nulls_first())
        .limit(limit)
    )
    return {row.account_id: row.transaction_count for row in await session.execute(query)}


async def note_audits(session: AsyncSession, counts: Mapping[UUID, int]) -> None:
    """Notes that accounts were audited when they had so many movements, or more."""
    now = func.payment.ledger_now()
    rows = [
        {"account_id": account_id, "transaction_count": count, "audit_time": now}
        for account_id, count in counts.items()
    ]
    row = insert(Audit).values(rows)
    changes = {name: row.excluded[name] for name in ("transaction_count", "audit_time")}
    await session.execute(row.on_conflict_do_update(index_elements=[Audit.account_id], set_=changes))
