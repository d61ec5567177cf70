"""Turns: who takes them follows each other, and keeps nobody else from the database meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from svc_common.clock import new_id
from svc_common.db import Database, take_turn
from tests.factories.notes import REQUESTS, bodies, database, write
from tests.harness_postgres import PostgresServer
from tests.integration.db.interruptions import assert_ends_with_its_call

_INSERT = text("INSERT INTO n.notes VALUES (:account_id, :body)")


@pytest.fixture
async def narrow(postgres: PostgresServer, notes: str) -> AsyncIterator[Database]:
    """Two connections that nobody waits long for: one for a turn, and one for everybody else."""
    handle = database(postgres, notes, REQUESTS, pool_size=2, overflow=0, wait_seconds=1.0)
    yield handle
    await handle.close()


async def test_calls_in_one_turn_leave_the_connections_to_others(narrow: Database) -> None:
    ada, bob = new_id(), new_id()
    await write(narrow, bob, "of bob", as_account=bob)
    has_turn, may_end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with narrow.transaction(ada) as session:
            await take_turn(session, "ada")
            has_turn.set()
            await may_end.wait()

    async def count_and_add() -> None:
        async with narrow.transaction(ada) as session:
            await take_turn(session, "ada")
            count = len((await session.scalars(text("SELECT body FROM n.notes"))).all())
            await session.execute(_INSERT, {"account_id": ada, "body": f"{count:02}"})

    holder = asyncio.create_task(hold())
    await has_turn.wait()
    crowd = [asyncio.create_task(count_and_add()) for _ in range(40)]
    # Time enough to take every connection that is free.
    await asyncio.sleep(0.2)
    assert await bodies(narrow, bob) == ["of bob"]
    assert not any(call.done() for call in crowd)
    may_end.set()
    await asyncio.gather(holder, *crowd)
    # Nobody was refused, and nobody counted what another was about to change.
    assert await bodies(narrow, ada) == [f"{number:02}" for number in range(40)]


async def test_processes_follow_each_other(narrow: Database, requests: Database) -> None:
    ada = new_id()

    async def count_and_add(handle: Database) -> None:
        async with handle.transaction(ada) as session:
            await take_turn(session, "two processes")
            count = len((await session.scalars(text("SELECT body FROM n.notes"))).all())
            await session.execute(_INSERT, {"account_id": ada, "body": f"{count:02}"})

    await asyncio.gather(*(count_and_add(handle) for handle in (narrow, requests) * 10))
    assert await bodies(narrow, ada) == [f"{number:02}" for number in range(20)]


async def test_turn_may_be_taken_twice_in_one_transaction(narrow: Database) -> None:
    async with asyncio.timeout(10), narrow.transaction() as session:
        await take_turn(session, "twice")
        await take_turn(session, "twice")


async def test_turn_is_given_back_by_failed_and_cancelled_transactions(narrow: Database) -> None:
    async def fail() -> None:
        async with narrow.transaction() as session:
            await take_turn(session, "given back")
            raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await fail()
    has_turn = asyncio.Event()

    async def hang() -> None:
        async with narrow.transaction() as session:
            await take_turn(session, "given back")
            has_turn.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hang())
    await has_turn.wait()
    waiting = asyncio.create_task(fail())
    await asyncio.sleep(0)
    for task in (waiting, holder):
        task.cancel()
    await asyncio.gather(holder, waiting, return_exceptions=True)
    with pytest.raises(LookupError):
        await fail()


async def test_waiting_for_a_turn_ends_with_the_deadline_of_the_call(narrow: Database) -> None:
    async def wait_for_turn() -> None:
        async with narrow.transaction() as session:
            await take_turn(session, "long")

    async with narrow.transaction() as session:
        await take_turn(session, "long")
        await assert_ends_with_its_call(wait_for_turn)
