"""Exports as a zip through svc_gallery's real listener, database and object store, with a crash at each step."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from pingvas.gallery.v1 import export_pb2, gallery_erasure_service_pb2, gallery_erasure_service_pb2_grpc
from pingvas.gallery.v1.export_service_pb2 import ImageIds
from pingvas.gallery.v1.gallery_service_pb2 import ListImagesRequest
from sqlalchemy import select

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, dependency_unavailable
from svc_common.objects import S3ObjectStore
from svc_gallery.domain.exports import EXPORT_LIFETIME, EXPORTS_OF_AN_ACCOUNT, LARGEST_EXPORT, LEASE, zip_key
from svc_gallery.domain.images import object_keys
from svc_gallery.store import exports, models
from svc_gallery.usecases.exporting import Exporter, ExportLostError
from tests.factories.gallery import content_of
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

CREATE, GET = "ExportService.CreateImageExport", "ExportService.GetImageExport"
LIST, DELETE = "ExportService.ListImageExports", "ExportService.DeleteImageExport"
QUEUED, RUNNING = export_pb2.EXPORT_STATE_QUEUED, export_pb2.EXPORT_STATE_RUNNING
READY, FAILED = export_pb2.EXPORT_STATE_READY, export_pb2.EXPORT_STATE_FAILED


@pytest.fixture(scope="module")
async def shared(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities, has_background=False) as running:
        yield running


@pytest.fixture
async def gallery(shared: Gallery) -> AsyncIterator[Gallery]:
    """Without exports of earlier tests, which would have their turn first."""
    await shared.rows("DELETE FROM gallery.exports")
    shared.clock.ahead = timedelta()
    yield shared
    shared.clock.ahead = timedelta()


@pytest.fixture
async def exporter(gallery: Gallery) -> AsyncIterator[Exporter]:
    async with gallery.tasks() as database:
        yield Exporter(database=database, objects=gallery.objects, now=gallery.clock)


async def pictures(gallery: Gallery, account_id: UUID, count: int = 1, prompt: str = "a penguin") -> list[str]:
    """Takes pictures in, with their bytes and recipes."""
    image_ids = await gallery.take_in(account_id, count, prompt)
    for image_id in image_ids:
        keys = object_keys(account_id, UUID(image_id))
        await gallery.objects.write(keys.original, content_of(image_id), "image/png")
        await gallery.objects.write(keys.metadata, json.dumps({"of": image_id}).encode(), "application/json")
    return image_ids


def of(image_ids: Sequence[str]) -> dict[str, ImageIds]:
    return {"images": ImageIds(image_ids=image_ids)}


async def downloaded(export: export_pb2.ImageExport) -> dict[str, bytes]:
    async with httpx.AsyncClient() as client:
        answer = (await client.get(export.download_url)).raise_for_status()
    assert answer.headers["content-type"] == "application/zip"
    assert len(answer.content) == export.size_bytes
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        return {info.filename: found.read(info) for info in found.infolist()}


async def stored(gallery: Gallery, account_id: UUID) -> list[str]:
    """Returns the keys of all zips of an account."""
    return [found.key async for found in gallery.objects.list_prefix(f"users/{account_id}/exports")]


async def test_selected_pictures_come_as_a_zip_with_their_recipes(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    image_ids = await pictures(gallery, account_id, 3, "the sea/at sunset")
    made = await gallery.call(account_id, CREATE, with_recipes=True, **of(image_ids))
    assert (made.state, made.image_count, made.done_count, made.download_url) == (QUEUED, 3, 0, "")

    assert await exporter.make_next()

    ready = await gallery.call(account_id, GET, export_id=made.export_id)
    assert (ready.state, ready.done_count, ready.left_out_count, ready.with_recipes) == (READY, 3, 0, True)
    files = await downloaded(ready)
    assert [name for name in files if name.endswith(".png")] == [
        f"the sea at sunset-{seed}.png" for seed in (-7, -6, -5)
    ]
    for image_id, seed in zip(image_ids, (-7, -6, -5), strict=True):
        assert files[f"the sea at sunset-{seed}.png"] == content_of(image_id)
        assert json.loads(files[f"the sea at sunset-{seed}.json"]) == {"of": image_id}
    assert not await exporter.make_next()


async def test_board_and_search_select_what_their_lists_show(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    boats = await pictures(gallery, account_id, 2, "a boat")
    (whale,) = await pictures(gallery, account_id, 1, "a whale")
    board_id = (await gallery.call(account_id, "BoardService.CreateBoard", name="Sea")).board_id
    await gallery.call(account_id, "BoardService.AddBoardImages", board_id=board_id, image_ids=[whale, boats[0]])
    of_board = await gallery.call(account_id, CREATE, board_id=board_id)
    of_search = await gallery.call(account_id, CREATE, search=ListImagesRequest(query="boat", page_size=1))
    of_all = await gallery.call(account_id, CREATE, search=ListImagesRequest())
    while await exporter.make_next():
        pass

    contents = []
    for export in (of_board, of_search, of_all):
        files = await downloaded(await gallery.call(account_id, GET, export_id=export.export_id))
        contents.append(sorted(files.values()))

    for found, image_ids in zip(contents, ([whale, boats[0]], boats, [*boats, whale]), strict=True):
        assert found == sorted(map(content_of, image_ids))


async def test_pictures_of_one_name_are_told_apart(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    image_ids = [*await pictures(gallery, account_id, 1, "Sea"), *await pictures(gallery, account_id, 1, "sea")]
    made = await gallery.call(account_id, CREATE, **of(image_ids))
    await exporter.make_next()
    files = await downloaded(await gallery.call(account_id, GET, export_id=made.export_id))
    assert list(files) == ["Sea--7.png", "sea--7 (2).png"]


async def test_pictures_that_are_gone_meanwhile_are_left_out_and_counted(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    kept, binned, lost = await pictures(gallery, account_id, 3)
    made = await gallery.call(account_id, CREATE, **of([kept, binned, lost]))
    await gallery.call(account_id, "GalleryService.DeleteImage", image_id=binned)
    await gallery.objects.delete([object_keys(account_id, UUID(lost)).original])
    await exporter.make_next()
    ready = await gallery.call(account_id, GET, export_id=made.export_id)
    assert (ready.state, ready.done_count, ready.left_out_count) == (READY, 3, 2)
    assert list((await downloaded(ready)).values()) == [content_of(kept)]


async def test_export_is_created_once_for_a_request_id(gallery: Gallery) -> None:
    account_id = new_id()
    image_ids = await pictures(gallery, account_id, 2)
    made = await asyncio.gather(
        *(gallery.call(account_id, CREATE, request_id="one", **of(image_ids)) for _ in range(10))
    )
    assert len({export.export_id for export in made}) == 1
    another = gallery.reason(account_id, CREATE, request_id="one", **of(image_ids[:1]))
    assert await another is Reason.IDEMPOTENCY_KEY_REUSED
    gallery.clock.ahead = EXPORT_LIFETIME + timedelta(seconds=1)
    again = await gallery.call(account_id, CREATE, request_id="one", **of(image_ids[:1]))
    assert again.export_id != made[0].export_id


async def test_what_makes_no_sense_is_refused_and_nothing_is_created(gallery: Gallery) -> None:
    account_id, stranger = new_id(), new_id()
    (image_id,) = await pictures(gallery, account_id)
    (binned,) = await pictures(gallery, account_id)
    await gallery.call(account_id, "GalleryService.DeleteImage", image_id=binned)
    (foreign,) = await pictures(gallery, stranger)
    board_id = (await gallery.call(stranger, "BoardService.CreateBoard", name="Sea")).board_id
    for expected, fields in (
        (Reason.INVALID_FIELD, {}),
        (Reason.INVALID_FIELD, of([])),
        (Reason.INVALID_FIELD, of([image_id, image_id])),
        (Reason.INVALID_FIELD, {"search": ListImagesRequest(in_bin=True)}),
        (Reason.INVALID_FIELD, {"search": ListImagesRequest(query="nothing like it")}),
        (Reason.IMAGE_NOT_FOUND, of([image_id, binned])),
        (Reason.IMAGE_NOT_FOUND, of([image_id, foreign])),
        (Reason.BOARD_NOT_FOUND, {"board_id": board_id}),
        (Reason.BOARD_NOT_FOUND, {"search": ListImagesRequest(board_id=board_id)}),
    ):
        assert await gallery.reason(account_id, CREATE, **fields) is expected, fields
    assert not (await gallery.call(account_id, LIST)).exports


async def test_selection_of_too_many_pictures_is_refused(gallery: Gallery) -> None:
    account_id = new_id()
    await gallery.rows(
        """
        INSERT INTO gallery.images (image_id, account_id, created_by, job_id, position, width_px, height_px, size_bytes,
            sha256, content_type, prompt, model_id, seed, create_time)
        SELECT gen_random_uuid(), $1, $1, $2, n, 8, 8, 1, repeat('0', 64), 'image/png', 'x', 'm', 0, now()
        FROM generate_series(0, $3::int) AS n
        """,
        account_id,
        new_id(),
        LARGEST_EXPORT,
    )
    refusal = await refusal_of(gallery.call(account_id, CREATE, search=ListImagesRequest()))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "selection")


async def test_account_has_ten_exports_and_not_one_more_in_parallel(gallery: Gallery) -> None:
    account_id = new_id()
    image_ids = await pictures(gallery, account_id)
    calls = [gallery.call(account_id, CREATE, **of(image_ids)) for _ in range(EXPORTS_OF_AN_ACCOUNT + 3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, export_pb2.ImageExport)]
    assert len(made) == EXPORTS_OF_AN_ACCOUNT
    assert await gallery.reason(account_id, CREATE, **of(image_ids)) is Reason.TOO_MANY_EXPORTS
    await gallery.call(account_id, DELETE, export_id=made[0].export_id)
    await gallery.call(account_id, CREATE, **of(image_ids))
    listed, token = [], ""
    for _ in range(4):
        page = await gallery.call(account_id, LIST, page_size=3, page_token=token)
        listed += [export.export_id for export in page.exports]
        token = page.next_page_token
    assert (len(set(listed)), token) == (EXPORTS_OF_AN_ACCOUNT, "")


async def test_what_others_have_isnt_there(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    made = await gallery.call(owner, CREATE, **of(await pictures(gallery, owner)))
    for method in (GET, DELETE):
        assert await gallery.reason(stranger, method, export_id=made.export_id) is Reason.EXPORT_NOT_FOUND
    assert not (await gallery.call(stranger, LIST)).exports
    database = Database(gallery.database.requests_url)
    try:
        for account_id, count in ((owner, 1), (stranger, 0)):
            async with database.transaction(account_id) as transaction:
                found = (await transaction.scalars(select(models.Export.export_id))).all()
                selected = (await transaction.scalars(select(models.ExportImage.image_id))).all()
            assert (len(found), len(selected)) == (count, count)
    finally:
        await database.close()


class FailingStore:
    """A store that fails at one call, as if the process had ended there: before the call is made, or when it is done."""

    def __init__(self, real: S3ObjectStore, method: str, *, is_done: bool, call: int = 1) -> None:
        self._real, self._method, self._is_done, self._left = real, method, is_done, call

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._real, name)

    async def _fail(self, *arguments: Any) -> Any:
        self._left -= 1
        if self._left:
            return await getattr(self._real, self._method)(*arguments)
        if self._is_done:
            await getattr(self._real, self._method)(*arguments)
        raise dependency_unavailable("s3", "The process ends here.")


@pytest.mark.parametrize(
    ("method", "is_done", "call"),
    [("open", False, 1), ("open", False, 3), ("write_stream", False, 1), ("write_stream", True, 1), ("head", False, 1)],
)
async def test_attempt_after_a_crash_at_any_step_makes_it_whole_and_leaves_nothing_behind(
    gallery: Gallery, exporter: Exporter, method: str, is_done: bool, call: int
) -> None:
    account_id = new_id()
    image_ids = await pictures(gallery, account_id, 3)
    made = await gallery.call(account_id, CREATE, **of(image_ids))
    async with gallery.tasks() as database:
        crashing = FailingStore(gallery.objects, method, is_done=is_done, call=call)
        assert await Exporter(database=database, objects=crashing, now=gallery.clock).make_next()
    assert (await gallery.call(account_id, GET, export_id=made.export_id)).state == RUNNING
    assert not await exporter.make_next(), "its lease isn't over yet"

    gallery.clock.ahead = LEASE + timedelta(seconds=1)
    assert await exporter.make_next()

    ready = await gallery.call(account_id, GET, export_id=made.export_id)
    assert (ready.state, ready.done_count) == (READY, 3)
    assert sorted((await downloaded(ready)).values()) == sorted(map(content_of, image_ids))
    assert await stored(gallery, account_id) == [zip_key(account_id, UUID(made.export_id), 2)]
    gallery.clock.ahead += EXPORT_LIFETIME + timedelta(seconds=1)
    assert await exporter.delete_expired() == 1
    assert await stored(gallery, account_id) == []
    assert await gallery.rows("SELECT 1 FROM gallery.export_images WHERE account_id = $1", account_id) == []
    assert await exporter.delete_expired() == 0


async def test_export_fails_after_three_lost_attempts_and_leaves_nothing_behind(
    gallery: Gallery, exporter: Exporter
) -> None:
    account_id = new_id()
    made = await gallery.call(account_id, CREATE, **of(await pictures(gallery, account_id)))
    async with gallery.tasks() as database:
        for _ in range(3):
            crashing = FailingStore(gallery.objects, "write_stream", is_done=True)
            assert await Exporter(database=database, objects=crashing, now=gallery.clock).make_next()
            gallery.clock.ahead += LEASE + timedelta(seconds=1)
    assert not await exporter.make_next()
    await exporter.delete_expired()
    failed = await gallery.call(account_id, GET, export_id=made.export_id)
    assert (failed.state, failed.download_url) == (FAILED, "")
    gallery.clock.ahead += EXPORT_LIFETIME
    await exporter.delete_expired()
    assert await stored(gallery, account_id) == []


async def test_late_attempt_neither_reports_nor_keeps_its_zip(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    made = await gallery.call(account_id, CREATE, **of(await pictures(gallery, account_id)))
    async with gallery.tasks() as database:
        async with database.transaction() as transaction:
            late = await exports.claim_export(transaction, gallery.clock())
        assert late is not None
        gallery.clock.ahead = LEASE + timedelta(seconds=1)
        assert await exporter.make_next()
        with pytest.raises(ExportLostError):
            await exporter._make(late)
    ready = await gallery.call(account_id, GET, export_id=made.export_id)
    assert ready.state == READY
    assert await downloaded(ready)


async def test_export_that_is_deleted_while_it_is_made_is_given_up(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    made = await gallery.call(account_id, CREATE, **of(await pictures(gallery, account_id)))
    async with gallery.tasks() as database:
        async with database.transaction() as transaction:
            running = await exports.claim_export(transaction, gallery.clock())
        await gallery.call(account_id, DELETE, export_id=made.export_id)
        assert await exporter.delete_expired() == 0, "an attempt still works on it"
        assert running is not None
        with pytest.raises(ExportLostError):
            await exporter._make(running)
    assert await gallery.reason(account_id, GET, export_id=made.export_id) is Reason.EXPORT_NOT_FOUND
    gallery.clock.ahead = LEASE + timedelta(seconds=1)
    assert await exporter.delete_expired() == 1
    assert await stored(gallery, account_id) == []


async def test_erased_account_leaves_no_export_behind(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    await gallery.call(account_id, CREATE, **of(await pictures(gallery, account_id)))
    await exporter.make_next()
    stub = gallery_erasure_service_pb2_grpc.GalleryErasureServiceStub(gallery.internal)
    request = gallery_erasure_service_pb2.EraseGalleryRequest(account_id=str(account_id))
    metadata = gallery.identities.as_service("svc_user")
    while (await stub.EraseGallery(request, metadata=metadata)).has_more:
        pass
    assert await stored(gallery, account_id) == []
    assert await gallery.rows("SELECT 1 FROM gallery.exports WHERE account_id = $1", account_id) == []
    assert await gallery.rows("SELECT 1 FROM gallery.export_images WHERE account_id = $1", account_id) == []


async def test_several_processes_make_each_export_once(gallery: Gallery, exporter: Exporter) -> None:
    account_id = new_id()
    image_ids = await pictures(gallery, account_id)
    for _ in range(6):
        await gallery.call(account_id, CREATE, **of(image_ids))
    outcomes = await asyncio.gather(*(exporter.make_next() for _ in range(8)))
    assert sum(outcomes) == 6
    listed = (await gallery.call(account_id, LIST)).exports
    assert {export.state for export in listed} == {READY}
    assert len(await stored(gallery, account_id)) == 6


async def test_running_service_makes_exports_by_itself(
    database_for: DatabaseFactory, s3_server: S3Server, identities: Identities
) -> None:
    async with running_gallery(database_for, s3_server, identities) as service:
        account_id = new_id()
        made = await service.call(account_id, CREATE, **of(await pictures(service, account_id)))

        async def is_ready() -> bool:
            return bool((await service.call(account_id, GET, export_id=made.export_id)).state == READY)

        await until(is_ready, within_seconds=60)
