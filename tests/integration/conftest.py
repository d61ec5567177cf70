"""The platform that the tests of svc_generation and of the worker share: one a module, with a Redis that it may kill."""

from collections.abc import AsyncIterator

import pytest

from svc_common.events import EventPublisher
from svc_common.redis_client import connect
from tests.factories.actors import WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    """A server of the module's own, which its platform starts."""
    return RedisServer(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
async def platform(
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """svc_generation and the services that it needs, in this process, on real servers."""
    own_redis.start()
    folder = tmp_path_factory.mktemp("models")
    try:
        async with running_platform(database_for, identities, own_redis, s3_server, folder) as running:
            yield running
    finally:
        own_redis.stop()


@pytest.fixture
async def publisher(own_redis: RedisServer) -> AsyncIterator[EventPublisher]:
    """Publishes progress as a worker does."""
    async with connect(own_redis.url) as redis:
        yield EventPublisher(redis)


@pytest.fixture
def worker(platform: Platform) -> WorkerClient:
    """Calls the workers' service."""
    return WorkerClient(platform)
