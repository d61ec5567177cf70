"""The files of functions show what the migrations have made, and a migration can make what a file says."""

import asyncpg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from svc_common.functions import function_files, replace_function
from tests.harness_postgres import DatabaseFactory

AREAS = ("payment", "generation")
DEFINITIONS = """
SELECT p.oid::regprocedure::text, p.proname, pg_get_functiondef(p.oid), p.proacl::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 ORDER BY 1
"""


@pytest.mark.parametrize("area", AREAS)
async def test_files_are_the_functions_that_the_migrations_make(area: str, database_for: DatabaseFactory) -> None:
    connection = await asyncpg.connect((await database_for(area)).admin_url)
    try:
        before = await connection.fetch(DEFINITIONS, area)
        for file in function_files(area):
            await connection.execute(file.read_text(encoding="utf-8"))
        after = await connection.fetch(DEFINITIONS, area)
    finally:
        await connection.close()
    assert {row["proname"] for row in before} == {file.stem for file in function_files(area)}
    assert after == before


async def test_migration_makes_a_function_what_its_file_says(database_for: DatabaseFactory) -> None:
    database = await database_for("payment")
    engine = create_async_engine(database.admin_url.replace("postgresql://", "postgresql+asyncpg://"))

    def change(connection: Connection) -> None:
        definition = "SELECT pg_get_functiondef('payment.ledger_now'::regproc)"
        before = connection.exec_driver_sql(definition).scalar_one()
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION payment.ledger_now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT now() $$"
        )
        with Operations.context(MigrationContext.configure(connection)):
            replace_function("payment", "ledger_now")
        assert connection.exec_driver_sql(definition).scalar_one() == before

    try:
        async with engine.connect() as connection:
            await connection.run_sync(change)
    finally:
        await engine.dispose()
