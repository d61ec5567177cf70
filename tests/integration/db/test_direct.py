"""Statements that go to the driver itself: the same tenants, limits, errors and pool as those of a session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Integer, SmallInteger, bindparam, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.statements import Direct, Statement
from svc_generation.domain.states import JobState
from tests.factories.notes import TASKS, bodies, create_notes, database, write
from tests.harness_postgres import PostgresServer, until
from tests.integration.db.interruptions import assert_ends_with_its_call, cancel_inside

WRITE = Statement(text("INSERT INTO n.notes VALUES (CAST(:account_id AS uuid), CAST(:body AS text))"))
BODIES = Statement(text("SELECT body FROM n.notes ORDER BY body"))
SLEEP = Statement(text("SELECT pg_sleep(60)"))
PID = Statement(text("SELECT pg_backend_pid() AS pid, current_setting('app.account_id', true) AS account"))
FAIL = Statement(text("SELECT 1 / 0"))


class LateFarewells:
    """Passes bytes between clients and a server; the first end of a connection by the server is kept from its client."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.farewell = asyncio.Event()
        """Set when the server has ended a connection and the client has been sent all that came before."""
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listens on a port of its own; clients are let go at the end of the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            await asyncio.gather(self._pass(reader, server_writer), self._pass_back(server_reader, writer))
        finally:
            server_writer.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        await writer.drain()
        if self.farewell.is_set():
            writer.close()
        self.farewell.set()


async def own_bodies(handle: Database, account_id: UUID | None) -> list[str]:
    async with handle.direct(account_id) as direct:
        return [row["body"] for row in await direct.fetch(BODIES, {})]


async def test_account_sees_and_writes_its_own_rows_only(requests: Database) -> None:
    ada, bob = new_id(), new_id()
    for account_id, body in ((ada, "of ada"), (bob, "of bob")):
        async with requests.direct(account_id) as direct:
            await direct.fetch(WRITE, {"account_id": account_id, "body": body})

    assert await own_bodies(requests, ada) == ["of ada"]
    assert await own_bodies(requests, bob) == ["of bob"]
    assert await own_bodies(requests, None) == []
    assert await requests.call(BODIES, {}) == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with requests.direct(ada) as direct:
            await direct.fetch(WRITE, {"account_id": bob, "body": "forged"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await requests.call(WRITE, {"account_id": bob, "body": "forged"})


async def test_one_connection_serves_sessions_and_direct_statements_and_forgets_each_account(
    requests: Database,
) -> None:
    ada = new_id()
    await write(requests, ada, "mine", as_account=ada)
    async with requests.direct(ada) as direct:
        inside = await direct.fetch_one(PID, {})
    (alone,) = await requests.call(PID, {})

    assert inside is not None
    assert inside["account"] == ada.hex
    assert (alone["pid"], alone["account"]) == (inside["pid"], "")
    assert await bodies(requests, None) == []


async def test_exception_rolls_back_and_comes_through_as_it_is(requests: Database) -> None:
    ada = new_id()

    async def write_and_fail(fail: Callable[[Direct], Awaitable[object]]) -> None:
        async with requests.direct(ada) as direct:
            await direct.fetch(WRITE, {"account_id": ada, "body": "lost"})
            await fail(direct)

    async def refuse(_direct: Direct) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await write_and_fail(refuse)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await write_and_fail(lambda direct: direct.fetch(FAIL, {}))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await requests.call(FAIL, {})

    assert await own_bodies(requests, ada) == []


async def test_cancelled_work_rolls_back_and_frees_its_connection(requests: Database) -> None:
    ada = new_id()

    async def transaction(inside: asyncio.Event) -> None:
        async with requests.direct(ada) as direct:
            await direct.fetch(WRITE, {"account_id": ada, "body": "lost"})
            inside.set()
            await direct.fetch(SLEEP, {})

    async def statement(inside: asyncio.Event) -> None:
        inside.set()
        await requests.call(SLEEP, {})

    for work in (transaction, statement):
        await cancel_inside(work)
        assert await asyncio.wait_for(own_bodies(requests, ada), 5) == []


async def test_connection_whose_transaction_nobody_could_end_is_not_used_again(requests: Database) -> None:
    ada = new_id()
    async with requests._driver() as driver:
        (before,) = await driver.fetch(PID.sql)
        await driver.execute("BEGIN")
        await driver.execute(f"SET LOCAL app.account_id = '{ada.hex}'")
    (after,) = await requests.call(PID, {})

    assert after["pid"] != before["pid"]
    assert not after["account"]


async def test_statement_ends_with_the_deadline_of_its_call(requests: Database) -> None:
    async def transaction() -> None:
        async with requests.direct() as direct:
            await direct.fetch(SLEEP, {})

    async def statement() -> None:
        await requests.call(SLEEP, {})

    for work in (transaction, statement):
        await assert_ends_with_its_call(work)
        assert await asyncio.wait_for(own_bodies(requests, None), 5) == []


async def test_exhausted_pool_is_overload(one_connection: Database) -> None:
    async with one_connection.direct():
        with pytest.raises(ServiceError) as caught:
            await one_connection.call(BODIES, {})

    assert caught.value.reason is Reason.OVERLOADED


async def test_server_that_dies_is_unavailable_and_is_found_again(own_postgres: PostgresServer) -> None:
    name = await create_notes(own_postgres)
    handle = database(own_postgres, name, TASKS, pool_size=3)

    async def transaction() -> None:
        async with handle.direct() as direct:
            await direct.fetch(SLEEP, {})

    async def sleepers() -> bool:
        asleep = Statement(text("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'"))
        return len(await handle.call(asleep, {})) == 2

    tasks = [asyncio.create_task(transaction()), asyncio.create_task(handle.call(SLEEP, {}))]
    await until(sleepers)
    own_postgres.kill()
    answers = await asyncio.gather(*tasks, handle.call(BODIES, {}), return_exceptions=True)
    await asyncio.to_thread(own_postgres.start)

    assert [answer.reason for answer in answers if isinstance(answer, ServiceError)] == [
        Reason.DEPENDENCY_UNAVAILABLE
    ] * 3
    assert await handle.call(BODIES, {}) == []
    await handle.close()


async def test_connection_that_the_server_is_ending_is_unavailable_and_replaced(
    postgres: PostgresServer, notes: str
) -> None:
    """The server's last words have been read and the end of the stream hasn't, as happens on a busy machine."""
    between = LateFarewells(postgres.port)
    async with between.serving():
        address = make_url(postgres.url(user=TASKS, database=notes, driver="postgresql+asyncpg")).set(port=between.port)
        handle = Database(address.render_as_string(hide_password=False), pool_size=1)
        (before,) = await handle.call(PID, {})
        await postgres.execute(f"SELECT pg_terminate_backend({before['pid']})")
        await asyncio.wait_for(between.farewell.wait(), 10)
        for _ in range(3):  # turns of the loop, until the driver has read what lies in its socket
            await asyncio.sleep(0)

        with pytest.raises(ServiceError) as caught:
            await asyncio.wait_for(handle.call(PID, {}), 10)
        (after,) = await handle.call(PID, {})
        await handle.close()

    assert (caught.value.reason, type(caught.value.__cause__)) == (
        Reason.DEPENDENCY_UNAVAILABLE,
        asyncpg.InternalClientError,
    )
    assert after["pid"] != before["pid"]


async def test_parameters_constants_and_documents_arrive_as_they_were(requests: Database) -> None:
    document = [{"seed": 7, "name": "Björn"}]
    statement = Statement(
        select(
            bindparam("document", type_=JSONB()).label("document"),
            bindparam("number", type_=Integer()).label("number"),
            bindparam("state", JobState.FINALIZING, type_=SmallInteger()).label("state"),
        )
    )
    (row,) = await requests.call(statement, {"number": 5, "document": document, "unknown": "left out"})

    assert (row["document"], row["number"], row["state"]) == (document, 5, 3)
    with pytest.raises(KeyError, match="number"):
        await requests.call(statement, {"document": document})
    with pytest.raises(asyncpg.DataError):
        await requests.call(statement, {"document": document, "number": "five"})
