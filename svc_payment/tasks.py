"""What payment does without being asked: ends forgotten holds, books what lapsed, audits, notifies, asks the providers.

None of it is urgent. A lapsed grant can't be spent even before its sweep, since every movement books it first; a hold
past its time only keeps credits from its owner a little longer; and what providers list, they have usually reported.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_common.sweeps import Sweep
from svc_common.telemetry import LEDGER_BREACHES
from svc_payment.store import audit, queries
from svc_payment.usecases.notifying import Notifying
from svc_payment.usecases.reconciling import Reconciliation

# One round's transaction keeps the locks of so many accounts, for some 50 ms.
_ROUND_LIMIT: Final = 100
# Rows that somebody changed by hand move no credits.
_LONGEST_UNAUDITED: Final = timedelta(days=30)

_log: Final = structlog.get_logger("payment")


CATCH_UP: Final = "payment.catch_up_with_providers"
MAKE_MOVES: Final = "payment.make_moves"
FORGET_REPORTS: Final = "payment.forget_reports"


def provider_sweeps(reconciliation: Reconciliation) -> list[Sweep]:
    """Returns the sweeps that ask the providers, and that of their old reports."""
    return [
        Sweep(CATCH_UP, timedelta(minutes=10), reconciliation.catch_up),
        Sweep(MAKE_MOVES, timedelta(minutes=5), reconciliation.make_moves),
        Sweep(FORGET_REPORTS, timedelta(minutes=10), reconciliation.forget_reports),
    ]


def notice_sweeps(notifying: Notifying) -> list[Sweep]:
    """Returns the sweeps of what accounts' owners are to hear."""
    return [
        Sweep("payment.deliver_notices", timedelta(seconds=5), notifying.deliver_due),
        Sweep("payment.note_statements", timedelta(minutes=30), notifying.note_statements),
        Sweep("payment.forget_notices", timedelta(hours=1), notifying.forget),
    ]


def sweeps(database: Database) -> list[Sweep]:
    """Returns the sweeps of the ledger; `database` must see the rows of all accounts."""
    return [
        Sweep("payment.release_expired_holds", timedelta(seconds=15), _rounds(database, queries.release_expired_holds)),
        Sweep("payment.lapse_due_grants", timedelta(seconds=60), _rounds(database, queries.lapse_due_grants)),
        Sweep("payment.audit_ledger", timedelta(hours=1), _rounds(database, audit_some)),
    ]


async def audit_some(session: AsyncSession, *, limit: int) -> int:
    """Audits accounts that have moved since their last audit or had none for a month; returns how many, at most `limit`.

    Breaches are logged and counted. They are found again by the next audit of the account, not by each round.
    """
    due = await audit.due_accounts(session, age=_LONGEST_UNAUDITED, limit=limit)
    if due:
        for breach in await audit.find_breaches(session, account_ids=list(due), limit=_ROUND_LIMIT):
            LEDGER_BREACHES.labels(breach.invariant).inc()
            _log.error("ledger.breach", invariant=breach.invariant, reference=breach.reference)
        await audit.note_audits(session, due)
    return len(due)


def _rounds(database: Database, do_some: Callable[..., Awaitable[int]]) -> Callable[[], Awaitable[int]]:
    """Returns a round that goes on, a transaction at a time, until there is nothing left."""

    async def do_all() -> int:
        total = 0
        while done := await _once(database, do_some):
            total += done
        return total

    return do_all


async def _once(database: Database, do_some: Callable[..., Awaitable[int]]) -> int:
    async with database.transaction() as session:
        return await do_some(session, limit=_ROUND_LIMIT)
