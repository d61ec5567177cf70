"""Filling the catalogue: what `publish` does to a real database, as each of the two roles sees it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy.exc
from sqlalchemy import select, update

from svc_common.db import Database
from svc_models.store import queries
from svc_models.store.models import ModelRevision
from svc_models.tasks.catalogue import publication_of, publish, read_folders
from tests.factories.models import put_manifest
from tests.harness_postgres import DatabaseFactory

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass
class Catalogue:
    """A database with its two roles, a folder to publish from, and a clock that stands until it is moved."""

    requests: Database
    tasks: Database
    folder: Path
    time: datetime = START

    async def publish(self, default_model_id: str | None = None) -> None:
        publication = publication_of(read_folders([self.folder]), default_model_id)
        await publish(self.tasks, publication, lambda: self.time)

    async def served(self) -> Sequence[ModelRevision]:
        async with self.requests.transaction() as transaction:
            return await queries.list_served(transaction)

    async def rows(self) -> dict[tuple[str, str], ModelRevision]:
        async with self.tasks.transaction() as transaction:
            rows = (await transaction.scalars(select(ModelRevision))).all()
        return {(row.model_id, row.revision): row for row in rows}

    async def default(self) -> list[str]:
        return [row.model_id for row in await self.served() if row.is_default]


@pytest.fixture
async def catalogue(database_for: DatabaseFactory, tmp_path: Path) -> AsyncIterator[Catalogue]:
    database = await database_for("models")
    catalogue = Catalogue(Database(database.requests_url), Database(database.tasks_url), tmp_path)
    yield catalogue
    await catalogue.requests.close()
    await catalogue.tasks.close()


async def test_publishing_again_changes_nothing(catalogue: Catalogue) -> None:
    put_manifest(catalogue.folder, "a")
    await catalogue.publish()
    catalogue.time += timedelta(days=1)

    await catalogue.publish()

    (row,) = (await catalogue.rows()).values()
    assert (row.model_id, row.is_served, row.is_default, row.create_time) == ("a", True, True, START)


async def test_changed_manifest_updates_its_revision(catalogue: Catalogue) -> None:
    put_manifest(catalogue.folder, "a")
    await catalogue.publish()
    files = [{"path": "other.safetensors", "size_bytes": 5, "sha256": "ff" * 32}]
    put_manifest(catalogue.folder, "a", licence="MIT", schedulers=["unipc"], files=files, minimum_tier="pro")

    await catalogue.publish()

    (row,) = await catalogue.served()
    assert (row.licence, row.schedulers, row.files, row.minimum_tier) == ("MIT", ["unipc"], files, "pro")


async def test_new_revision_takes_the_place_of_the_old_one_which_stays_recorded(catalogue: Catalogue) -> None:
    put_manifest(catalogue.folder, "a", within="a/1")
    await catalogue.publish()
    put_manifest(catalogue.folder, "a", within="a/2", revision="2")

    await catalogue.publish()

    assert [(row.model_id, row.revision) for row in await catalogue.served()] == [("a", "2")]
    assert set(await catalogue.rows()) == {("a", "1"), ("a", "2")}


async def test_older_revision_is_served_again_when_the_newer_is_taken_away(catalogue: Catalogue) -> None:
    put_manifest(catalogue.folder, "a", within="a/1")
    newer = put_manifest(catalogue.folder, "a", within="a/2", revision="2")
    await catalogue.publish()
    newer.unlink()

    await catalogue.publish()

    assert [row.revision for row in await catalogue.served()] == ["1"]


async def test_default_moves_to_the_one_that_is_named(catalogue: Catalogue) -> None:
    for model_id in ("a", "b", "pingvas-tiny"):
        put_manifest(catalogue.folder, model_id)
    await catalogue.publish()
    assert await catalogue.default() == ["pingvas-tiny"]

    await catalogue.publish("b")

    assert await catalogue.default() == ["b"]


async def test_models_of_other_folders_stay(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> None:
    put_manifest(catalogue.folder, "a")
    await catalogue.publish()
    catalogue.folder = tmp_path_factory.mktemp("others")
    put_manifest(catalogue.folder, "b")

    await catalogue.publish()

    assert [(row.model_id, row.is_default) for row in await catalogue.served()] == [("a", False), ("b", True)]


async def test_empty_folder_changes_nothing(catalogue: Catalogue) -> None:
    path = put_manifest(catalogue.folder, "a")
    await catalogue.publish()
    path.unlink()

    await catalogue.publish()

    assert await catalogue.default() == ["a"]


async def test_served_models_are_ordered_by_code_point(catalogue: Catalogue) -> None:
    model_ids = ["b-a", "0", "a_b", "a-b", "ab", "a.b", "a1"]
    for number, model_id in enumerate(model_ids):
        put_manifest(catalogue.folder, model_id, within=str(number))

    await catalogue.publish()

    assert [row.model_id for row in await catalogue.served()] == sorted(model_ids)


async def test_replicas_that_start_together_leave_one_default_and_one_revision_of_each(catalogue: Catalogue) -> None:
    for model_id in ("a", "b"):
        for revision in ("1", "2"):
            put_manifest(catalogue.folder, model_id, within=f"{model_id}/{revision}", revision=revision)

    # They disagree about the default, so that each takes back what another has just put there.
    await asyncio.gather(*(catalogue.publish(default) for default in ("a", "b") * 5))

    assert [(row.model_id, row.revision) for row in await catalogue.served()] == [("a", "2"), ("b", "2")]
    assert len(await catalogue.default()) == 1


async def test_requests_may_not_write_the_catalogue(catalogue: Catalogue) -> None:
    put_manifest(catalogue.folder, "a")
    await catalogue.publish()

    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"):
        async with catalogue.requests.transaction() as transaction:
            await transaction.execute(update(ModelRevision).values(licence="stolen"))


async def test_database_refuses_two_served_revisions_of_a_model(catalogue: Catalogue) -> None:
    for revision in ("1", "2"):
        put_manifest(catalogue.folder, "a", within=f"a/{revision}", revision=revision)
    await catalogue.publish()

    with pytest.raises(sqlalchemy.exc.IntegrityError, match="model_revisions_served"):
        async with catalogue.tasks.transaction() as transaction:
            await transaction.execute(update(ModelRevision).values(is_served=True))
