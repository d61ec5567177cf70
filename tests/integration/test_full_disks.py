"""Disks that are really full, one under each store: what the store says, what callers are told, and that it passes.

They are small file systems in memory; where mounting isn't permitted `test_full_stores` alone proves what follows from it.
"""

from collections.abc import Callable
from pathlib import Path

import redis.exceptions
from pingvas.generation.v1 import job_pb2
from sqlalchemy import text

from svc_common.capacity import Capacity
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.free_space import Store, WaterMarks
from svc_common.redis_client import connect, is_out_of_room
from tests.factories.actors import Operator, Person
from tests.factories.platform import running_platform
from tests.factories.working import working
from tests.harness_disk import SmallDisk
from tests.harness_postgres import DatabaseFactory, PostgresServer, until
from tests.harness_redis import RedisServer, eventually
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

MARKS = WaterMarks(low_bytes=1 << 20, high_bytes=2 << 20)
WRITE = "INSERT INTO letters SELECT repeat(md5(random()::text), 100) FROM generate_series(1, 3000)"


async def test_postgresql_on_a_full_disk_is_storage_full_and_works_again_with_room(
    small_disk: Callable[[str], SmallDisk],
) -> None:
    disk = small_disk("256m")
    server = PostgresServer(disk.folder)
    server.start()
    capacity = Capacity((Store.POSTGRESQL,), folders={Store.POSTGRESQL: server.folder / "cluster"}, marks=MARKS)
    database = Database(server.url(driver="postgresql+asyncpg"), capacity=capacity)
    try:
        async with database.transaction() as session:
            await session.execute(text("CREATE TABLE letters (content text)"))
        disk.fill()
        assert await refusal(database) is Reason.STORAGE_FULL
        assert capacity.full == (Store.POSTGRESQL,)
        disk.make_room()

        async def is_written() -> bool:
            return await refusal(database) is None

        await until(is_written, within_seconds=30.0)
        await capacity.look()
        async with database.transaction() as session:
            rows = await session.scalar(text("SELECT count(*) FROM letters"))
        assert rows == 3000, "a refused transaction has left nothing, or the accepted one is lost"
    finally:
        await database.close()
        server.stop()


async def test_postgresql_that_can_not_write_its_log_stops_and_loses_nothing(
    small_disk: Callable[[str], SmallDisk],
) -> None:
    disk = small_disk("256m")
    server = PostgresServer(disk.folder)
    server.start()
    capacity = Capacity((Store.POSTGRESQL,), folders={Store.POSTGRESQL: server.folder / "cluster"}, marks=MARKS)
    database = Database(server.url(driver="postgresql+asyncpg"), capacity=capacity)
    try:
        async with database.transaction() as session:
            await session.execute(text("CREATE TABLE letters (content text)"))
        assert await refusal(database) is None
        disk.fill()
        await capacity.look()
        reasons = {await log_refusal(database) for _ in range(40)}
        assert "PANIC" in (server.folder / "log").read_text()
        assert reasons - {None} == {Reason.STORAGE_FULL}, "a server that stopped for want of room is a full store"
        disk.make_room()
        server.kill()
        server.start()
        async with database.transaction() as session:
            rows = await session.scalar(text("SELECT count(*) FROM letters"))
        assert rows == 3000, "what was committed is there"
    finally:
        await database.close()
        server.stop()


async def log_refusal(database: Database) -> Reason | None:
    """Writes a megabyte to PostgreSQL's log, and to no table."""
    try:
        async with database.transaction() as session:
            await session.execute(text("SELECT pg_logical_emit_message(true, 'test', repeat(md5('x'), 32768))"))
    except ServiceError as error:
        return error.reason
    return None


async def refusal(database: Database) -> Reason | None:
    try:
        async with database.transaction() as session:
            await session.execute(text(WRITE))
    except ServiceError as error:
        return error.reason
    return None


async def test_redis_on_a_full_disk_is_found_out_and_works_again_with_room(
    small_disk: Callable[[str], SmallDisk],
) -> None:
    disk = small_disk("4m")
    server = RedisServer(disk.folder)
    server.start()
    try:
        async with connect(server.url) as client:
            capacity = Capacity((Store.REDIS,), folders={}, marks=MARKS, redis=connect(server.url, retries=0))
            await capacity.look()
            assert capacity.full == ()
            disk.fill()
            errors: list[Exception] = []

            async def is_refused() -> bool:
                try:
                    await client.set("letter", "x" * 10_000)
                except redis.exceptions.ResponseError as error:
                    errors.append(error)
                return bool(errors)

            await eventually(is_refused)
            assert is_out_of_room(errors[0]), errors
            await capacity.look()
            assert capacity.full == (Store.REDIS,)
            disk.make_room()

            async def has_room() -> bool:
                await capacity.look()
                return capacity.full == ()

            await eventually(has_room)
            await client.set("letter", "short")
            await capacity.close()
    finally:
        server.stop()


async def test_job_completes_when_the_object_stores_disk_has_room_again(
    small_disk: Callable[[str], SmallDisk],
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    disk = small_disk("16m")
    s3 = S3Server(disk.folder)
    s3.start()
    settings = {
        "storage_folders": {"s3": disk.folder},
        "storage_low_bytes": MARKS.low_bytes,
        "storage_high_bytes": MARKS.high_bytes,
    }
    try:
        async with running_platform(database_for, identities, redis_server, s3, tmp_path, **settings) as platform:
            capacity = platform.generation.parts.capacity
            person = await Person.arrive(platform, credits_held=1000, tier="starter")
            job = await person.create()
            balance = await person.balance()
            disk.fill()
            async with working(platform):

                async def is_waiting() -> bool:
                    started = (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING
                    return started and capacity.full == (Store.OBJECTS,)

                await until(is_waiting)
                assert (await refusal_of(person.create())).reason is Reason.STORAGE_FULL
                assert await person.balance() == balance
                disk.make_room()
                done = await person.ended(job.job_id, within_seconds=30.0)
            assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
            assert len(await person.pictures(job.job_id)) == 1
            await Operator(platform).assert_holds_match_jobs()

            async def has_room() -> bool:
                return capacity.full == ()

            await until(has_room)
            assert (await person.create()).state == job_pb2.JOB_STATE_QUEUED
    finally:
        s3.stop()
