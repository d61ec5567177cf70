"""Measures how long the audit of a large journal takes, whole and as the hourly round does it.

The journal is made by the ledger's own functions: accounts that hold and settle again and again. The whole audit reads
every row; a round reads the accounts that have moved since, of which there are a hundred.

`python -m bench.ledger_audit [--database-url URL] [--rows N]`; the URL is an administrator's. Without one the local stack
is started.
"""

import argparse
import asyncio
import time
from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID

from bench.ledger import ledger_database, new_account
from bench.platform import platform
from svc_common.clock import new_id
from svc_common.db import Database
from svc_payment.domain.ledger import HoldTerms
from svc_payment.store import audit, queries
from svc_payment.tasks import audit_some

ACCOUNTS = 1_000
MOVED = 100
BATCH = 500
# Of a hold that is settled in part: one entry when it is made, one when it is closed.
ROWS_A_PAIR = 2


async def fill(database: Database, accounts: list[UUID], pairs: int) -> None:
    """Holds and settles, going round the accounts."""
    terms = [
        HoldTerms(accounts[number % len(accounts)], new_id(), 1_125, 750, timedelta(hours=25))
        for number in range(pairs)
    ]
    for batch in _batches(terms):
        await queries.reserve_credits(database, batch)
        await asyncio.gather(*(queries.close_hold(database, each.account_id, each.hold_id, used=700) for each in batch))


def _batches(terms: list[HoldTerms]) -> list[list[HoldTerms]]:
    return [terms[start : start + BATCH] for start in range(0, len(terms), BATCH)]


async def whole_audit(tasks: Database) -> float:
    """Returns the seconds of one whole audit."""
    started = time.monotonic()
    async with tasks.transaction() as session:
        breaches = await audit.find_breaches(session, account_ids=None, limit=1)
    if breaches:
        raise RuntimeError(f"the ledger is broken: {breaches}")
    return time.monotonic() - started


async def rounds(tasks: Database) -> float:
    """Returns the seconds that the round takes until no account is left."""
    started, done = time.monotonic(), 1
    while done:
        async with tasks.transaction() as session:
            done = await audit_some(session, limit=100)
    return time.monotonic() - started


async def measure(admin_url: str, rows: int) -> None:
    """Prints the three figures."""
    async with ledger_database(admin_url) as (database, tasks):
        accounts = [await new_account(database) for _ in range(ACCOUNTS)]
        await fill(database, accounts, rows // ROWS_A_PAIR)
        print(f"{rows} journal rows of {ACCOUNTS} accounts")
        print(f"whole audit: {await whole_audit(tasks):.2f} s")
        print(f"first rounds, every account: {await rounds(tasks):.2f} s")
        await fill(database, accounts[:MOVED], MOVED)
        print(f"next round, {MOVED} accounts that moved: {await rounds(tasks):.2f} s")


def main() -> None:
    """Fills a ledger and prints how long its audits take."""
    parser = argparse.ArgumentParser(description="Seconds of an audit of the ledger.")
    parser.add_argument("--database-url", help="an administrator's URL; without it the local stack is started")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the journal (default: %(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.database_url or stack.enter_context(platform(workers=0)).admin_database_url
        asyncio.run(measure(url, options.rows))


if __name__ == "__main__":
    main()
