"""Migrations: roles that can log in, tables under row-level security, and any number of starts at once."""

import asyncio
import json
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from svc_common.migrations import Area, discover_areas, migrate
from svc_common.registry import AREAS
from svc_common.roles import roles_of, schema_of
from tests.harness_postgres import ROLE_PASSWORD, PostgresServer

NAMES = iter(range(10_000))
ENV = "from svc_common import alembic_env\n\nalembic_env.run({area!r})\n"
FIRST = """
from alembic import op
from svc_common.db import migration_roles, rls_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    roles = migration_roles(op)
    op.execute("CREATE TABLE gallery.things (account_id uuid NOT NULL, n int)")
    for statement in rls_statements("gallery", "things", roles.requests, roles.tasks):
        op.execute(statement)
"""
SECOND = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE gallery.things ADD COLUMN m int")
"""
BROKEN = """
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE gallery.things ADD COLUMN lost int")
    op.execute("ALTER TABLE gallery.nothing ADD COLUMN m int")
"""


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    name = f"migrations_{next(NAMES)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    return name


def passwords(database: str) -> dict[str, str]:
    roles = [roles_of(database, area) for area in AREAS]
    return {name: ROLE_PASSWORD for each in roles for name in (each.requests, each.tasks)}


def area_with(folder: Path, *versions: str) -> Area:
    """Returns an area with the given migrations; the name is one of the real ones, since schemas follow from it."""
    (folder / "versions").mkdir(exist_ok=True)
    (folder / "env.py").write_text(ENV.format(area="gallery"))
    for number, version in enumerate(versions, start=1):
        (folder / "versions" / f"{number:04}_step.py").write_text(version)
    return Area("gallery", folder)


async def columns(postgres: PostgresServer, database: str) -> list[str]:
    connection = await asyncpg.connect(postgres.url(database=database))
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'things' ORDER BY ordinal_position"
    )
    await connection.close()
    return [row["column_name"] for row in rows]


def test_every_service_with_tables_is_found() -> None:
    assert {area.name for area in discover_areas()} == set(AREAS)


async def test_real_migrations_run_from_nothing_and_then_have_nothing_to_do(
    postgres: PostgresServer, database: str
) -> None:
    url = postgres.url(database=database)

    assert set(await migrate(url, passwords(database))) == set(AREAS)
    assert await migrate(url, passwords(database)) == []


async def test_every_table_of_tenants_is_under_forced_row_security(postgres: PostgresServer, database: str) -> None:
    await migrate(postgres.url(database=database), passwords(database))
    connection = await asyncpg.connect(postgres.url(database=database))
    tables = await connection.fetch(
        """
        SELECT n.nspname || '.' || c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS is_secured
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id' AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY($1::text[])
        """,
        [schema_of(area) for area in AREAS],
    )
    await connection.close()

    assert tables, "no table has an account_id"
    assert [row["name"] for row in tables if not row["is_secured"]] == []


async def test_login_roles_own_nothing_and_cannot_bypass_row_security(postgres: PostgresServer, database: str) -> None:
    await migrate(postgres.url(database=database), passwords(database))
    connection = await asyncpg.connect(postgres.url(database=database))
    roles = await connection.fetch(
        "SELECT rolname, rolbypassrls OR rolsuper OR rolcreaterole AS is_mighty,"
        " EXISTS (SELECT 1 FROM pg_class WHERE relowner = pg_roles.oid) AS is_owner"
        " FROM pg_roles WHERE rolname = ANY($1::text[])",
        list(passwords(database)),
    )
    await connection.close()

    assert len(roles) == 2 * len(AREAS)
    assert [row["rolname"] for row in roles if row["is_mighty"] or row["is_owner"]] == []


async def test_roles_of_one_service_reach_no_schema_of_another(postgres: PostgresServer, database: str) -> None:
    await migrate(postgres.url(database=database), passwords(database))
    connection = await asyncpg.connect(postgres.url(database=database))
    reached = [
        (role, schema_of(other))
        for area in AREAS
        for role in (roles_of(database, area).requests, roles_of(database, area).tasks)
        for other in AREAS
        if other != area
        and await connection.fetchval("SELECT has_schema_privilege($1, $2, 'USAGE')", role, schema_of(other))
    ]
    await connection.close()

    assert reached == []


async def test_new_role_logs_in_with_its_password_and_a_changed_one(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    area = area_with(tmp_path, FIRST)
    role = roles_of(database, "gallery").requests
    for password in ("first made-up'; DROP", "second"):
        given = passwords(database) | {role: password}
        await migrate(postgres.url(database=database), given, areas=[area])
        connection = await asyncpg.connect(
            host="127.0.0.1", port=postgres.port, user=role, password=password, database=database
        )
        assert await connection.fetchval("SELECT count(*) FROM gallery.things") == 0
        await connection.close()


async def test_later_migration_is_added_to_earlier_ones(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    url = postgres.url(database=database)
    await migrate(url, passwords(database), areas=[area_with(tmp_path, FIRST)])
    changed = await migrate(url, passwords(database), areas=[area_with(tmp_path, FIRST, SECOND)])

    assert changed == ["gallery"]
    assert await columns(postgres, database) == ["account_id", "n", "m"]


async def test_broken_migration_leaves_the_database_at_the_one_before(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    area = area_with(tmp_path, FIRST, SECOND, BROKEN)
    with pytest.raises(Exception, match="nothing"):
        await migrate(postgres.url(database=database), passwords(database), areas=[area])

    assert await columns(postgres, database) == ["account_id", "n", "m"]


async def test_migrations_started_at_the_same_time_take_turns(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    area = area_with(tmp_path, FIRST, SECOND)
    url = postgres.url(database=database)
    changed = await asyncio.gather(*[migrate(url, passwords(database), areas=[area]) for _ in range(4)])

    assert sorted(changed) == [[], [], [], ["gallery"]]


def test_two_heads_are_refused(tmp_path: Path) -> None:
    area = area_with(tmp_path, FIRST, SECOND, SECOND.replace("0002", "0002b"))

    with pytest.raises(ValueError, match="several heads"):
        area.head()


async def test_command_migrates_the_database_that_the_environment_names(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "passwords.json"
    file.write_text(json.dumps(passwords(database)))
    url = postgres.url(database=database, driver="postgresql+asyncpg")
    environment = {"ADMIN_DATABASE_URL": url, "ROLE_PASSWORDS_FILE": str(file), "PYTHONPATH": os.pathsep.join(sys.path)}
    outputs = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "svc_common.migrations"),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        assert process.returncode == 0
        outputs.append(output.decode())

    assert outputs[0].startswith("migrated: ")
    assert outputs[1] == "nothing to migrate\n"
