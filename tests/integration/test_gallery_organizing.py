"""Stars, ratings, tags, search and the bin through svc_gallery's real listener, database and object store."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2, sharing_service_pb2, source_service_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.sharing_service_pb2_grpc import SharingServiceStub
from pingvas.gallery.v1.source_service_pb2_grpc import SourceServiceStub
from sqlalchemy import select, text

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.objects import S3ObjectStore
from svc_common.status import from_status
from svc_gallery.domain.images import object_keys
from svc_gallery.main import GallerySettings, compose
from svc_gallery.store import models, queries
from svc_gallery.tasks import ImagePurger
from tests.factories.gallery import Clock, import_request
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values


@dataclass(frozen=True, slots=True)
class Gallery:
    """A running svc_gallery, and short ways to call it."""

    public: grpc.aio.Channel
    internal: grpc.aio.Channel
    identities: Identities
    database: ServiceDatabase
    objects: S3ObjectStore
    clock: Clock

    async def take_in(
        self, account_id: UUID, prompt: str = "a penguin", model_id: str = "pingvas-tiny", count: int = 1
    ) -> list[str]:
        request = import_request(account_id, image_count=count)
        request.prompt, request.model_id = prompt, model_id
        answer = await ImportServiceStub(self.internal).ImportImages(
            request, metadata=self.identities.as_service("svc_generation")
        )
        return list(answer.image_ids)

    def call(self, account_id: UUID, method: str, **fields: Any) -> Awaitable[Any]:
        request = getattr(gallery_service_pb2, f"{method}Request")(**fields)
        return getattr(GalleryServiceStub(self.public), method)(request, metadata=self.identities.as_user(account_id))

    async def ids(self, account_id: UUID, **fields: Any) -> list[str]:
        page = await self.call(account_id, "ListImages", **fields)
        return [image.image_id for image in page.images]

    async def search(self, account_id: UUID, query: str) -> set[str]:
        """Returns the prompts of what is found."""
        page = await self.call(account_id, "ListImages", query=query)
        return {image.prompt for image in page.images}

    async def purge(self) -> int:
        database = Database(self.database.tasks_url)
        try:
            return await ImagePurger(database=database, objects=self.objects, now=self.clock).purge()
        finally:
            await database.close()

    async def rows(self, account_id: UUID) -> int:
        database = Database(self.database.requests_url)
        try:
            async with database.transaction(account_id) as transaction:
                return len((await transaction.scalars(select(models.Image.image_id))).all())
        finally:
            await database.close()


@pytest.fixture(scope="module")
async def shared(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    database, clock = await database_for("gallery"), Clock()
    settings = GallerySettings(**settings_values(identities, "svc_gallery", database, s3=s3_server))
    async with running(compose(settings, clock)) as service:
        yield Gallery(service.public, service.internal, identities, database, s3_server.store(), clock)


@pytest.fixture
def gallery(shared: Gallery) -> Gallery:
    shared.clock.ahead = timedelta()
    return shared


async def test_owner_says_what_a_picture_is(gallery: Gallery) -> None:
    account_id = new_id()
    (image_id,) = await gallery.take_in(account_id)
    tags = gallery_service_pb2.Tags(values=[" Sea ", "바다"])
    await gallery.call(
        account_id, "UpdateImage", image_id=image_id, title="A bird", note="For Ada", tags=tags, rating=4
    )

    changed = await gallery.call(account_id, "UpdateImage", image_id=image_id, title="The bird")

    assert (changed.title, changed.note, list(changed.tags), changed.rating) == (
        "The bird",
        "For Ada",
        ["Sea", "바다"],
        4,
    )
    shown = await gallery.call(account_id, "GetImage", image_id=image_id)
    assert shown == changed_addresses(changed, shown)
    cleared = await gallery.call(
        account_id, "UpdateImage", image_id=image_id, note="", rating=0, tags=gallery_service_pb2.Tags()
    )
    assert (cleared.title, cleared.note, list(cleared.tags), cleared.rating) == ("The bird", "", [], 0)


def changed_addresses(image: image_pb2.Image, later: image_pb2.Image) -> image_pb2.Image:
    """Returns the picture with the addresses of a later answer, which are signed anew."""
    same = image_pb2.Image()
    same.CopyFrom(image)
    same.content_url, same.thumbnail_url = later.content_url, later.thumbnail_url
    same.url_expire_time.CopyFrom(later.url_expire_time)
    return same


@pytest.mark.parametrize(
    ("fields", "field_name"),
    [
        ({"rating": 6}, "rating"),
        ({"title": "x" * 201}, "title"),
        ({"tags": gallery_service_pb2.Tags(values=["Sea", "sea"])}, "tags.values[1]"),
        ({"tags": gallery_service_pb2.Tags(values=["  "])}, "tags.values[0]"),
        ({"tags": gallery_service_pb2.Tags(values=["x"] * 31)}, "tags.values"),
    ],
)
async def test_what_cant_be_said_is_refused_and_changes_nothing(
    gallery: Gallery, fields: dict[str, Any], field_name: str
) -> None:
    account_id = new_id()
    (image_id,) = await gallery.take_in(account_id)
    refusal = await refusal_of(gallery.call(account_id, "UpdateImage", image_id=image_id, **fields))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, field_name)
    assert not (await gallery.call(account_id, "GetImage", image_id=image_id)).tags


async def test_lists_are_narrowed_by_each_filter_and_by_all(gallery: Gallery) -> None:
    account_id = new_id()
    (plain,) = await gallery.take_in(account_id)
    (starred,) = await gallery.take_in(account_id)
    (rated,) = await gallery.take_in(account_id)
    (tagged,) = await gallery.take_in(account_id)
    between = datetime.now(UTC)
    (of_model,) = await gallery.take_in(account_id, model_id="flux-dev")
    await gallery.call(account_id, "StarImage", image_id=starred)
    for image_id, rating in ((rated, 4), (starred, 3)):
        await gallery.call(account_id, "UpdateImage", image_id=image_id, rating=rating)
    await gallery.call(
        account_id, "UpdateImage", image_id=tagged, tags=gallery_service_pb2.Tags(values=["Rock'n'Roll & Co"])
    )
    moment = Timestamp()
    moment.FromDatetime(between)

    assert await gallery.ids(account_id) == [of_model, tagged, rated, starred, plain]
    assert await gallery.ids(account_id, starred_only=True) == [starred]
    assert await gallery.ids(account_id, min_rating=3) == [rated, starred]
    assert await gallery.ids(account_id, min_rating=4) == [rated]
    assert await gallery.ids(account_id, tag="rock'n'roll & co") == [tagged]
    assert await gallery.ids(account_id, tag="rock") == []
    assert await gallery.ids(account_id, model_id="flux-dev") == [of_model]
    assert await gallery.ids(account_id, create_time_from=moment) == [of_model]
    assert await gallery.ids(account_id, create_time_until=moment) == [tagged, rated, starred, plain]
    assert await gallery.ids(account_id, starred_only=True, min_rating=3, query="peng") == [starred]
    assert await gallery.ids(account_id, starred_only=True, min_rating=4) == []


async def test_prompts_of_any_language_are_found_by_words_and_parts(gallery: Gallery) -> None:
    account_id = new_id()
    prompts = ("a red penguin on the ice", "빨간 펭귄이 바닷가에서 춤춘다", "夕焼けの海とペンギン", "(red:1.3) Straße")
    for prompt in prompts:
        await gallery.take_in(account_id, prompt)
    english, korean, japanese, german = prompts
    assert await gallery.search(account_id, "PENG") == {english}
    assert await gallery.search(account_id, "red") == {english, german}
    assert await gallery.search(account_id, "red ice") == {english}
    assert await gallery.search(account_id, "engu") == set()
    assert await gallery.search(account_id, "펭귄") == {korean}
    assert await gallery.search(account_id, "닷가") == {korean}
    assert await gallery.search(account_id, "춤 펭") == {korean}
    assert await gallery.search(account_id, "海") == {japanese}
    assert await gallery.search(account_id, "ﾍﾟﾝｷﾞﾝ") == {japanese}
    assert await gallery.search(account_id, "STRASSE") == {german}
    assert (await refusal_of(gallery.call(account_id, "ListImages", query="?!"))).violations[0].field == "query"


async def test_search_finds_title_note_and_tags_as_they_are_now(gallery: Gallery) -> None:
    account_id = new_id()
    (image_id,) = await gallery.take_in(account_id)
    tags = gallery_service_pb2.Tags(values=["harbour"])
    await gallery.call(account_id, "UpdateImage", image_id=image_id, title="Poster", note="for the fair", tags=tags)
    assert [await gallery.ids(account_id, query=word) for word in ("poster", "fair", "harbour", "penguin")] == [
        [image_id]
    ] * 4
    await gallery.call(account_id, "UpdateImage", image_id=image_id, title="", tags=gallery_service_pb2.Tags())
    assert [await gallery.ids(account_id, query=word) for word in ("poster", "fair", "harbour")] == [[], [image_id], []]


async def test_pages_of_a_search_are_whole_and_their_tokens_good_for_it_alone(gallery: Gallery) -> None:
    account_id = new_id()
    wanted: set[str] = set()
    for number in range(30):
        ids = await gallery.take_in(account_id, "a whale" if number % 3 else "a penguin", count=2)
        wanted.update(ids if number % 3 == 0 else ())
    seen, token = [], ""
    while True:
        page = await gallery.call(account_id, "ListImages", query="penguin", page_size=7, page_token=token)
        seen += [image.image_id for image in page.images]
        token = page.next_page_token or token
        if not page.next_page_token:
            break
    assert (len(seen), set(seen)) == (len(wanted), wanted)
    refusal = await refusal_of(gallery.call(account_id, "ListImages", query="whale", page_token=token))
    assert refusal.reason is Reason.PAGE_TOKEN_INVALID


async def test_deleted_picture_is_in_the_bin_and_nowhere_else_until_it_is_restored(gallery: Gallery) -> None:
    account_id = new_id()
    deleted, kept = await gallery.take_in(account_id, count=2)
    sharing = SharingServiceStub(gallery.public)
    link = await sharing.CreateShareLink(
        sharing_service_pb2.CreateShareLinkRequest(image_id=deleted, with_recipe=True),
        metadata=gallery.identities.as_user(account_id),
    )
    before = datetime.now(UTC)

    answer = await gallery.call(account_id, "DeleteImage", image_id=deleted)

    days = answer.purge_time.ToDatetime(UTC) - before
    assert timedelta(days=30) <= days < timedelta(days=30, minutes=1)
    assert (await gallery.ids(account_id), await gallery.ids(account_id, in_bin=True)) == ([kept], [deleted])
    assert await gallery.ids(account_id, query="penguin") == [kept]
    assert (await gallery.call(account_id, "GetImage", image_id=deleted)).HasField("delete_time")
    source = source_service_pb2.ResolveSourceRequest(account_id=str(account_id), image_id=deleted)
    resolving = SourceServiceStub(gallery.internal).ResolveSource(
        source, metadata=gallery.identities.as_service("svc_generation")
    )
    assert (await refusal_of(resolving)).reason is Reason.SOURCE_NOT_FOUND
    opening = sharing.GetSharedImage(sharing_service_pb2.GetSharedImageRequest(share_token=link.share_token))
    assert (await refusal_of(opening)).reason is Reason.SHARE_LINK_NOT_FOUND
    for method in ("StarImage", "UpdateImage"):
        assert (await refusal_of(gallery.call(account_id, method, image_id=deleted))).reason is Reason.IMAGE_NOT_FOUND

    again = await gallery.call(account_id, "DeleteImage", image_id=deleted)
    assert again.purge_time == answer.purge_time
    restored = await gallery.call(account_id, "RestoreImage", image_id=deleted)
    assert not restored.HasField("delete_time")
    assert set(await gallery.ids(account_id)) == {deleted, kept}
    assert (
        await sharing.GetSharedImage(sharing_service_pb2.GetSharedImageRequest(share_token=link.share_token))
    ).width_px == 256


async def test_bin_is_emptied_after_thirty_days_bytes_and_all(gallery: Gallery) -> None:
    account_id = new_id()
    deleted, kept = await gallery.take_in(account_id, count=2)
    for image_id in (deleted, kept):
        for key in object_keys(account_id, UUID(image_id)).all():
            await gallery.objects.write(key, b"bytes", "image/png")
    await gallery.call(account_id, "DeleteImage", image_id=deleted)
    gallery.clock.ahead = timedelta(days=29, hours=23)
    await gallery.purge()
    assert await gallery.rows(account_id) == 2

    gallery.clock.ahead = timedelta(days=30, minutes=1)
    # Even before the sweep has come by.
    assert (
        await refusal_of(gallery.call(account_id, "RestoreImage", image_id=deleted))
    ).reason is Reason.IMAGE_NOT_FOUND
    assert await gallery.ids(account_id, in_bin=True) == []
    await gallery.purge()

    assert await gallery.rows(account_id) == 1
    left = [found.key async for found in gallery.objects.list_prefix(f"users/{account_id}/")]
    assert sorted(left) == sorted(object_keys(account_id, UUID(kept)).all())


async def test_permanent_deletion_works_at_once_in_the_gallery_and_in_the_bin(gallery: Gallery) -> None:
    account_id = new_id()
    first, second, third = await gallery.take_in(account_id, count=3)
    await gallery.call(account_id, "DeleteImage", image_id=first)
    for image_id in (first, second):
        await gallery.call(account_id, "DeleteImage", image_id=image_id, permanently=True)
    assert (await gallery.ids(account_id), await gallery.ids(account_id, in_bin=True)) == ([third], [])
    for method in ("GetImage", "RestoreImage", "DeleteImage"):
        assert (await refusal_of(gallery.call(account_id, method, image_id=first))).reason is Reason.IMAGE_NOT_FOUND
    await gallery.purge()
    assert await gallery.rows(account_id) == 1


async def test_batch_tells_of_each_picture_how_it_went(gallery: Gallery) -> None:
    owner, other = new_id(), new_id()
    own = await gallery.take_in(owner, count=3)
    (foreign,) = await gallery.take_in(other)
    unknown = str(new_id())

    answer = await gallery.call(owner, "BatchDeleteImages", image_ids=[own[1], foreign, unknown, own[0]])

    assert [result.image_id for result in answer.results] == [own[1], foreign, unknown, own[0]]
    refusals = [from_status(result.error) if result.HasField("error") else None for result in answer.results]
    assert [refusal and (refusal.reason, refusal.metadata["image_id"]) for refusal in refusals] == [
        None,
        (Reason.IMAGE_NOT_FOUND, foreign),
        (Reason.IMAGE_NOT_FOUND, unknown),
        None,
    ]
    assert (await gallery.ids(owner), await gallery.ids(other)) == ([own[2]], [foreign])
    await gallery.call(owner, "BatchRestoreImages", image_ids=own)
    assert set(await gallery.ids(owner)) == set(own)
    await gallery.call(owner, "BatchStarImages", image_ids=own[:2])
    await gallery.call(owner, "BatchStarImages", image_ids=own[1:], unstar=True)
    assert await gallery.ids(owner, starred_only=True) == [own[0]]


@pytest.mark.parametrize(
    "ids", [[], [IMAGE := str(UUID(int=1)), IMAGE], ["no-uuid"], [str(UUID(int=n)) for n in range(1001)]]
)
async def test_batch_that_is_no_batch_is_refused(gallery: Gallery, ids: list[str]) -> None:
    refusal = await refusal_of(gallery.call(new_id(), "BatchDeleteImages", image_ids=ids))
    assert refusal.reason is Reason.INVALID_FIELD
    assert refusal.violations[0].field.startswith("image_ids")


async def test_two_thousand_parallel_changes_leave_what_a_model_of_them_says(gallery: Gallery) -> None:
    account_id, dice = new_id(), random.Random(7)
    own = [image_id for _ in range(5) for image_id in await gallery.take_in(account_id, count=10)]
    # Each picture's own changes follow each other; those of different pictures, and batches over all, run beside them.
    stars = dict.fromkeys(own, False)
    binned = dict.fromkeys(own, False)

    async def change(image_id: str) -> None:
        for _ in range(38):
            verb = dice.choice(("StarImage", "UnstarImage", "DeleteImage", "RestoreImage"))
            if verb in ("StarImage", "UnstarImage") and binned[image_id]:
                continue
            await gallery.call(account_id, verb, image_id=image_id)
            if verb in ("StarImage", "UnstarImage"):
                stars[image_id] = verb == "StarImage"
            else:
                binned[image_id] = verb == "DeleteImage"

    imports = [gallery.take_in(account_id, count=2) for _ in range(50)]
    *_, taken = await asyncio.gather(*map(change, own), asyncio.gather(*imports))

    fresh = {image_id for ids in taken for image_id in ids}
    listed = set(await gallery.ids(account_id, page_size=200))
    assert listed == fresh | {image_id for image_id in own if not binned[image_id]}
    assert set(await gallery.ids(account_id, in_bin=True, page_size=200)) == {i for i in own if binned[i]}
    shown_stars = set(await gallery.ids(account_id, starred_only=True, page_size=200))
    assert shown_stars == {image_id for image_id in own if stars[image_id] and not binned[image_id]}


async def test_parallel_batches_in_opposite_order_dont_deadlock(gallery: Gallery) -> None:
    account_id = new_id()
    own = await gallery.take_in(account_id, count=8)
    calls = [
        gallery.call(account_id, "BatchStarImages", image_ids=own[:: 1 if number % 2 else -1], unstar=number % 3 == 0)
        for number in range(40)
    ]
    answers = await asyncio.gather(*calls)
    assert not any(result.HasField("error") for answer in answers for result in answer.results)


async def test_search_without_an_owner_check_finds_own_pictures_only(gallery: Gallery) -> None:
    owner = new_id()
    await gallery.take_in(owner, "a secret penguin")
    database = Database(gallery.database.requests_url)
    statement = text("SELECT prompt FROM gallery.own_images WHERE search @@ 'secret'::tsquery")
    try:
        for account_id, found in ((owner, ["a secret penguin"]), (new_id(), []), (None, [])):
            async with database.transaction(account_id) as transaction:
                assert (await transaction.scalars(statement)).all() == found
    finally:
        await database.close()


async def test_every_list_is_read_from_an_index_in_its_order(gallery: Gallery) -> None:
    """A plan over a large gallery neither sorts nor reads rows of other accounts, whatever the filter."""
    account_id = new_id()
    database = Database(gallery.database.requests_url)
    try:
        async with database.transaction(account_id) as transaction:
            await transaction.execute(text("SET LOCAL enable_seqscan = off"))
            await transaction.execute(text("SET LOCAL enable_bitmapscan = off"))
            await transaction.execute(text("SET LOCAL enable_sort = off"))
            for image_filter, index in (
                (queries.ImageFilter(), "images_newest_first"),
                (queries.ImageFilter(starred_only=True), "images_starred"),
                (queries.ImageFilter(min_rating=3), "images_rated"),
                (queries.ImageFilter(model_id="flux-dev"), "images_of_model"),
                (queries.ImageFilter(in_bin=True), "images_in_bin"),
            ):
                statement = queries.list_statement(
                    account_id, image_filter, after=None, limit=50, now=datetime.now(UTC)
                )
                compiled = statement.compile(transaction.bind, compile_kwargs={"literal_binds": True})
                plan = "\n".join((await transaction.scalars(text(f"EXPLAIN {compiled}".replace(":", r"\:")))).all())
                assert index in plan, plan
                assert "Sort" not in plan
    finally:
        await database.close()
