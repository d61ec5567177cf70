"""Measures how many holds a second are made and settled, against pgbench writing the same rows.

Both work on the same durable PostgreSQL, in turns, with as many connections and the same accounts. Ours goes through the
store as svc_payment does: reservations in groups, each settlement a transaction of its own. pgbench sends two statements for
each pair, which change the counters and the grant, and insert the hold, its two movements and their entries, without
checking anything.

`python -m bench.ledger_pairs [--database-url URL] [--rounds N] [--seconds S] [--tenants T]`; the URL is an administrator's.
Without one the local stack is started. One tenant shows what a hot account gets.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from bench.ledger import BATCH_LIMIT, DATABASE, POOL_SIZE, ledger_database, new_account
from bench.platform import platform
from studio.stack.servers.postgres import binaries
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.group_commit import GroupCommit
from svc_payment.domain.ledger import HoldTerms, Reservation, ReserveOutcome
from svc_payment.store import queries

CALLERS = 64
HELD, USED = 1125, 700
LIFETIME = timedelta(hours=25)

_PAIR = """
\\set n random(1, {accounts})
WITH account AS (
    UPDATE payment.accounts a SET available = available - {held}, held = held + {held},
        transaction_count = transaction_count + 1
    FROM bench_accounts b WHERE b.n = :n AND a.account_id = b.account_id AND a.available >= {held}
    RETURNING a.account_id, a.transaction_count AS sequence, gen_random_uuid() AS hold_id
), spent AS (
    UPDATE payment.grants g SET remaining = remaining - {held} FROM account
    WHERE g.account_id = account.account_id AND g.remaining >= {held} RETURNING g.grant_id
), transaction AS (
    INSERT INTO payment.transactions (account_id, sequence, transaction_id, kind, hold_id, amount, create_time)
    SELECT account_id, sequence, gen_random_uuid(), 'reserve', hold_id, -{held}, now() FROM account
), entry AS (
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, held)
    SELECT account_id, sequence, 1, grant_id, -{held}, {held} FROM account, spent
)
INSERT INTO payment.holds (hold_id, account_id, requested, minimum, lifetime, amount, reserve_sequence, expire_time)
SELECT hold_id, account_id, {held}, {held}, '25 hours', {held}, sequence, now() + '25 hours' FROM account
RETURNING hold_id AS made \\gset
WITH account AS (
    UPDATE payment.accounts a SET available = available + {held} - {used}, held = held - {held},
        transaction_count = transaction_count + 1
    FROM bench_accounts b WHERE b.n = :n AND a.account_id = b.account_id
    RETURNING a.account_id, a.transaction_count AS sequence
), returned AS (
    UPDATE payment.grants g SET remaining = remaining + {held} - {used} FROM account
    WHERE g.account_id = account.account_id RETURNING g.grant_id
), transaction AS (
    INSERT INTO payment.transactions (account_id, sequence, transaction_id, kind, hold_id, amount, spent, create_time)
    SELECT account_id, sequence, gen_random_uuid(), 'settle', ':made'::uuid, {held} - {used}, {used}, now() FROM account
), entry AS (
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, held, spent, available)
    SELECT account_id, sequence, 1, grant_id, -{held}, {used}, {held} - {used} FROM account, returned
)
UPDATE payment.holds h SET state = 'settled', settled = {used}, close_sequence = account.sequence
FROM account WHERE h.hold_id = ':made'::uuid;
"""


class PgBench:
    """Runs pgbench with the script against the bench's database."""

    def __init__(self, admin_url: str, accounts: list[UUID], folder: Path) -> None:
        """Writes the script and the table that numbers the accounts."""
        url = urlsplit(admin_url.replace("+asyncpg", ""))
        self._environment = {
            **os.environ,
            "PGHOST": url.hostname or "",
            "PGPORT": str(url.port or 5432),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": DATABASE,
        }
        self._script = folder / "pair.sql"
        self._script.write_text(_PAIR.format(accounts=len(accounts), held=HELD, used=USED))
        values = ", ".join(f"({n}, '{account_id}')" for n, account_id in enumerate(accounts, 1))
        self._start(
            "psql",
            *("-q", "-v", "ON_ERROR_STOP=1", "-c"),
            "CREATE TABLE bench_accounts (n int PRIMARY KEY, account_id uuid NOT NULL);"  # noqa: S608 - ids of our own
            f"INSERT INTO bench_accounts VALUES {values}; ANALYZE bench_accounts",
        )

    def run(self, seconds: float) -> float:
        """Returns the pairs a second."""
        arguments = ["-n", "-c", str(POOL_SIZE), "-j", "2", "-T", str(max(1, int(seconds)))]
        output = self._start("pgbench", *arguments, "-f", str(self._script))
        match = re.search(r"tps = ([0-9.]+)", output)
        failed = re.search(r"number of failed transactions: (\d+)", output)
        if match is None or failed is None or failed[1] != "0":
            raise RuntimeError(f"pgbench failed:\n{output}")
        return float(match[1])

    def _start(self, program: str, *arguments: str) -> str:
        command = [str(binaries() / program), *arguments]
        done = subprocess.run(command, env=self._environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


async def rate(database: Database, accounts: list[UUID], seconds: float) -> float:
    """Returns the pairs a second that the callers get, each waiting for both answers."""
    reserve = GroupCommit[HoldTerms, Reservation](partial(queries.reserve_credits, database), limit=BATCH_LIMIT).submit
    account, started = cycle(accounts), time.monotonic()

    async def caller() -> int:
        done = 0
        while time.monotonic() - started < seconds:
            terms = HoldTerms(next(account), new_id(), HELD, HELD, LIFETIME)
            answer = await reserve(terms)
            if answer.outcome is not ReserveOutcome.HELD:
                raise RuntimeError(f"not held but {answer.outcome}")
            await queries.close_hold(database, terms.account_id, terms.hold_id, used=USED)
            done += 1
        return done

    counts = await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return sum(counts) / (time.monotonic() - started)


async def measure(admin_url: str, tenants: int, rounds: int, seconds: float) -> None:
    """Prints the rates and their ratio, each round first ours and then pgbench's."""
    async with ledger_database(admin_url) as (database, _):
        accounts = [await new_account(database) for _ in range(tenants)]
        with tempfile.TemporaryDirectory() as folder:
            bench = PgBench(admin_url, accounts, Path(folder))
            pairs = [
                (await rate(database, accounts, seconds), await asyncio.to_thread(bench.run, seconds))
                for _ in range(rounds)
            ]
    ratios = [mine / other for mine, other in pairs]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"tenants {tenants}: {ours:.0f} pairs a second, pgbench {theirs:.0f}, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Prints a line for each number of tenants."""
    parser = argparse.ArgumentParser(description="Holds made and settled a second, against pgbench.")
    parser.add_argument("--database-url", help="an administrator's URL; without it the local stack is started")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each arm in a round (default: %(default)s)")
    parser.add_argument("--tenants", type=int, nargs="+", default=[64, 1])
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.database_url or stack.enter_context(platform(workers=0)).admin_database_url
        for tenants in options.tenants:
            asyncio.run(measure(url, tenants, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
