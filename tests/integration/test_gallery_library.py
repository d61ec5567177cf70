"""What a gallery holds as a whole: its tags, and that sums and counts stay exact while many calls change it at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pingvas.gallery.v1.gallery_service_pb2 import Tags

from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory
from tests.harness_s3 import S3Server
from tests.harness_service import Identities

TAGS = "LibraryService.ListTags"
CALLS = 300
"""The whole two thousand of the goal take minutes on two busy cores."""


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities) as running:
        yield running


async def tag(gallery: Gallery, account_id: UUID, image_id: str, *tags: str) -> None:
    await gallery.images(account_id, "UpdateImage", image_id=image_id, tags=Tags(values=tags))


async def test_tags_are_counted_by_name_whatever_their_case_and_without_the_bin(gallery: Gallery) -> None:
    account_id, stranger = new_id(), new_id()
    one, two, three, binned = await gallery.take_in(account_id, 4)
    await tag(gallery, account_id, one, "Sea", "배")
    await tag(gallery, account_id, two, "sea")
    await tag(gallery, account_id, three, "Sea", "bird")
    await tag(gallery, account_id, binned, "gone", "bird")
    await gallery.images(account_id, "DeleteImage", image_id=binned)
    (foreign,) = await gallery.take_in(stranger)
    await tag(gallery, stranger, foreign, "secret")

    page = await gallery.call(account_id, TAGS)

    assert [(each.tag, each.image_count) for each in page.tags] == [("bird", 1), ("Sea", 3), ("배", 1)]
    found, token = [], ""
    for _ in range(3):
        page = await gallery.call(account_id, TAGS, page_size=1, page_token=token)
        found += [each.tag for each in page.tags]
        token = page.next_page_token
    assert (found, token) == (["bird", "Sea", "배"], "")
    assert not (await gallery.call(new_id(), TAGS)).tags
    first = await gallery.call(account_id, TAGS, page_size=1)
    assert await gallery.reason(stranger, TAGS, page_token=first.next_page_token) is Reason.PAGE_TOKEN_INVALID


async def test_counts_and_usage_are_exact_after_parallel_stars_moves_deletions_and_imports(gallery: Gallery) -> None:
    account_id, dice = new_id(), random.Random(11)
    own = [image_id for _ in range(4) for image_id in await gallery.take_in(account_id, 10)]
    boards = [await gallery.board(account_id, str(number)) for number in range(3)]

    async def change() -> None:
        chosen = dice.sample(own, 5)
        match dice.randrange(6):
            case 0:
                await gallery.images(account_id, "BatchStarImages", image_ids=chosen, unstar=dice.random() < 0.5)
            case 1:
                await gallery.boards(account_id, "AddBoardImages", board_id=dice.choice(boards), image_ids=chosen)
            case 2:
                to_board, from_board = dice.sample(boards, 2)
                await gallery.boards(
                    account_id, "BatchMoveImages", image_ids=chosen, to_board_id=to_board, from_board_id=from_board
                )
            case 3:
                await gallery.images(account_id, "BatchDeleteImages", image_ids=chosen)
            case 4:
                await gallery.images(account_id, "BatchRestoreImages", image_ids=chosen)
            case _:
                await gallery.take_in(account_id, dice.randint(1, 4))

    # As many at once as the service has connections, and as many waiting: more would be refused on a slow machine.
    places = asyncio.Semaphore(20)

    async def take_place() -> None:
        async with places:
            await change()

    await asyncio.gather(*(take_place() for _ in range(CALLS)))

    (kept,) = await gallery.rows("SELECT image_bytes FROM gallery.storage WHERE account_id = $1", account_id)
    (true,) = await gallery.rows(
        "SELECT sum(size_bytes)::bigint, count(*) FROM gallery.images WHERE account_id = $1", account_id
    )
    assert kept[0] == true[0]
    listed = [image_id for in_bin in (False, True) for image_id in await whole(gallery, account_id, in_bin=in_bin)]
    assert len(listed) == len(set(listed)) == true[1]
    starred = await gallery.rows(
        "SELECT count(*) FROM gallery.images WHERE account_id = $1 AND starred AND delete_time IS NULL", account_id
    )
    assert len(await whole(gallery, account_id, starred_only=True)) == starred[0][0]
    for board_id in boards:
        shown = await gallery.boards(account_id, "GetBoard", board_id=board_id)
        assert shown.image_count == len(await whole(gallery, account_id, board_id=board_id))


async def whole(gallery: Gallery, account_id: UUID, **filters: object) -> list[str]:
    """Returns the ids of a whole list, page by page."""
    found, token = [], ""
    while True:
        page = await gallery.images(account_id, "ListImages", page_size=200, page_token=token, **filters)
        found += [image.image_id for image in page.images]
        token = page.next_page_token
        if not token:
            return found
