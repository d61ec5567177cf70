"""A database of notes, each of an account: the smallest that has row-level security."""

from uuid import UUID

from sqlalchemy import text

from svc_common.db import Database, rls_statements
from tests.harness_postgres import ROLE_PASSWORD, PostgresServer

REQUESTS, TASKS = "notes_requests", "notes_tasks"
NAMES = iter(range(10_000))


async def create_notes(server: PostgresServer) -> str:
    """Makes a database with one table under row-level security and returns its name."""
    name = f"notes_{next(NAMES)}"
    await server.execute(f"CREATE DATABASE {name}")
    for role in (REQUESTS, TASKS):
        await server.execute(
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}'; EXCEPTION WHEN duplicate_object THEN END $$"
        )
    statements = [
        "CREATE SCHEMA n",
        f"GRANT USAGE ON SCHEMA n TO {REQUESTS}, {TASKS}",
        "CREATE TABLE n.notes (account_id uuid NOT NULL, body text NOT NULL)",
        *rls_statements("n", "notes", REQUESTS, TASKS),
    ]
    for statement in statements:
        await server.execute(statement, database=name)
    return name


def database(
    server: PostgresServer, name: str, role: str, *, pool_size: int = 1, overflow: int = 10, wait_seconds: float = 5.0
) -> Database:
    """Returns a handle on the notes under a role."""
    url = server.url(user=role, database=name, driver="postgresql+asyncpg")
    return Database(url, pool_size=pool_size, overflow=overflow, wait_seconds=wait_seconds)


async def write(handle: Database, account_id: UUID, body: str, *, as_account: UUID | None) -> None:
    """Writes a note of one account under the setting of another."""
    async with handle.transaction(as_account) as session:
        await session.execute(
            text("INSERT INTO n.notes VALUES (:account_id, :body)"), {"account_id": account_id, "body": body}
        )


async def bodies(handle: Database, account_id: UUID | None) -> list[str]:
    """Returns the notes that an account sees."""
    async with handle.transaction(account_id) as session:
        return list(await session.scalars(text("SELECT body FROM n.notes ORDER BY body")))
