"""What the database itself refuses: a changed journal, writing past the functions, and another account's rows."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pingvas.vocabulary import Tier
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from svc_common.clock import new_id
from svc_payment.store import models, queries
from tests.factories.ledger import Ledger, hold_terms, ledger_in
from tests.harness_postgres import DatabaseFactory

OWNED = (models.Account, models.Grant, models.Hold, models.Transaction, models.Entry, models.Entitlement)


@pytest.fixture
async def ledger(database_for: DatabaseFactory) -> AsyncIterator[Ledger]:
    async with ledger_in(await database_for("payment")) as opened:
        yield opened


async def _furnished_account(ledger: Ledger) -> UUID:
    account = new_id()
    await ledger.grant(account, 5000)
    await ledger.reserve(hold_terms(account, 1000))
    async with ledger.requests.transaction(account) as session:
        await queries.set_tier(session, account, Tier.PRO)
    return account


@pytest.mark.parametrize("table", ["transactions", "entries"])
@pytest.mark.parametrize(
    "change", ["UPDATE payment.{} SET spent = 0", "DELETE FROM payment.{}", "TRUNCATE payment.{} CASCADE"]
)
async def test_journal_refuses_change_even_by_a_superuser(ledger: Ledger, table: str, change: str) -> None:
    await _furnished_account(ledger)

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await ledger.as_admin(change.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO payment.accounts (account_id) VALUES (gen_random_uuid())",
        "UPDATE payment.accounts SET available = 10",
        "UPDATE payment.grants SET remaining = 10",
        "UPDATE payment.holds SET settled = 0",
        "DELETE FROM payment.holds",
        "INSERT INTO payment.transactions SELECT * FROM payment.transactions",
        "DELETE FROM payment.entries",
        "UPDATE payment.tiers SET running_jobs = 1000",
        "SELECT payment.lapse_grants(gen_random_uuid(), now())",
        "SELECT payment.record_transaction(gen_random_uuid(), 'grant', NULL, 1, 0, 0, now())",
        "SELECT payment.release_expired_holds(1)",
        "CREATE TABLE payment.mine ()",
        "CREATE OR REPLACE FUNCTION payment.ledger_now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    ],
)
async def test_role_for_requests_can_not_write_past_the_functions(ledger: Ledger, statement: str) -> None:
    account = await _furnished_account(ledger)

    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        async with ledger.requests.transaction(account) as session:
            await (await session.connection()).exec_driver_sql(statement)


@pytest.mark.parametrize("table", OWNED)
async def test_rows_of_other_accounts_stay_hidden_without_an_owner_check(
    ledger: Ledger, table: type[models.Base]
) -> None:
    account, _ = await _furnished_account(ledger), await _furnished_account(ledger)

    async with ledger.requests.transaction(account) as session:
        seen = (await session.scalars(select(table.account_id))).all()  # type: ignore[attr-defined]
    async with ledger.requests.transaction() as session:
        seen_by_nobody = (await session.scalars(select(table.account_id))).all()  # type: ignore[attr-defined]
    async with ledger.tasks.transaction() as session:
        seen_by_tasks = (await session.scalars(select(table.account_id))).all()  # type: ignore[attr-defined]

    assert set(seen) == {account}
    assert seen_by_nobody == []
    assert len(set(seen_by_tasks)) == 2


async def test_setting_the_tier_of_another_account_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with ledger.requests.transaction(new_id()) as session:
            await queries.set_tier(session, new_id(), Tier.ENTERPRISE)


async def test_functions_run_with_a_fixed_search_path(ledger: Ledger) -> None:
    rows = await ledger.as_admin(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'payment'::regnamespace AND prosecdef "
        "AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))"
    )
    assert rows == []


async def test_models_say_what_the_migrations_made(ledger: Ledger) -> None:
    engine = create_async_engine(ledger.place.admin_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(
                    sync,
                    opts={
                        "include_schemas": True,
                        "compare_type": True,
                        # Indexes and constraints are the migrations' own business; the version table is Alembic's.
                        "include_object": lambda _object, name, kind, _reflected, _other: (
                            kind in ("table", "column") and name != "alembic_version"
                        ),
                    },
                ),
                models.Base.metadata,
            )
        )
    await engine.dispose()
    assert differences == []
