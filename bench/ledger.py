"""Measures what group commit gives the ledger: reservations a second with it, and with a transaction for each.

Both arms do the same through the store, in turns, on one durable PostgreSQL; the connection pool is as in production. No
gRPC takes part, so this is the ceiling of LedgerService.ReserveCredits.

`python -m bench.ledger [--database-url URL] [--rounds N] [--seconds S]`; the URL is an administrator's. Without one the
local stack is started.
"""

import argparse
import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import cycle
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from bench.platform import platform
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.group_commit import GroupCommit
from svc_common.migrations import discover_areas, migrate
from svc_common.roles import roles_of
from svc_payment.domain.ledger import GrantKind, GrantTerms, HoldTerms, Reservation, ReserveOutcome
from svc_payment.store import queries

BATCH_LIMIT = 64
CONCURRENCIES = (1, 8, 32, 64)
ACCOUNT_COUNTS = (256, 1)
POOL_SIZE = 10
DATABASE = "pingvas_ledger_bench"

Arm = Callable[[HoldTerms], Awaitable[Reservation]]


async def rate(arm: Arm, accounts: Sequence[UUID], concurrency: int, seconds: float) -> float:
    """Returns the reservations a second that so many callers get, each waiting for its answer."""
    account = cycle(accounts)
    started = time.monotonic()

    async def caller() -> int:
        done = 0
        while time.monotonic() - started < seconds:
            terms = HoldTerms(next(account), new_id(), requested=1125, minimum=750, lifetime=timedelta(hours=25))
            answer = await arm(terms)
            if answer.outcome is not ReserveOutcome.HELD:
                raise RuntimeError(f"not held but {answer.outcome}")
            done += 1
        return done

    counts = await asyncio.gather(*(caller() for _ in range(concurrency)))
    return sum(counts) / (time.monotonic() - started)


async def compare(database: Database, rounds: int, seconds: float) -> None:
    """Prints a row for each number of accounts and of callers."""
    commit = partial(queries.reserve_credits, database)

    async def alone(terms: HoldTerms) -> Reservation:
        (answer,) = await commit([terms])
        return answer

    grouped = GroupCommit[HoldTerms, Reservation](commit, limit=BATCH_LIMIT).submit
    print("accounts  callers  alone/s  grouped/s  ratio (min to max)")
    for account_count in ACCOUNT_COUNTS:
        accounts = [await new_account(database) for _ in range(account_count)]
        for concurrency in CONCURRENCIES:
            measured = partial(rate, accounts=accounts, concurrency=concurrency, seconds=seconds)
            pairs = [(await measured(alone), await measured(grouped)) for _ in range(rounds)]
            ratios = [mine / other for other, mine in pairs]
            single, group = (statistics.median(column) for column in zip(*pairs, strict=True))
            print(
                f"{account_count:8}  {concurrency:7}  {single:7.0f}  {group:9.0f}  "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


async def new_account(database: Database) -> UUID:
    """Returns a new account with more credits than the run can hold."""
    account_id = new_id()
    async with database.transaction(account_id) as session:
        await queries.grant_credits(session, GrantTerms(account_id, "bench", GrantKind.PURCHASED, 10**12, None))
    return account_id


@asynccontextmanager
async def ledger_database(admin_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Makes a database of its own on the server, yields it for requests and for tasks, and drops it."""
    admin_url = admin_url.replace("+asyncpg", "")
    admin = await asyncpg.connect(admin_url)
    roles = roles_of(DATABASE, "payment")
    password = secrets.token_hex()
    bench_url = urlsplit(admin_url)._replace(path=f"/{DATABASE}")
    await admin.execute(f'DROP DATABASE IF EXISTS "{DATABASE}" WITH (FORCE)')
    await admin.execute(f'CREATE DATABASE "{DATABASE}"')
    try:
        areas = [area for area in discover_areas() if area.name == "payment"]
        await migrate(bench_url.geturl(), {roles.requests: password, roles.tasks: password}, areas=areas)
        place = bench_url.netloc.rpartition("@")[2]
        opened = [
            Database(
                bench_url._replace(scheme="postgresql+asyncpg", netloc=f"{role}:{password}@{place}").geturl(),
                pool_size=POOL_SIZE,
            )
            for role in (roles.requests, roles.tasks)
        ]
        yield opened[0], opened[1]
        for database in opened:
            await database.close()
    finally:
        await admin.execute(f'DROP DATABASE "{DATABASE}" WITH (FORCE)')
        for role in (roles.requests, roles.tasks):
            await admin.execute(f'DROP ROLE "{role}"')
        await admin.close()


async def measure(admin_url: str, rounds: int, seconds: float) -> None:
    """Measures in a database of its own."""
    async with ledger_database(admin_url) as (database, _):
        await compare(database, rounds, seconds)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description="Reservations a second, with group commit and without.")
    parser.add_argument("--database-url", help="an administrator's URL; without it the local stack is started")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each arm in a round (default: %(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.database_url or stack.enter_context(platform(workers=0)).admin_database_url
        asyncio.run(measure(url, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
