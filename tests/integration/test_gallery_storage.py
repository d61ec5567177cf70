"""The bytes that an account's pictures take, as the database keeps them beside the pictures."""

import asyncio
import random
import shutil
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

import svc_gallery.store
from svc_common.clock import new_id, now
from svc_common.db import Database
from svc_common.migrations import Area, migrate
from svc_common.roles import roles_of
from svc_gallery.domain.images import ImageFilter
from svc_gallery.messages.images import image_rows
from svc_gallery.store import queries
from tests.factories.gallery import import_request
from tests.harness_postgres import DatabaseFactory, PostgresServer, ServiceDatabase


@pytest.fixture
async def place(database_for: DatabaseFactory) -> ServiceDatabase:
    return await database_for("gallery")


async def test_sum_stays_that_of_the_pictures_through_imports_and_withdrawals(place: ServiceDatabase) -> None:
    database, chance = Database(place.requests_url), random.Random(1)
    accounts = [new_id() for _ in range(3)]
    jobs = [(account_id, new_id(), chance.randint(1, 4)) for account_id in accounts for _ in range(10)]

    async def take_in(account_id: UUID, job_id: UUID, image_count: int) -> None:
        request = import_request(account_id, job_id=job_id, image_count=image_count)
        for image in request.images:
            image.size_bytes = chance.randint(1, 10**9)
        async with database.direct(account_id) as direct:
            await queries.insert_job(direct, image_rows(request, now()))

    async def withdraw(account_id: UUID, job_id: UUID) -> None:
        async with database.transaction(account_id) as session:
            await queries.delete_images_of_job(session, account_id, job_id)

    await asyncio.gather(*(take_in(*job) for job in jobs))
    # A repeat inserts nothing and counts nothing.
    await asyncio.gather(*(take_in(*job) for job in jobs[::2]))
    await asyncio.gather(*(withdraw(account_id, job_id) for account_id, job_id, _ in jobs[::3]))

    for account_id in accounts:
        async with database.transaction(account_id) as session:
            images = await queries.list_images(session, account_id, ImageFilter(), after=None, limit=1000, now=now())
            assert await queries.stored_bytes(session, account_id) == sum(image.size_bytes for image in images) > 0
    async with database.transaction(stranger := new_id()) as session:
        assert await queries.stored_bytes(session, stranger) == 0
    await database.close()


async def test_pictures_from_before_the_migration_are_counted(postgres: PostgresServer, tmp_path: Path) -> None:
    name = "pictures_before_storage"
    await postgres.execute(f"CREATE DATABASE {name}")
    url, roles = postgres.url(database=name), roles_of(name, "gallery")
    words = {roles.requests: "x", roles.tasks: "x"}
    migrations = Path(svc_gallery.store.__path__[0]) / "migrations"
    before = Path(shutil.copytree(migrations, tmp_path / "migrations"))
    (migration,) = (before / "versions").glob("*_storage.py")
    for later in (before / "versions").glob("[0-9]*.py"):
        if later.name >= migration.name:
            later.unlink()
    await migrate(url, words, areas=[Area("gallery", before)])
    connection = await asyncpg.connect(url)
    account_id = new_id()
    await connection.execute(
        """
        INSERT INTO gallery.images (image_id, account_id, created_by, job_id, position, width_px, height_px, size_bytes,
            sha256, content_type, prompt, model_id, seed, create_time)
        SELECT gen_random_uuid(), $1, $1, gen_random_uuid(), 0, 64, 64, n, repeat('a', 64), 'image/png', '', 'm', 1, now()
        FROM generate_series(1, 100) AS n
        """,
        account_id,
    )

    await migrate(url, words, areas=[Area("gallery", migrations)])

    rows = await connection.fetch("SELECT account_id, image_bytes FROM gallery.storage")
    await connection.close()
    assert [tuple(row) for row in rows] == [(account_id, 5050)]
