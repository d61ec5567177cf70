"""Calls that cross each other on the same boards and pictures: nothing is lost, nothing deadlocks."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import grpc
import pytest
from pingvas.gallery.v1.import_service_pb2 import WithdrawImagesRequest
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from sqlalchemy import func, select

from svc_common.clock import new_id
from svc_common.db import Database
from svc_gallery.store import models
from svc_gallery.tasks import ImagePurger
from tests.factories.gallery import import_request
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_s3 import S3Server
from tests.harness_service import Identities


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities) as running:
        yield running


async def rows_on(gallery: Gallery, account_id: UUID, board_id: str) -> int:
    database = Database(gallery.database.requests_url)
    on_board = models.BoardImage.board_id == UUID(board_id)
    try:
        async with database.transaction(account_id) as transaction:
            return await transaction.scalar(select(func.count()).select_from(models.BoardImage).where(on_board)) or 0
    finally:
        await database.close()


async def test_parallel_adds_moves_and_removes_leave_what_a_model_of_them_says(gallery: Gallery) -> None:
    account_id, dice = new_id(), random.Random(11)
    boards = [await gallery.board(account_id, str(number)) for number in range(4)]
    own = [image_id for _ in range(4) for image_id in await gallery.take_in(account_id, count=10)]
    lying: dict[str, set[str]] = {image_id: set() for image_id in own}

    # Each picture's own changes follow each other; those of different pictures, and batches over all, run beside them.
    async def change(image_id: str) -> None:
        for _ in range(20):
            to, source = dice.sample(boards, 2)
            verb = dice.choice(("add", "remove", "move"))
            if verb == "add":
                await gallery.boards(account_id, "AddBoardImages", board_id=to, image_ids=[image_id])
                lying[image_id].add(to)
            elif verb == "remove":
                await gallery.boards(account_id, "RemoveBoardImage", board_id=source, image_id=image_id)
                lying[image_id].discard(source)
            else:
                fields = {"to_board_id": to, "from_board_id": source}
                await gallery.boards(account_id, "BatchMoveImages", image_ids=[image_id], **fields)
                lying[image_id] = (lying[image_id] - {source}) | {to}

    everything = await gallery.board(account_id, "everything")
    batches = [
        gallery.boards(account_id, "AddBoardImages", board_id=everything, image_ids=own[:: 1 if number % 2 else -1])
        for number in range(20)
    ]
    await asyncio.gather(*map(change, own), *batches)

    for board_id in boards:
        expected = {image_id for image_id in own if board_id in lying[image_id]}
        assert set(await gallery.shown(account_id, board_id=board_id)) == expected
        assert (await gallery.boards(account_id, "GetBoard", board_id=board_id)).image_count == len(expected)
    assert set(await gallery.shown(account_id, board_id=everything)) == set(own)


async def test_parallel_moves_in_opposite_directions_dont_deadlock(gallery: Gallery) -> None:
    account_id = new_id()
    sea, birds = await gallery.board(account_id, "sea"), await gallery.board(account_id, "birds")
    own = await gallery.take_in(account_id, count=8)
    calls = [
        gallery.boards(
            account_id,
            "BatchMoveImages",
            image_ids=own[:: 1 if number % 3 else -1],
            to_board_id=sea if number % 2 else birds,
            from_board_id=birds if number % 2 else sea,
        )
        for number in range(60)
    ]
    await asyncio.gather(*calls)
    on_sea = set(await gallery.shown(account_id, board_id=sea))
    on_birds = set(await gallery.shown(account_id, board_id=birds))
    assert sorted(map(len, (on_sea, on_birds))) == [0, 8]


async def test_board_that_is_deleted_meanwhile_takes_nothing_more_in(gallery: Gallery) -> None:
    account_id = new_id()
    own = await gallery.take_in(account_id, count=5)
    for _ in range(10):
        board_id = await gallery.board(account_id)
        adding = [gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=own) for _ in range(4)]
        results = await asyncio.gather(
            *adding, gallery.boards(account_id, "DeleteBoard", board_id=board_id), return_exceptions=True
        )
        for error in results[:-1]:
            if isinstance(error, grpc.aio.AioRpcError):
                assert error.code() is grpc.StatusCode.NOT_FOUND
            else:
                assert not isinstance(error, BaseException)
        assert results[-1].kept_image_count in {0, 5}
        assert await rows_on(gallery, account_id, board_id) == 0


async def test_boards_are_deleted_while_their_pictures_are_purged(gallery: Gallery) -> None:
    account_id = new_id()
    own = [image_id for _ in range(4) for image_id in await gallery.take_in(account_id, count=10)]
    boards = [await gallery.board(account_id, str(number)) for number in range(12)]
    for number, board_id in enumerate(boards):
        await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=own)
        await gallery.boards(account_id, "UpdateBoard", board_id=board_id, cover_image_id=own[number])
    await gallery.images(account_id, "BatchDeleteImages", image_ids=own[:-1], permanently=True)
    tasks = Database(gallery.database.tasks_url)
    purger = ImagePurger(database=tasks, objects=gallery.objects, now=lambda: datetime.now(UTC))
    deletions = [gallery.boards(account_id, "DeleteBoard", board_id=board_id) for board_id in boards[1:]]

    await asyncio.gather(*deletions, purger.purge())

    await tasks.close()
    assert await gallery.shown(account_id) == own[-1:]
    left = await gallery.boards(account_id, "GetBoard", board_id=boards[0])
    assert (left.image_count, left.cover_image_id) == (1, "")
    assert await gallery.tree(account_id) == {"0": ""}


async def test_pictures_are_withdrawn_while_their_board_is_deleted(gallery: Gallery) -> None:
    """Both take the board before what lies on it. In the other order each would wait for the other."""
    account_id = new_id()
    request = import_request(account_id, image_count=3)
    image_ids = await gallery.import_job(request)
    board_id = await gallery.board(account_id)
    await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=image_ids)
    await gallery.boards(account_id, "UpdateBoard", board_id=board_id, cover_image_id=image_ids[-1])
    deleting = await asyncpg.connect(gallery.database.admin_url)
    withdrawal = WithdrawImagesRequest(account_id=str(account_id), job_id=request.job_id)

    async def waits() -> bool:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(await gallery.rows(waiting))

    try:
        # Step by step what DeleteBoard does.
        await deleting.execute("BEGIN")
        await deleting.execute("SELECT 1 FROM gallery.boards WHERE board_id = $1 FOR UPDATE", UUID(board_id))
        withdrawing = asyncio.ensure_future(
            ImportServiceStub(gallery.internal).WithdrawImages(
                withdrawal, metadata=gallery.identities.as_service("svc_generation")
            )
        )
        await until(waits, within_seconds=60)
        await deleting.execute("DELETE FROM gallery.boards WHERE board_id = $1", UUID(board_id))
        await deleting.execute("COMMIT")
        await withdrawing
    finally:
        deleting.terminate()
    assert await gallery.shown(account_id) == []
    assert await gallery.tree(account_id) == {}
