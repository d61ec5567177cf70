"""What the database itself refuses, whatever a statement of svc_user forgets."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from svc_common.clock import new_id, now
from svc_common.db import Database
from svc_common.migrations import discover_areas, migrate
from svc_common.roles import roles_of
from svc_user import domain
from svc_user.store import queries
from svc_user.store.models import (
    AccountExport,
    ApiKey,
    AuditEvent,
    Avatar,
    Base,
    FormerEmail,
    Identity,
    LinkToken,
    Mail,
    RecoveryCode,
    RefreshToken,
    SecondFactor,
    Session,
    User,
    Welcome,
)
from svc_user.tasks import delete_expired_sessions
from tests.factories.user_service import UserService, running_user_service
from tests.harness_postgres import ROLE_PASSWORD, DatabaseFactory, PostgresServer, ServiceDatabase

TABLES = (User, Session, RefreshToken, Identity)
OTHER_TABLES = (
    *(Mail, LinkToken, Welcome, ApiKey, SecondFactor, RecoveryCode, AuditEvent, Avatar, FormerEmail),
    AccountExport,
)


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder) as running:
        yield running


@pytest.fixture(scope="module")
async def requests(service: UserService) -> AsyncIterator[Database]:
    database = Database(service.database.requests_url)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def tasks(service: UserService) -> AsyncIterator[Database]:
    database = Database(service.database.tasks_url)
    yield database
    await database.close()


async def link(requests: Database, user_id: UUID) -> None:
    """Links an identity to a user, by the request's role."""
    async with requests.transaction(user_id) as transaction:
        identity = Identity(
            identity_id=new_id(),
            account_id=user_id,
            user_id=user_id,
            provider="google",
            subject=str(user_id),
            email="",
            create_time=now(),
        )
        assert await queries.insert_identity(transaction, identity)


async def test_requests_role_sees_nothing_without_account(service: UserService, requests: Database) -> None:
    user = await service.register()
    await service.login(user.email)
    await link(requests, UUID(user.user_id))

    async with requests.transaction() as transaction:
        rows = [list(await transaction.scalars(select(table))) for table in TABLES]

    assert rows == [[]] * len(TABLES)


async def test_requests_role_sees_own_rows_only_when_query_forgets_the_owner(
    service: UserService, requests: Database
) -> None:
    stranger = await service.register()
    user = await service.register()
    for each in (stranger, user):
        await service.login(each.email)
        await link(requests, UUID(each.user_id))

    async with requests.transaction(UUID(user.account_id)) as transaction:
        rows = [list(await transaction.scalars(select(table))) for table in TABLES]

    assert [[str(row.account_id) for row in each] for each in rows] == [[user.account_id]] * len(TABLES)


async def test_account_found_by_email_shows_that_account_only(service: UserService, requests: Database) -> None:
    await service.register()
    user = await service.register()

    async with requests.transaction() as transaction:
        await queries.enter_account_by_email(transaction, user.email)
        seen = list(await transaction.scalars(select(User)))
        await queries.enter_account_by_email(transaction, "nobody@example.com")
        transaction.expunge_all()
        seen_by_nobody = list(await transaction.scalars(select(User)))

    assert [str(each.user_id) for each in seen] == [user.user_id]
    assert seen_by_nobody == []


async def test_account_entered_by_token_does_not_stay_on_the_connection(service: UserService) -> None:
    pair = await service.session()
    engine = create_async_engine(service.database.requests_url, pool_size=1)
    try:
        async with AsyncSession(engine) as session:
            await queries.enter_account_by_refresh_token(session, domain.hash_refresh_token(pair.refresh_token))
            seen_inside = len(list(await session.scalars(select(Session))))
            await session.commit()
            seen_after = len(list(await session.scalars(select(Session))))
    finally:
        await engine.dispose()

    assert (seen_inside, seen_after) == (1, 0)


async def test_requests_role_cannot_write_for_another_account(service: UserService, requests: Database) -> None:
    stranger = await service.register()
    me = await service.register()
    session = Session(
        session_id=new_id(),
        account_id=UUID(stranger.account_id),
        user_id=UUID(stranger.user_id),
        generation=1,
        rotate_time=now(),
        create_time=now(),
        expire_time=now(),
        revoke_time=None,
    )

    with pytest.raises(DBAPIError, match="row-level security"):
        async with requests.transaction(UUID(me.account_id)) as transaction:
            await queries.insert_session(transaction, session)


async def test_session_cannot_belong_to_a_user_of_another_account(service: UserService, requests: Database) -> None:
    stranger = await service.register()
    me = await service.register()
    session = Session(
        session_id=new_id(),
        account_id=UUID(me.account_id),
        user_id=UUID(stranger.user_id),
        generation=1,
        rotate_time=now(),
        create_time=now(),
        expire_time=now(),
        revoke_time=None,
    )

    with pytest.raises(DBAPIError, match="foreign key"):
        async with requests.transaction(UUID(me.account_id)) as transaction:
            await queries.insert_session(transaction, session)


@pytest.mark.parametrize("role", ["requests", "tasks"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users.audit_events SET kind = 'nothing'",
        "DELETE FROM users.audit_events",
        "TRUNCATE users.audit_events",
        "ALTER TABLE users.audit_events DISABLE ROW LEVEL SECURITY",
    ],
)
async def test_nobody_changes_what_the_audit_log_has(
    requests: Database, tasks: Database, role: str, statement: str
) -> None:
    database = requests if role == "requests" else tasks
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with database.transaction(new_id()) as transaction:
            await transaction.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users.users",
        "DELETE FROM users.sessions",
        "DELETE FROM users.refresh_tokens",
        "UPDATE users.users SET create_time = now()",
        "SELECT * FROM users.mails",
        "DELETE FROM users.mails",
        "DELETE FROM users.welcomes",
        "UPDATE users.api_keys SET scopes = '{1,2,3,4}'",
        "UPDATE users.welcomes SET grant_time = NULL",
        "INSERT INTO users.link_tokens DEFAULT VALUES",
        "UPDATE users.link_tokens SET purpose = 'reset_password'",
        "UPDATE users.users SET account_id = user_id",
        "UPDATE users.users SET role = 'administrator'",
        "UPDATE users.users SET suspend_time = NULL",
        "INSERT INTO users.users (user_id, role) VALUES (gen_random_uuid(), 'administrator')",
        "UPDATE users.refresh_tokens SET generation = 99",
        "UPDATE users.identities SET user_id = account_id",
        "UPDATE users.sessions SET create_time = now()",
        "ALTER TABLE users.users DISABLE ROW LEVEL SECURITY",
        "TRUNCATE users.users CASCADE",
    ],
)
async def test_requests_role_may_not_do_what_no_request_does(
    service: UserService, requests: Database, statement: str
) -> None:
    user = await service.register()

    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with requests.transaction(UUID(user.account_id)) as transaction:
            await transaction.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM users.users",
        "SELECT * FROM users.refresh_tokens",
        "SELECT * FROM users.identities",
        "SELECT sealed_secret FROM users.second_factors",
        "SELECT code_hash FROM users.recovery_codes",
        "SELECT subject FROM users.identities",
        "UPDATE users.users SET erase_time = now()",
        "SELECT password_hash FROM users.users",
        "UPDATE users.users SET email_verified = true",
        "SELECT user_id FROM users.link_tokens",
        "SELECT * FROM users.api_keys",
        "SELECT * FROM users.avatars",
        "SELECT users.account_by_api_key('0Ab3defG')",
        "SELECT users.account_by_email('a@example.com')",
        "SELECT users.account_by_identity('google', '1')",
        "SELECT users.account_by_refresh_token('\\x00')",
        "INSERT INTO users.sessions DEFAULT VALUES",
    ],
)
async def test_tasks_role_may_not_read_what_opens_an_account(tasks: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with tasks.transaction() as transaction:
            await transaction.execute(text(statement))


async def test_every_table_forces_row_security(service: UserService) -> None:
    connection = await asyncpg.connect(service.database.admin_url)
    try:
        unprotected = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'users'::regnamespace AND relkind = 'r' "
            "AND relname <> 'alembic_version' AND NOT (relrowsecurity AND relforcerowsecurity)"
        )
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'users'::regnamespace AND relrowsecurity"
        )
    finally:
        await connection.close()

    assert (unprotected, tables) == ([], len(TABLES) + len(OTHER_TABLES))


async def test_models_describe_what_migrations_made(service: UserService) -> None:
    engine = create_async_engine(service.database.admin_url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with engine.connect() as connection:
            differences = await connection.run_sync(_differences)
    finally:
        await engine.dispose()

    assert differences == []


async def test_accounts_are_found_when_migrating_role_is_no_superuser(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = await _database_of_ordinary_owner(postgres)

    # FORCE ROW LEVEL SECURITY binds this owner, and with it the functions that find an account.
    async with running_user_service(database, tmp_path_factory.mktemp("keys")) as service:
        pair = await service.session()
        pair = await service.refresh(pair.refresh_token)
        service.clock.advance(days=15)
        await _sweep(database, service.clock())

    assert pair.access_token
    connection = await asyncpg.connect(postgres.url(database=database.name))
    try:
        assert await connection.fetchval("SELECT count(*) FROM users.refresh_tokens") == 0
    finally:
        await connection.close()


async def _database_of_ordinary_owner(postgres: PostgresServer) -> ServiceDatabase:
    owner, name = "ordinary_owner", "ordinary"
    await postgres.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{ROLE_PASSWORD}'")
    await postgres.execute(f"CREATE DATABASE {name} OWNER {owner}")
    roles = roles_of(name, "user")
    passwords = {roles.requests: ROLE_PASSWORD, roles.tasks: ROLE_PASSWORD}
    areas = [area for area in discover_areas() if area.name == "user"]
    admin_url = postgres.url(user=owner, database=name)
    await migrate(admin_url, passwords, areas=areas)
    return ServiceDatabase(
        name=name,
        roles=roles,
        requests_url=postgres.url(user=roles.requests, database=name, driver="postgresql+asyncpg"),
        tasks_url=postgres.url(user=roles.tasks, database=name, driver="postgresql+asyncpg"),
        admin_url=admin_url,
    )


async def _sweep(database: ServiceDatabase, moment: datetime) -> None:
    tasks_database = Database(database.tasks_url)
    try:
        # The service may have been there first: it sweeps by the same clock.
        assert await delete_expired_sessions(tasks_database, moment) <= 1
    finally:
        await tasks_database.close()


def _differences(connection: Connection) -> list[object]:
    def belongs_to_us(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
        if kind == "schema":
            return name == "users"
        return kind != "table" or name != "alembic_version"

    options = {"include_schemas": True, "include_name": belongs_to_us}
    return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
