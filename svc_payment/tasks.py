"""What payment does without being asked: it ends holds that nobody closed, and books what lapsed.

Neither is urgent. A lapsed grant can't be spent even before its sweep, since every movement books it first; a hold past
its time only keeps credits from its owner a little longer.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from svc_common.db import Database
from svc_common.sweeps import Sweep
from svc_payment.store import queries

# One round's transaction keeps the locks of so many accounts, for some 50 ms.
_ROUND_LIMIT: Final = 100


def sweeps(database: Database) -> list[Sweep]:
    """Returns payment's sweeps; `database` must see the rows of all accounts."""
    return [
        Sweep("payment.release_expired_holds", timedelta(seconds=15), _rounds(database, queries.release_expired_holds)),
        Sweep("payment.lapse_due_grants", timedelta(seconds=60), _rounds(database, queries.lapse_due_grants)),
    ]


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
