"""The database handle: tenants apart, pools clean, limits kept, and a server that goes and comes back."""

import asyncio

import pytest
import sqlalchemy.exc
from sqlalchemy import text

from svc_common.clock import new_id
from svc_common.db import Database, try_advisory_lock
from svc_common.errors import Reason, ServiceError
from tests.factories.notes import REQUESTS, TASKS, bodies, create_notes, database, write
from tests.harness_postgres import PostgresServer, until
from tests.integration.db.interruptions import (
    assert_ends_with_its_call,
    assert_unavailable,
    cancel_inside,
)


async def test_account_sees_its_own_rows_only(requests: Database) -> None:
    ada, bob = new_id(), new_id()
    await write(requests, ada, "of ada", as_account=ada)
    await write(requests, bob, "of bob", as_account=bob)

    assert await bodies(requests, ada) == ["of ada"]
    assert await bodies(requests, bob) == ["of bob"]


async def test_transaction_without_account_sees_no_row(requests: Database) -> None:
    ada = new_id()
    await write(requests, ada, "hidden", as_account=ada)

    assert await bodies(requests, None) == []


async def test_row_of_another_account_cannot_be_written(requests: Database) -> None:
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="row-level security"):
        await write(requests, new_id(), "forged", as_account=new_id())
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="row-level security"):
        await write(requests, new_id(), "forged", as_account=None)


async def test_row_cannot_be_handed_to_another_account(requests: Database) -> None:
    ada = new_id()
    await write(requests, ada, "mine", as_account=ada)
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="row-level security"):
        async with requests.transaction(ada) as session:
            await session.execute(text("UPDATE n.notes SET account_id = :other"), {"other": new_id()})


async def test_rows_of_another_account_cannot_be_changed(requests: Database) -> None:
    ada, bob = new_id(), new_id()
    await write(requests, ada, "kept", as_account=ada)
    async with requests.transaction(bob) as session:
        await session.execute(text("DELETE FROM n.notes"))
        await session.execute(text("UPDATE n.notes SET body = 'changed'"))

    assert await bodies(requests, ada) == ["kept"]


async def test_role_for_tasks_sees_every_account(requests: Database, tasks: Database) -> None:
    ada, bob = new_id(), new_id()
    await write(requests, ada, f"{ada}", as_account=ada)
    await write(requests, bob, f"{bob}", as_account=bob)

    assert {str(ada), str(bob)} <= set(await bodies(tasks, None))


async def test_pooled_connection_forgets_the_account(requests: Database) -> None:
    ada = new_id()
    async with requests.transaction(ada) as session:
        first = await session.scalar(text("SELECT pg_backend_pid()"))
        await session.execute(text("INSERT INTO n.notes VALUES (:id, 'x')"), {"id": ada})
    with pytest.raises(RuntimeError):
        async with requests.transaction(ada):
            raise RuntimeError
    async with requests.transaction() as session:
        second = await session.scalar(text("SELECT pg_backend_pid()"))
        setting = await session.scalar(text("SELECT current_setting('app.account_id', true)"))
        rows = await session.scalar(text("SELECT count(*) FROM n.notes"))

    assert first == second, "the pool of one gave another connection"
    assert (setting, rows) == ("", 0)


async def test_transaction_without_a_statement_leaves_nothing_prepared(requests: Database) -> None:
    ada = new_id()
    await write(requests, ada, "hidden", as_account=ada)
    async with requests.transaction(ada) as session:
        await session.connection()

    assert await bodies(requests, None) == []


async def test_work_after_an_early_commit_is_for_the_same_account(requests: Database) -> None:
    ada = new_id()
    async with requests.transaction(ada) as session:
        await session.execute(text("INSERT INTO n.notes VALUES (:id, 'one')"), {"id": ada})
        await session.commit()
        rows = list(await session.scalars(text("SELECT body FROM n.notes")))

    assert rows == ["one"]


async def test_savepoint_keeps_the_account(requests: Database) -> None:
    ada = new_id()
    async with requests.transaction(ada) as session:
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            async with session.begin_nested():
                await session.execute(text("INSERT INTO n.notes VALUES (:id, NULL)"), {"id": ada})
        await session.execute(text("INSERT INTO n.notes VALUES (:id, 'kept')"), {"id": ada})

    assert await bodies(requests, ada) == ["kept"]
    assert await bodies(requests, None) == []


async def test_exception_rolls_back(requests: Database) -> None:
    ada = new_id()

    async def write_and_fail() -> None:
        async with requests.transaction(ada) as session:
            await session.execute(text("INSERT INTO n.notes VALUES (:id, 'lost')"), {"id": ada})
            raise KeyError

    with pytest.raises(KeyError):
        await write_and_fail()

    assert await bodies(requests, ada) == []


async def test_cancelled_transaction_rolls_back_and_frees_its_connection(requests: Database) -> None:
    ada = new_id()

    async def work(inside: asyncio.Event) -> None:
        async with requests.transaction(ada) as session:
            await session.execute(text("INSERT INTO n.notes VALUES (:id, 'lost')"), {"id": ada})
            inside.set()
            await session.execute(text("SELECT pg_sleep(60)"))

    await cancel_inside(work)

    assert await asyncio.wait_for(bodies(requests, ada), 5) == []


async def test_statement_ends_with_the_deadline_of_its_call(requests: Database) -> None:
    async def work() -> None:
        async with requests.transaction() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    await assert_ends_with_its_call(work)


async def test_exhausted_pool_is_overload(one_connection: Database) -> None:
    async with one_connection.transaction() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(ServiceError) as caught:
            await one_connection.ping()

    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_after is not None


async def test_constraint_violation_is_left_to_the_store(requests: Database) -> None:
    ada = new_id()
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        async with requests.transaction(ada) as session:
            await session.execute(text("INSERT INTO n.notes VALUES (:id, NULL)"), {"id": ada})


async def test_advisory_lock_is_held_by_one_at_a_time(tasks: Database, postgres: PostgresServer, notes: str) -> None:
    other = database(postgres, notes, TASKS)
    try:
        locks = tasks.advisory_lock("a"), other.advisory_lock("a"), other.advisory_lock("b")
        async with locks[0] as first, locks[1] as second, locks[2] as another:
            assert (first, second, another) == (True, False, True)
        async with other.advisory_lock("a") as after:
            assert after
    finally:
        await other.close()


async def test_advisory_lock_is_given_back_when_its_block_raises(tasks: Database) -> None:
    with pytest.raises(KeyError):
        async with tasks.advisory_lock("raised"):
            raise KeyError
    async with tasks.advisory_lock("raised") as again:
        assert again


async def test_transaction_lock_ends_with_its_transaction(
    tasks: Database, postgres: PostgresServer, notes: str
) -> None:
    other = database(postgres, notes, TASKS)
    try:
        async with tasks.transaction() as session:
            assert await try_advisory_lock(session, "t")
            async with other.transaction() as second:
                assert not await try_advisory_lock(second, "t")
        async with other.transaction() as third:
            assert await try_advisory_lock(third, "t")
    finally:
        await other.close()


async def test_server_that_is_not_there_is_an_unavailable_dependency() -> None:
    handle = Database("postgresql+asyncpg://nobody:x@127.0.0.1:1/none")
    await assert_unavailable(handle)
    await handle.close()


async def test_server_that_has_no_room_is_an_unavailable_dependency(own_postgres: PostgresServer) -> None:
    handle = database(own_postgres, await create_notes(own_postgres), REQUESTS)
    await own_postgres.execute(f"ALTER ROLE {REQUESTS} CONNECTION LIMIT 0")
    await assert_unavailable(handle)
    await own_postgres.execute(f"ALTER ROLE {REQUESTS} CONNECTION LIMIT -1")
    await handle.ping()
    await handle.close()


async def test_server_that_lets_nobody_in_is_an_unavailable_dependency(own_postgres: PostgresServer) -> None:
    """As one that is starting or recovering does; that state is too short for a test."""
    name = await create_notes(own_postgres)
    handle, inside = (database(own_postgres, name, role) for role in (REQUESTS, TASKS))
    await inside.ping()
    own_postgres.begin_shutdown()
    await assert_unavailable(handle)
    await inside.close()
    await handle.close()


async def test_handle_recovers_by_itself_after_a_crash_of_the_server(own_postgres: PostgresServer) -> None:
    name = await create_notes(own_postgres)
    handle = database(own_postgres, name, REQUESTS, pool_size=3)
    ada = new_id()
    await write(handle, ada, "before", as_account=ada)

    async def interrupted() -> None:
        async with handle.transaction(ada) as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    async def sleeps() -> bool:
        async with handle.transaction() as session:
            return bool(await session.scalar(text("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'")))

    task = asyncio.create_task(interrupted())
    await until(sleeps)
    own_postgres.kill()
    with pytest.raises(ServiceError) as during_statement:
        await task
    with pytest.raises(ServiceError) as while_down:
        await handle.ping()
    await asyncio.to_thread(own_postgres.start)

    assert await bodies(handle, ada) == ["before"]
    assert during_statement.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert while_down.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    await handle.close()


async def test_idle_connections_that_the_server_closed_are_replaced(own_postgres: PostgresServer) -> None:
    name = await create_notes(own_postgres)
    handle = database(own_postgres, name, REQUESTS, pool_size=5)
    await asyncio.gather(*[handle.ping() for _ in range(5)])
    # In a thread, since the event loop of a service lives on meanwhile: it is what notices the closed sockets.
    await asyncio.to_thread(own_postgres.kill)
    await asyncio.to_thread(own_postgres.start)

    await asyncio.gather(*[handle.ping() for _ in range(5)])
    await handle.close()
