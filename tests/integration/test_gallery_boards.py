"""Boards through svc_gallery's real listener and a real database."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import func, insert, select, text

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.status import from_status
from svc_gallery.domain.boards import BOARDS_OF_AN_ACCOUNT, request_hash
from svc_gallery.domain.images import object_keys
from svc_gallery.store import models, queries
from svc_gallery.tasks import ImagePurger
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities) as running:
        yield running


async def reason(gallery: Gallery, account_id: UUID, method: str, **fields: Any) -> Reason:
    """Returns why a call of BoardService is refused."""
    return await gallery.reason(account_id, f"BoardService.{method}", **fields)


async def test_board_is_created_once_for_a_request_id_however_it_changes(gallery: Gallery) -> None:
    account_id = new_id()
    made = await gallery.boards(account_id, "CreateBoard", name="  Sea ", request_id="one")
    assert (made.name, made.parent_board_id, made.image_count, made.archived) == ("Sea", "", 0, False)
    assert not made.cover_thumbnail_url
    assert not made.HasField("url_expire_time")
    await gallery.boards(account_id, "UpdateBoard", board_id=made.board_id, name="Ocean")

    again = await gallery.boards(account_id, "CreateBoard", name="Sea", request_id="one")

    assert (again.board_id, again.name) == (made.board_id, "Ocean")
    assert (
        await reason(gallery, account_id, "CreateBoard", name="Lake", request_id="one") is Reason.IDEMPOTENCY_KEY_REUSED
    )
    assert (await gallery.boards(new_id(), "CreateBoard", name="Lake", request_id="one")).board_id != made.board_id


async def test_parallel_creations_with_one_request_id_make_one_board(gallery: Gallery) -> None:
    account_id = new_id()
    calls = [gallery.boards(account_id, "CreateBoard", name="Sea", request_id="one") for _ in range(20)]
    assert len({board.board_id for board in await asyncio.gather(*calls)}) == 1
    assert await gallery.tree(account_id) == {"Sea": ""}


@pytest.mark.parametrize(
    ("method", "fields", "field_name"),
    [
        ("CreateBoard", {"name": "  "}, "name"),
        ("CreateBoard", {"name": "x" * 101}, "name"),
        ("CreateBoard", {"name": "x", "parent_board_id": "no-uuid"}, "parent_board_id"),
        ("UpdateBoard", {"name": ""}, "name"),
        ("UpdateBoard", {"cover_image_id": "no-uuid"}, "cover_image_id"),
        ("AddBoardImages", {"image_ids": []}, "image_ids"),
        ("AddBoardImages", {"image_ids": [str(UUID(int=n)) for n in range(1001)]}, "image_ids"),
        ("BatchMoveImages", {"image_ids": [str(UUID(int=1))]}, "to_board_id"),
        (
            "BatchMoveImages",
            {"image_ids": [str(UUID(int=1))], "to_board_id": str(UUID(int=2)), "from_board_id": str(UUID(int=2))},
            "to_board_id",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_by_the_name_of_the_field(
    gallery: Gallery, method: str, fields: dict[str, Any], field_name: str
) -> None:
    account_id = new_id()
    named = {"board_id": await gallery.board(account_id)} if method in {"UpdateBoard", "AddBoardImages"} else {}
    refusal = await refusal_of(gallery.boards(account_id, method, **named, **fields))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, field_name)


async def test_board_cant_lie_in_itself_at_any_depth(gallery: Gallery) -> None:
    account_id = new_id()
    outer = await gallery.board(account_id, "outer")
    middle = await gallery.board(account_id, "middle", outer)
    inner = await gallery.board(account_id, "inner", middle)
    for place in (outer, middle, inner):
        refusal = await refusal_of(gallery.boards(account_id, "UpdateBoard", board_id=outer, parent_board_id=place))
        assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "parent_board_id")
    await gallery.boards(account_id, "UpdateBoard", board_id=inner, parent_board_id=outer)
    await gallery.boards(account_id, "UpdateBoard", board_id=middle, parent_board_id=inner)
    assert await gallery.tree(account_id) == {"outer": "", "middle": inner, "inner": outer}
    await gallery.boards(account_id, "UpdateBoard", board_id=inner, parent_board_id="")
    assert await gallery.tree(account_id) == {"outer": "", "middle": inner, "inner": ""}


async def test_parallel_moves_never_close_a_circle(gallery: Gallery) -> None:
    account_id, dice = new_id(), random.Random(3)
    boards = [await gallery.board(account_id, str(number)) for number in range(6)]

    async def move() -> None:
        board_id, place = dice.sample(boards, 2)
        try:
            await gallery.boards(account_id, "UpdateBoard", board_id=board_id, parent_board_id=place)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017 - most moves are fine

    await asyncio.gather(*(move() for _ in range(60)))

    tree = await gallery.tree(account_id)
    parents = {board_id: tree[str(number)] for number, board_id in enumerate(boards)}
    for board_id in boards:
        above, steps = board_id, 0
        while above:
            above, steps = parents[above], steps + 1
            assert steps <= len(boards)


async def test_deleted_board_leaves_its_pictures_and_lifts_its_boards(gallery: Gallery) -> None:
    account_id = new_id()
    outer = await gallery.board(account_id, "outer")
    middle = await gallery.board(account_id, "middle", outer)
    inner = await gallery.board(account_id, "inner", middle)
    ids = await gallery.take_in(account_id, count=2)
    await gallery.boards(account_id, "AddBoardImages", board_id=middle, image_ids=ids)
    await gallery.boards(account_id, "AddBoardImages", board_id=outer, image_ids=ids[:1])

    answer = await gallery.boards(account_id, "DeleteBoard", board_id=middle)

    assert (answer.kept_image_count, list(answer.moved_board_ids)) == (2, [inner])
    assert await gallery.tree(account_id) == {"outer": "", "inner": outer}
    assert set(await gallery.shown(account_id)) == set(ids)
    assert await gallery.shown(account_id, board_id=outer) == ids[:1]
    assert await gallery.shown(account_id, uncategorised=True) == ids[1:]
    assert await reason(gallery, account_id, "DeleteBoard", board_id=middle) is Reason.BOARD_NOT_FOUND


async def test_picture_is_on_several_boards_and_counted_on_each(gallery: Gallery) -> None:
    account_id = new_id()
    sea, birds = await gallery.board(account_id, "sea"), await gallery.board(account_id, "birds")
    first, second, third = await gallery.take_in(account_id, count=3)
    for board_id, image_ids in ((sea, [first, second]), (birds, [second]), (birds, [second])):
        await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=image_ids)
    assert set(await gallery.shown(account_id, board_id=sea)) == {first, second}
    assert await gallery.shown(account_id, board_id=birds) == [second]
    assert await gallery.shown(account_id, uncategorised=True) == [third]
    assert await gallery.shown(account_id, board_id=sea, uncategorised=True) == []

    left = await gallery.boards(account_id, "RemoveBoardImage", board_id=sea, image_id=second)

    assert left.image_count == 1
    again = await gallery.boards(account_id, "RemoveBoardImage", board_id=sea, image_id=second)
    assert again.image_count == 1
    assert await gallery.shown(account_id, board_id=birds) == [second]


async def test_moved_pictures_leave_one_board_for_another(gallery: Gallery) -> None:
    account_id = new_id()
    sea, birds = await gallery.board(account_id, "sea"), await gallery.board(account_id, "birds")
    ids = await gallery.take_in(account_id, count=3)
    await gallery.boards(account_id, "BatchMoveImages", image_ids=ids, to_board_id=sea)
    for _ in range(2):
        await gallery.boards(account_id, "BatchMoveImages", image_ids=ids[:2], from_board_id=sea, to_board_id=birds)
        assert (
            await gallery.shown(account_id, board_id=sea),
            set(await gallery.shown(account_id, board_id=birds)),
        ) == (
            ids[2:],
            set(ids[:2]),
        )
    await gallery.boards(account_id, "BatchMoveImages", image_ids=ids, from_board_id=birds)
    assert set(await gallery.shown(account_id, uncategorised=True)) == set(ids[:2])


async def test_picture_in_the_bin_isnt_on_its_board_until_it_is_restored(gallery: Gallery) -> None:
    account_id = new_id()
    board_id = await gallery.board(account_id)
    kept, binned = await gallery.take_in(account_id, count=2)
    await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=[kept, binned])
    await gallery.images(account_id, "DeleteImage", image_id=binned)
    assert (await gallery.boards(account_id, "GetBoard", board_id=board_id)).image_count == 1
    assert await gallery.shown(account_id, board_id=board_id) == [kept]
    assert await gallery.shown(account_id, board_id=board_id, in_bin=True) == [binned]
    answer = await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=[binned])
    assert from_status(answer.results[0].error).reason is Reason.IMAGE_NOT_FOUND
    await gallery.images(account_id, "RestoreImage", image_id=binned)
    assert (await gallery.boards(account_id, "GetBoard", board_id=board_id)).image_count == 2

    await gallery.boards(account_id, "UpdateBoard", board_id=board_id, cover_image_id=binned)
    await gallery.images(account_id, "DeleteImage", image_id=binned, permanently=True)
    tasks = Database(gallery.database.tasks_url)
    await ImagePurger(database=tasks, objects=gallery.objects, now=lambda: datetime.now(UTC)).purge()
    await tasks.close()
    left = await gallery.boards(account_id, "GetBoard", board_id=board_id)
    assert (left.image_count, left.cover_image_id) == (1, "")
    assert await rows_on(gallery, account_id, board_id) == 1


async def rows_on(gallery: Gallery, account_id: UUID, board_id: str) -> int:
    database = Database(gallery.database.requests_url)
    on_board = models.BoardImage.board_id == UUID(board_id)
    try:
        async with database.transaction(account_id) as transaction:
            return await transaction.scalar(select(func.count()).select_from(models.BoardImage).where(on_board)) or 0
    finally:
        await database.close()


async def test_cover_is_the_chosen_picture_or_else_the_newest_that_is_shown(gallery: Gallery) -> None:
    account_id = new_id()
    board_id = await gallery.board(account_id)
    (older,) = await gallery.take_in(account_id)
    (newer,) = await gallery.take_in(account_id)
    for image_id in (older, newer):
        thumbnail = object_keys(account_id, UUID(image_id)).thumbnail
        await gallery.objects.write(thumbnail, image_id.encode(), "image/webp")
    await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=[newer, older])
    assert await cover(gallery, account_id, board_id) == newer
    chosen = await gallery.boards(account_id, "UpdateBoard", board_id=board_id, cover_image_id=older)
    assert chosen.cover_image_id == older
    assert await cover(gallery, account_id, board_id) == older
    await gallery.images(account_id, "DeleteImage", image_id=older)
    assert await cover(gallery, account_id, board_id) == newer
    assert await reason(gallery, account_id, "UpdateBoard", board_id=board_id, cover_image_id=older) is (
        Reason.IMAGE_NOT_FOUND
    )
    await gallery.images(account_id, "RestoreImage", image_id=older)
    await gallery.boards(account_id, "UpdateBoard", board_id=board_id, cover_image_id="")
    assert await cover(gallery, account_id, board_id) == newer


async def cover(gallery: Gallery, account_id: UUID, board_id: str) -> str:
    """Returns what the address of a board's cover leads to."""
    board = await gallery.boards(account_id, "GetBoard", board_id=board_id)
    async with httpx.AsyncClient() as client:
        return (await client.get(board.cover_thumbnail_url)).raise_for_status().text


async def test_archived_board_is_listed_when_it_is_asked_for(gallery: Gallery) -> None:
    account_id = new_id()
    aside, outer = await gallery.board(account_id, "aside"), await gallery.board(account_id, "outer")
    archived = await gallery.boards(account_id, "UpdateBoard", board_id=aside, archived=True)
    assert (
        archived.archived,
        archived.name,
        archived.update_time.ToDatetime() > archived.create_time.ToDatetime(),
    ) == (
        True,
        "aside",
        True,
    )
    assert await gallery.tree(account_id) == {"outer": ""}
    assert set(await gallery.tree(account_id, with_archived=True)) == {"aside", "outer"}
    await gallery.boards(account_id, "UpdateBoard", board_id=outer, name="outside")
    await gallery.boards(account_id, "UpdateBoard", board_id=aside, archived=False)
    assert set(await gallery.tree(account_id)) == {"aside", "outside"}


async def test_lists_of_boards_are_paged_whole_and_in_order(gallery: Gallery) -> None:
    account_id = new_id()
    made = [await gallery.board(account_id, str(number)) for number in range(7)]
    seen, token = [], ""
    while True:
        page = await gallery.boards(account_id, "ListBoards", page_size=3, page_token=token)
        seen += [board.board_id for board in page.boards]
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert seen == made
    assert await reason(gallery, account_id, "ListBoards", page_token=token, with_archived=True) is (
        Reason.PAGE_TOKEN_INVALID
    )


async def test_pages_of_a_board_are_whole_in_order_and_narrowed_by_other_filters(gallery: Gallery) -> None:
    account_id = new_id()
    board_id = await gallery.board(account_id)
    between = Timestamp()
    on_board: list[str] = []
    for number in range(12):
        first, second = await gallery.take_in(account_id, 2, "a whale" if number % 2 else "a penguin")
        await gallery.boards(account_id, "AddBoardImages", board_id=board_id, image_ids=[first])
        on_board.insert(0, first)
        await gallery.images(account_id, "StarImage", image_id=first if number % 3 == 0 else second)
        if number == 5:
            between.FromDatetime(datetime.now(UTC))
    seen, token = [], ""
    while True:
        page = await gallery.images(account_id, "ListImages", board_id=board_id, page_size=5, page_token=token)
        seen += [image.image_id for image in page.images]
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert seen == on_board
    assert await gallery.shown(account_id, board_id=board_id, query="whale") == on_board[::2]
    assert await gallery.shown(account_id, board_id=board_id, starred_only=True) == on_board[2::3]
    assert await gallery.shown(account_id, board_id=board_id, create_time_from=between) == on_board[:6]
    refusal = await refusal_of(gallery.images(account_id, "ListImages", page_token=token))
    assert refusal.reason is Reason.PAGE_TOKEN_INVALID


async def test_account_has_a_thousand_boards_and_not_one_more_in_parallel(gallery: Gallery) -> None:
    account_id = new_id()
    await fill(gallery, account_id, BOARDS_OF_AN_ACCOUNT - 3)

    async def create() -> Reason | None:
        try:
            await gallery.boards(account_id, "CreateBoard", name="one more")
        except grpc.aio.AioRpcError:
            return await reason(gallery, account_id, "CreateBoard", name="one more")
        return None

    outcomes = await asyncio.gather(*(create() for _ in range(8)))

    assert sorted(outcomes, key=str) == [None] * 3 + [Reason.TOO_MANY_BOARDS] * 5
    board_id = (await gallery.boards(account_id, "ListBoards", page_size=1)).boards[0].board_id
    await gallery.boards(account_id, "DeleteBoard", board_id=board_id)
    await gallery.board(account_id)


async def fill(gallery: Gallery, account_id: UUID, count: int) -> None:
    """Writes boards of an account straight to the table."""
    moment = datetime.now(UTC) - timedelta(hours=1)
    rows = [
        {
            "board_id": new_id(),
            "account_id": account_id,
            "created_by": account_id,
            "request_hash": request_hash("full", None),
            "name": "full",
            "create_time": moment,
            "update_time": moment,
        }
        for _ in range(count)
    ]
    database = Database(gallery.database.requests_url)
    async with database.transaction(account_id) as transaction:
        await transaction.execute(insert(models.Board), rows)
    await database.close()


async def test_what_others_have_isnt_there(gallery: Gallery) -> None:
    owner, other = new_id(), new_id()
    own, foreign = await gallery.board(owner), await gallery.board(other, "secret")
    (own_image,), (foreign_image,) = await gallery.take_in(owner), await gallery.take_in(other)
    await gallery.boards(other, "AddBoardImages", board_id=foreign, image_ids=[foreign_image])
    for method, fields in (
        ("GetBoard", {}),
        ("UpdateBoard", {"name": "mine"}),
        ("DeleteBoard", {}),
        ("AddBoardImages", {"image_ids": [own_image]}),
        ("RemoveBoardImage", {"image_id": own_image}),
    ):
        assert await reason(gallery, owner, method, board_id=foreign, **fields) is Reason.BOARD_NOT_FOUND, method
    for fields in ({"to_board_id": foreign}, {"to_board_id": own, "from_board_id": foreign}):
        assert await reason(gallery, owner, "BatchMoveImages", image_ids=[own_image], **fields) is (
            Reason.BOARD_NOT_FOUND
        )
    assert await reason(gallery, owner, "CreateBoard", name="x", parent_board_id=foreign) is Reason.BOARD_NOT_FOUND
    assert await reason(gallery, owner, "UpdateBoard", board_id=own, parent_board_id=foreign) is Reason.BOARD_NOT_FOUND
    assert await reason(gallery, owner, "UpdateBoard", board_id=own, cover_image_id=foreign_image) is (
        Reason.IMAGE_NOT_FOUND
    )
    assert await reason(gallery, owner, "RemoveBoardImage", board_id=own, image_id=foreign_image) is (
        Reason.IMAGE_NOT_FOUND
    )
    listing = gallery.images(owner, "ListImages", board_id=foreign)
    assert (await refusal_of(listing)).reason is Reason.BOARD_NOT_FOUND

    answer = await gallery.boards(owner, "AddBoardImages", board_id=own, image_ids=[foreign_image, own_image])

    assert [result.HasField("error") for result in answer.results] == [True, False]
    assert await gallery.shown(owner, board_id=own) == [own_image]
    assert await gallery.shown(other, board_id=foreign) == [foreign_image]
    assert await gallery.tree(owner) == {"Sea": ""}


async def test_queries_without_an_owner_check_find_own_boards_only(gallery: Gallery) -> None:
    owner = new_id()
    board_id = await gallery.board(owner)
    await gallery.boards(owner, "AddBoardImages", board_id=board_id, image_ids=await gallery.take_in(owner))
    database = Database(gallery.database.requests_url)
    try:
        for account_id, found in ((owner, [1, 1]), (new_id(), [0, 0]), (None, [0, 0])):
            async with database.transaction(account_id) as transaction:
                counts = [
                    await transaction.scalar(text(f"SELECT count(*) FROM gallery.{table}"))  # noqa: S608 - our words
                    for table in ("boards", "board_images")
                ]
            assert counts == found
    finally:
        await database.close()


async def test_a_page_of_a_board_is_read_from_an_index_in_its_order(gallery: Gallery) -> None:
    """A plan neither sorts nor reads rows of other boards; from a page's place on, and with another filter as well."""
    account_id, board_id = new_id(), new_id()
    place = queries.ImageCursor(datetime.now(UTC), new_id())
    database = Database(gallery.database.requests_url)
    try:
        async with database.transaction(account_id) as transaction:
            for setting in ("seqscan", "bitmapscan", "sort", "hashjoin"):
                await transaction.execute(text(f"SET LOCAL enable_{setting} = off"))
            for image_filter, index in (
                (queries.ImageFilter(board_id=board_id), "board_images_newest_first"),
                (queries.ImageFilter(board_id=board_id, starred_only=True), "board_images_newest_first"),
                (queries.ImageFilter(uncategorised=True), "images_newest_first"),
            ):
                statement = queries.list_statement(
                    account_id, image_filter, after=place, limit=50, now=datetime.now(UTC)
                )
                compiled = statement.compile(transaction.bind, compile_kwargs={"literal_binds": True})
                plan = "\n".join((await transaction.scalars(text(f"EXPLAIN {compiled}".replace(":", r"\:")))).all())
                assert (
                    f"Index Scan Backward using {index}" in plan or f"Index Only Scan Backward using {index}" in plan
                ), plan
                assert "Sort" not in plan, plan
                # The place bounds the scan; it doesn't filter what the scan has read.
                condition = next(line for line in plan.splitlines() if "ROW(" in line)
                assert "Index Cond" in condition, plan
    finally:
        await database.close()
