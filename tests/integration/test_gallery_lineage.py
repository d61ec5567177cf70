"""Which pictures were made from which, through svc_gallery's real listener and a real database."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pingvas.gallery.v1 import image_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory
from tests.harness_s3 import S3Server
from tests.harness_service import Identities

LINEAGE, DELETE = "LineageService.GetImageLineage", "GalleryService.DeleteImage"
UPSCALE = image_pb2.IMAGE_OPERATION_UPSCALE


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities) as running:
        yield running


async def made_from(gallery: Gallery, account_id: UUID, parent_image_id: str = "") -> str:
    (image_id,) = await gallery.take_in(account_id, parent_image_id=parent_image_id, operation=UPSCALE)
    return image_id


async def around(gallery: Gallery, account_id: UUID, image_id: str) -> tuple[list[str], list[str]]:
    """Returns the ids of what a picture was made from, and of what was made from it."""
    found = await gallery.call(account_id, LINEAGE, image_id=image_id)
    assert not found.has_more_descendants
    return [image.image_id for image in found.ancestors], [image.image_id for image in found.descendants]


async def test_lineage_goes_both_ways(gallery: Gallery) -> None:
    account_id = new_id()
    sketch = await made_from(gallery, account_id)
    edited = await made_from(gallery, account_id, sketch)
    another = await made_from(gallery, account_id, sketch)
    large = await made_from(gallery, account_id, edited)

    assert await around(gallery, account_id, sketch) == ([], [large, another, edited])
    assert await around(gallery, account_id, edited) == ([sketch], [large])
    assert await around(gallery, account_id, large) == ([edited, sketch], [])
    found = await gallery.call(account_id, LINEAGE, image_id=large)
    assert [image.parent_image_id for image in found.ancestors] == [sketch, ""]
    assert found.ancestors[0].operation == UPSCALE
    assert found.ancestors[0].thumbnail_url
    # The list by words is read through a view, which must have the new columns too.
    (shown, *_) = (await gallery.call(account_id, "GalleryService.ListImages", query="penguin")).images
    assert (shown.image_id, shown.parent_image_id) == (large, edited)


async def test_what_is_in_the_bin_is_passed_over_and_what_is_gone_ends_the_line(gallery: Gallery) -> None:
    account_id = new_id()
    first = await made_from(gallery, account_id)
    second = await made_from(gallery, account_id, first)
    third = await made_from(gallery, account_id, second)
    await gallery.call(account_id, DELETE, image_id=second)
    assert await around(gallery, account_id, third) == ([first], [])
    assert await around(gallery, account_id, first) == ([], [third])
    await gallery.rows("DELETE FROM gallery.images WHERE image_id = $1", UUID(second))
    assert await around(gallery, account_id, third) == ([], [])
    assert await around(gallery, account_id, first) == ([], [])
    kept = await gallery.call(account_id, "GalleryService.GetImage", image_id=third)
    assert kept.parent_image_id == second


async def test_circle_comes_to_an_end(gallery: Gallery) -> None:
    account_id = new_id()
    one = await made_from(gallery, account_id)
    other = await made_from(gallery, account_id, one)
    await gallery.rows("UPDATE gallery.images SET parent_image_id = $1 WHERE image_id = $2", UUID(other), UUID(one))
    above, below = await around(gallery, account_id, one)
    assert set(above) == {one, other}
    assert below == [other]


async def test_so_many_descendants_are_shown_and_no_more(gallery: Gallery) -> None:
    account_id = new_id()
    root = await made_from(gallery, account_id)
    for _ in range(13):
        await gallery.take_in(account_id, 16, parent_image_id=root)
    found = await gallery.call(account_id, LINEAGE, image_id=root)
    assert (len(found.descendants), found.has_more_descendants) == (200, True)


async def test_pictures_of_others_are_in_no_lineage(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    image_id = await made_from(gallery, owner)
    await made_from(gallery, stranger, image_id)
    assert await around(gallery, owner, image_id) == ([], [])
    assert await gallery.reason(stranger, LINEAGE, image_id=image_id) is Reason.IMAGE_NOT_FOUND
