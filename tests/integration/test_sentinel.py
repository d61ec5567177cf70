"""A Redis with Sentinels whose primary is killed under load: no acknowledged job is lost, and the queue moves again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import structlog
from pingvas.generation.v1 import job_pb2

from svc_common.redis_client import REDIS_ERRORS, connect
from tests.factories.actors import Operator, Person
from tests.factories.platform import Platform, running_platform
from tests.factories.working import working
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_s3 import S3Server
from tests.harness_sentinel import SentinelCluster
from tests.harness_service import Identities

_log = structlog.get_logger(__name__)

WITHIN_SECONDS = 200.0
"""Far above what it takes: the machine may be ten times slower than usual."""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelCluster]:
    made = SentinelCluster(tmp_path_factory.mktemp("sentinel"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def sentinel_platform(
    database_for: DatabaseFactory,
    identities: Identities,
    cluster: SentinelCluster,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    folder = tmp_path_factory.mktemp("models")
    async with running_platform(database_for, identities, cluster, s3_server, folder) as running:
        yield running


async def until_another_is_primary(cluster: SentinelCluster, killed: int) -> None:
    """Waits until the Sentinel that is asked has heard of it: one of the others may have led the election."""

    async def is_another() -> bool:
        return await asyncio.to_thread(cluster.primary) != killed

    await until(is_another, within_seconds=WITHIN_SECONDS)


async def submitting(person: Person, acknowledged: list[str], stop: asyncio.Event) -> None:
    """Submits until it is told to stop; what was refused is no promise."""
    while not stop.is_set():
        try:
            acknowledged.append((await person.create()).job_id)
            await asyncio.sleep(0.05)
        except grpc.aio.AioRpcError as refused:
            if refused.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
                raise
            await asyncio.sleep(0.1)


@pytest.mark.timeout(600)
async def test_no_acknowledged_job_is_lost_when_the_primary_dies_under_load(
    sentinel_platform: Platform, cluster: SentinelCluster
) -> None:
    person = await Person.arrive(sentinel_platform, credits_held=1_000_000_000, tier="enterprise")
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def have_ended(count: int) -> bool:
        jobs = [await person.get(job_id) for job_id in acknowledged]
        return sum(job.state == job_pb2.JOB_STATE_COMPLETED for job in jobs) >= count

    async with working(sentinel_platform):
        load = asyncio.create_task(submitting(person, acknowledged, stop))
        await until(lambda: have_ended(2), within_seconds=WITHIN_SECONDS)
        before = len(acknowledged)
        killed = await asyncio.to_thread(cluster.kill_primary)
        since = time.monotonic()

        async def moves() -> bool:
            later = [await person.get(job_id) for job_id in acknowledged[before:]]
            return any(job.state == job_pb2.JOB_STATE_COMPLETED for job in later)

        await until(moves, within_seconds=WITHIN_SECONDS)
        _log.info("queue.moved_again", seconds=round(time.monotonic() - since, 1))
        stop.set()
        await load
        await until(lambda: have_ended(len(acknowledged)), within_seconds=WITHIN_SECONDS)
    await until_another_is_primary(cluster, killed)
    await Operator(sentinel_platform).assert_holds_match_jobs()


async def test_a_client_writes_to_the_new_primary_after_the_old_one_died(cluster: SentinelCluster) -> None:
    client = connect(cluster.url)
    try:
        await client.set("before", "1")
        assert await client.wait(2, 30_000) == 2
        killed = await asyncio.to_thread(cluster.kill_primary)

        async def writes() -> bool:
            try:
                return bool(await client.set("after", "2"))
            except REDIS_ERRORS:
                return False

        await until(writes, within_seconds=WITHIN_SECONDS)
        assert await client.get("before") == b"1"
        await until_another_is_primary(cluster, killed)
    finally:
        await client.aclose()


async def test_a_wrong_password_of_the_sentinels_is_an_error_of_redis(cluster: SentinelCluster) -> None:
    client = connect(cluster.url.replace("sentinel_password=", "sentinel_password=not-"), retries=0)
    try:
        with pytest.raises(REDIS_ERRORS):
            await client.ping()
    finally:
        await client.aclose()
