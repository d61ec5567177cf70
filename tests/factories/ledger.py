"""Offers a fresh ledger in a real database, with short ways to move credits in it and a clock to set."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from svc_common.clock import new_id
from svc_common.db import Database
from svc_payment.domain.ledger import (
    Breach,
    Closing,
    GrantKind,
    GrantOutcome,
    GrantTerms,
    HoldTerms,
    Reservation,
)
from svc_payment.domain.statement import EVERYTHING, Movement
from svc_payment.store import audit, queries, statement
from svc_payment.store.models import Grant
from tests.harness_postgres import ServiceDatabase

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one database, seen through the roles of the service."""

    place: ServiceDatabase
    requests: Database
    tasks: Database

    async def grant(
        self,
        account_id: UUID,
        amount: int,
        kind: GrantKind = GrantKind.PURCHASED,
        *,
        request_id: str | None = None,
        expire_time: datetime | None = None,
    ) -> tuple[GrantOutcome, Grant]:
        """Gives credits; without a request id the grant is a new one."""
        terms = GrantTerms(account_id, request_id or str(new_id()), kind, amount, expire_time)
        async with self.requests.transaction(account_id) as session:
            return await queries.grant_credits(session, terms)

    async def reserve(self, *items: HoldTerms) -> list[Reservation]:
        """Opens holds in one transaction."""
        return await queries.reserve_credits(self.requests, items)

    async def close(self, account_id: UUID, hold_id: UUID, used: int) -> Closing:
        """Settles a hold, or releases it when nothing was used."""
        return await queries.close_hold(self.requests, account_id, hold_id, used=used)

    async def balance(self, account_id: UUID) -> tuple[int, list[Grant]]:
        """Returns what is held, and the grants that can be spent."""
        async with self.requests.transaction(account_id) as session:
            return await queries.balance(session, account_id)

    async def available(self, account_id: UUID) -> int:
        """Returns what can be spent."""
        return sum(grant.remaining for grant in (await self.balance(account_id))[1])

    async def transactions(self, account_id: UUID) -> Sequence[Movement]:
        """Returns all that happened to an account, newest first."""
        async with self.requests.transaction(account_id) as session:
            return await statement.movements(session, account_id, EVERYTHING, before=None, limit=10_000)

    async def sweep(self, *, limit: int = 1000) -> tuple[int, int]:
        """Releases expired holds and lapses due grants; returns how many holds, and in how many accounts."""
        async with self.tasks.transaction() as session:
            released = await queries.release_expired_holds(session, limit=limit)
            return released, await queries.lapse_due_grants(session, limit=limit)

    async def breaches(self, account_id: UUID | None = None) -> list[Breach]:
        """Audits the whole ledger, or an account."""
        async with self.tasks.transaction() as session:
            return await audit.find_breaches(session, account_ids=[account_id] if account_id else None, limit=1000)

    async def as_admin(self, *statements: str) -> Any:
        """Runs statements as a superuser and returns the rows of the last one."""
        connection = await asyncpg.connect(self.place.admin_url)
        try:
            rows = [await connection.fetch(statement) for statement in statements]
            return rows[-1]
        finally:
            await connection.close()


@asynccontextmanager
async def ledger_in(place: ServiceDatabase) -> AsyncIterator[Ledger]:
    """Opens the ledger of a database."""
    ledger = Ledger(place, Database(place.requests_url, pool_size=16), Database(place.tasks_url, pool_size=2))
    try:
        yield ledger
    finally:
        await ledger.requests.close()
        await ledger.tasks.close()


def hold_terms(
    account_id: UUID,
    requested: int,
    minimum: int | None = None,
    *,
    hold_id: UUID | None = None,
    lifetime: timedelta = HOUR,
) -> HoldTerms:
    """Returns terms; without a minimum only the whole amount will do."""
    return HoldTerms(account_id, hold_id or new_id(), requested, requested if minimum is None else minimum, lifetime)


class SettableClock:
    """Stands in for the ledger's one clock by replacing the function that reads it; stands still until it is advanced."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.now = datetime.now(UTC).replace(microsecond=0)

    async def install(self) -> None:
        """Replaces the clock of this database. The owner reads the row, as the real function needs no privilege either."""
        await self._ledger.as_admin(
            "CREATE TABLE payment.test_clock (at timestamptz NOT NULL)",
            f"INSERT INTO payment.test_clock VALUES ('{self.now.isoformat()}')",  # noqa: S608 - a time of ours
            "CREATE OR REPLACE FUNCTION payment.ledger_now() RETURNS timestamptz "
            "LANGUAGE sql VOLATILE SECURITY DEFINER AS $$ SELECT at FROM payment.test_clock $$",
        )

    async def advance(self, by: timedelta) -> None:
        """Moves the time on."""
        self.now += by
        statement = f"UPDATE payment.test_clock SET at = '{self.now.isoformat()}'"  # noqa: S608 - a time of ours
        await self._ledger.as_admin(statement)
