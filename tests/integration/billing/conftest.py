"""A running shop with Lemon Squeezy's stand-in; tests of the other provider have a fixture of the same name."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.factories.shop import Shop, running_shop
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_service import Identities


@pytest.fixture
async def shop(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Shop]:
    place = await database_for("payment")
    async with running_shop(place, identities, redis_server.url, tmp_path) as running:
        yield running
