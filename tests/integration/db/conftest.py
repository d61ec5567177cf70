"""The notes of `tests.factories.notes`, seen through each of the two roles."""

from collections.abc import AsyncIterator

import pytest

from svc_common.db import Database
from tests.factories.notes import REQUESTS, TASKS, create_notes, database
from tests.harness_postgres import PostgresServer


@pytest.fixture(scope="module")
async def notes(postgres: PostgresServer) -> str:
    return await create_notes(postgres)


@pytest.fixture
async def requests(postgres: PostgresServer, notes: str) -> AsyncIterator[Database]:
    handle = database(postgres, notes, REQUESTS)
    yield handle
    await handle.close()


@pytest.fixture
async def tasks(postgres: PostgresServer, notes: str) -> AsyncIterator[Database]:
    handle = database(postgres, notes, TASKS)
    yield handle
    await handle.close()


@pytest.fixture
async def one_connection(postgres: PostgresServer, notes: str) -> AsyncIterator[Database]:
    """The notes under the requests' role, over one connection that nobody waits long for."""
    handle = database(postgres, notes, REQUESTS, overflow=0, wait_seconds=0.05)
    yield handle
    await handle.close()
