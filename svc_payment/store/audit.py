"""Checks the ledger against its invariants. An empty answer means that every credit is accounted for.

One statement, hence one snapshot: movements may go on meanwhile without looking like breaches. The checks compare
aggregates over whole tables, as a subquery for each row would take many times as long.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain import Breach

# The sums that several checks compare. An account filter of NULL means all.
_SUMS: Final = """
    WITH entry AS MATERIALIZED (
        SELECT * FROM payment.entries
        WHERE CAST(:account_id AS uuid) IS NULL OR account_id = CAST(:account_id AS uuid)
    ), transaction AS MATERIALIZED (
        SELECT * FROM payment.transactions
        WHERE CAST(:account_id AS uuid) IS NULL OR account_id = CAST(:account_id AS uuid)
    ), hold AS MATERIALIZED (
        SELECT * FROM payment.holds
        WHERE CAST(:account_id AS uuid) IS NULL OR account_id = CAST(:account_id AS uuid)
    ), grant_row AS MATERIALIZED (
        SELECT * FROM payment.grants
        WHERE CAST(:account_id AS uuid) IS NULL OR account_id = CAST(:account_id AS uuid)
    ), account AS MATERIALIZED (
        SELECT * FROM payment.accounts
        WHERE CAST(:account_id AS uuid) IS NULL OR account_id = CAST(:account_id AS uuid)
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
        WHERE issued + available + held + spent + expired <> 0
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


async def find_breaches(session: AsyncSession, *, account_id: UUID | None, limit: int) -> list[Breach]:
    """Returns the breaches of one account, or of all when it is None; at most `limit`. The role must see all rows."""
    rows = await session.execute(_FIND_BREACHES, {"account_id": account_id, "limit": limit})
    return [Breach(row.invariant, row.reference) for row in rows]
