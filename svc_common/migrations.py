"""Brings the database to what the code expects: `python -m svc_common.migrations`, run before the services start.

Makes the login roles and schemas, then runs each service's Alembic migrations. Reads ADMIN_DATABASE_URL (a role that
may create roles and owns the database) and ROLE_PASSWORDS_FILE (a JSON object: role name -> password). Any number of
these may run at once: an advisory lock lets one after the other in. When there is nothing to do it never imports
Alembic, so that it delays a start by little.
"""

import asyncio
import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from svc_common.registry import AREAS, SERVICES
from svc_common.roles import Roles, roles_of, schema_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK_KEY: Final = "pingvas.migrations"
_CONFIGURATION_ERROR_EXIT_CODE: Final = 2

_REVISION: Final = re.compile(r"^revision\b[^=]*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)
_DOWN_REVISION: Final = re.compile(r"^down_revision\b[^=]*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Area:
    """One service's part of the database."""

    name: str
    migrations: Path

    @property
    def schema(self) -> str:
        """The schema of its tables."""
        return schema_of(self.name)

    def head(self) -> str | None:
        """Returns the newest revision of the migration files, or None when there are none; reads them as text."""
        texts = [file.read_text(encoding="utf-8") for file in sorted((self.migrations / "versions").glob("*.py"))]
        revisions = [match[1] for text in texts if (match := _REVISION.search(text))]
        superseded = {match[1] for text in texts if (match := _DOWN_REVISION.search(text))}
        heads = [revision for revision in revisions if revision not in superseded]
        if len(heads) > 1:
            raise ValueError(f"the migrations of {self.name} have several heads: {', '.join(heads)}")
        return heads[0] if heads else None


def discover_areas() -> list[Area]:
    """Returns the services that have migrations."""
    areas = []
    for service in SERVICES:
        spec = importlib.util.find_spec(service.name)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            migrations = Path(location) / "store" / "migrations"
            if (migrations / "env.py").exists():
                areas.append(Area(service.area, migrations))
    return areas


async def migrate(
    admin_url: str,
    role_passwords: Mapping[str, str],
    *,
    areas: Sequence[Area] | None = None,
    role_prefix: str | None = None,
) -> list[str]:
    """Makes roles and schemas and runs pending migrations; returns the names of the areas that were changed.

    `admin_url` is a postgresql:// or postgresql+asyncpg:// URL; every role of every area needs a password. Without
    `areas` every service that has migrations takes part; without `role_prefix` role names begin with the database's.
    """
    areas = discover_areas() if areas is None else areas
    connection = await asyncpg.connect(admin_url.replace("+asyncpg", ""))
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", _LOCK_KEY)
        prefix = role_prefix or await connection.fetchval("SELECT current_database()")
        roles = {area.name: roles_of(prefix, area.name) for area in areas}
        for area in areas:
            await _ensure_roles(connection, roles[area.name], role_passwords)
            await _ensure_schema(connection, area.schema, roles[area.name])
        pending = [area for area in areas if await _version(connection, area) != area.head()]
        if pending:
            await _upgrade(admin_url, pending, roles)
        return [area.name for area in pending]
    finally:
        # Closing the connection gives the lock back.
        await connection.close()


async def ensure_roles(admin_url: str, role_passwords: Mapping[str, str]) -> None:
    """Makes the login roles of every service with these passwords, and nothing else: a restored dump grants to them."""
    connection = await asyncpg.connect(admin_url.replace("+asyncpg", ""))
    try:
        prefix = await connection.fetchval("SELECT current_database()")
        for area in AREAS:
            await _ensure_roles(connection, roles_of(prefix, area), role_passwords)
    finally:
        await connection.close()


async def _ensure_roles(connection: Any, roles: Roles, passwords: Mapping[str, str]) -> None:
    for role in (roles.requests, roles.tasks):
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        verb = "ALTER" if exists else "CREATE"
        # DDL takes no parameters; format() quotes the name and the password.
        statement = await connection.fetchval(
            "SELECT format('%s ROLE %I LOGIN NOBYPASSRLS PASSWORD %L', $1::text, $2::text, $3::text)",
            verb,
            role,
            passwords[role],
        )
        await connection.execute(statement)


async def _ensure_schema(connection: Any, schema: str, roles: Roles) -> None:
    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await connection.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO "{roles.requests}", "{roles.tasks}"')


async def _version(connection: Any, area: Area) -> str | None:
    table = f'"{area.schema}".alembic_version'
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return None
    version: str | None = await connection.fetchval(f"SELECT version_num FROM {table}")  # noqa: S608 - a constant of ours
    return version


async def _upgrade(admin_url: str, areas: list[Area], roles: Mapping[str, Roles]) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - a second of imports that most starts don't need

    url = re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", admin_url)
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            # A migration that waits for a lock makes every later query on the table wait behind it: better to fail and
            # be tried again.
            await connection.exec_driver_sql("SET lock_timeout = '2s'")
            await connection.commit()
            for area in areas:
                await connection.run_sync(_upgrade_area, area, roles[area.name])
                await connection.commit()
    finally:
        await engine.dispose()


def _upgrade_area(connection: "Connection", area: Area, roles: Roles) -> None:
    from alembic import command  # noqa: PLC0415 - as above
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection, "roles": roles})
    config.set_main_option("script_location", str(area.migrations))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def main() -> None:
    """Runs the command."""
    try:
        admin_url = os.environ["ADMIN_DATABASE_URL"]
        passwords = json.loads(Path(os.environ["ROLE_PASSWORDS_FILE"]).read_text(encoding="utf-8"))
    except (KeyError, OSError, json.JSONDecodeError) as error:
        sys.stderr.write(
            f"Set ADMIN_DATABASE_URL and ROLE_PASSWORDS_FILE (a JSON file: role name -> password): {error}\n"
        )
        sys.exit(_CONFIGURATION_ERROR_EXIT_CODE)
    changed = asyncio.run(migrate(admin_url, passwords))
    sys.stdout.write(f"migrated: {', '.join(changed)}\n" if changed else "nothing to migrate\n")


if __name__ == "__main__":
    main()
