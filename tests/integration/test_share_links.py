"""Share links through svc_gallery's real listener, a real database and a real object store."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from PIL import Image, PngImagePlugin
from pingvas.gallery.v1 import sharing_service_pb2
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.sharing_service_pb2_grpc import SharingServiceStub
from sqlalchemy import delete, select, text

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.objects import S3ObjectStore
from svc_gallery.domain.images import object_keys
from svc_gallery.domain.share_links import LINKS_OF_AN_IMAGE
from svc_gallery.main import GallerySettings, compose
from svc_gallery.store import models
from tests.factories.gallery import Clock, import_request
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values

SECRET_PROMPT = "a penguin that nobody may read of"


@dataclass(frozen=True, slots=True)
class Gallery:
    """A running svc_gallery, and short ways to call it."""

    stub: SharingServiceStub
    internal: grpc.aio.Channel
    identities: Identities
    database: ServiceDatabase
    objects: S3ObjectStore
    clock: Clock

    async def picture(self, account_id: UUID) -> str:
        """Takes in a picture whose bytes tell how it was made, and returns its id."""
        request = import_request(account_id)
        answer = await ImportServiceStub(self.internal).ImportImages(
            request, metadata=self.identities.as_service("svc_generation")
        )
        (image_id,) = answer.image_ids
        keys = object_keys(account_id, UUID(image_id))
        await self.objects.write(keys.original, telling_png(), "image/png")
        await self.objects.write(keys.thumbnail, b"small", "image/webp")
        return str(image_id)

    def create(
        self, account_id: UUID, image_id: str, *, header: str = "", **terms: Any
    ) -> Awaitable[sharing_service_pb2.ShareLink]:
        request = sharing_service_pb2.CreateShareLinkRequest(image_id=image_id, **terms)
        extra = (("idempotency-key", header),) if header else ()
        return self.stub.CreateShareLink(request, metadata=(*self.identities.as_user(account_id), *extra))

    def sharing(self, account_id: UUID, image_id: str) -> Awaitable[sharing_service_pb2.ImageSharing]:
        request = sharing_service_pb2.GetImageSharingRequest(image_id=image_id)
        return self.stub.GetImageSharing(request, metadata=self.identities.as_user(account_id))

    def revoke(
        self, account_id: UUID, image_id: str, share_link_id: str = ""
    ) -> Awaitable[sharing_service_pb2.ImageSharing]:
        request = sharing_service_pb2.RevokeShareLinksRequest(image_id=image_id, share_link_id=share_link_id)
        return self.stub.RevokeShareLinks(request, metadata=self.identities.as_user(account_id))

    def open(self, share_token: str) -> Awaitable[sharing_service_pb2.SharedImage]:
        """Opens a link as anybody can."""
        return self.stub.GetSharedImage(sharing_service_pb2.GetSharedImageRequest(share_token=share_token))

    def unlock(self, share_token: str, password: str) -> Awaitable[sharing_service_pb2.SharedImage]:
        """Opens a link that asks for a password as anybody can."""
        request = sharing_service_pb2.UnlockSharedImageRequest(share_token=share_token, password=password)
        return self.stub.UnlockSharedImage(request)

    async def reason_against(self, share_token: str) -> Reason:
        """Returns why a link shows nothing."""
        return (await refusal_of(self.open(share_token))).reason


@pytest.fixture(scope="module")
async def shared(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    database, clock = await database_for("gallery"), Clock()
    settings = GallerySettings(**settings_values(identities, "svc_gallery", database, s3=s3_server))
    async with running(compose(settings, clock)) as service:
        yield Gallery(
            SharingServiceStub(service.public), service.internal, identities, database, s3_server.store(), clock
        )


@pytest.fixture
def gallery(shared: Gallery) -> Gallery:
    shared.clock.ahead = timedelta()
    return shared


def telling_png() -> bytes:
    """Returns a picture with its recipe in every kind of chunk that holds words, before the pixels and behind them."""
    words = PngImagePlugin.PngInfo()
    words.add_text("parameters", SECRET_PROMPT)
    words.add_text("workflow", SECRET_PROMPT * 20, zip=True)
    words.add_itxt("pingvas", SECRET_PROMPT, zip=False)
    words.add(b"tEXt", b"late\0" + SECRET_PROMPT.encode(), after_idat=True)
    exif = Image.Exif()
    exif[0x010E] = SECRET_PROMPT
    picture = Image.effect_mandelbrot((64, 48), (-3, -2.5, 2, 2.5), 40).convert("RGB")
    file = io.BytesIO()
    picture.save(file, "png", pnginfo=words, exif=exif, dpi=(300, 300))
    return file.getvalue()


async def fetched(url: str) -> bytes:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).raise_for_status().content


async def test_anybody_with_the_link_sees_the_picture_and_its_recipe(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    link = await gallery.create(account_id, image_id, with_recipe=True)

    shown = await gallery.open(link.share_token)

    assert (shown.width_px, shown.height_px, shown.content_type) == (256, 128, "image/png")
    assert (shown.recipe.prompt, shown.recipe.model_id, shown.recipe.seed) == ("a penguin", "pingvas-tiny", -7)
    assert await fetched(shown.content_url) == telling_png()
    assert await fetched(shown.thumbnail_url) == b"small"


async def test_link_without_the_recipe_leads_to_the_same_pixels_and_no_words(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    shown = await gallery.open((await gallery.create(account_id, image_id)).share_token)

    assert not shown.HasField("recipe")
    content = await fetched(shown.content_url)
    with Image.open(io.BytesIO(content)) as bare, Image.open(io.BytesIO(telling_png())) as original:
        assert bare.tobytes() == original.tobytes()
        assert bare.info["dpi"] == original.info["dpi"]
        assert set(bare.info) == {"dpi"}
        assert not bare.getexif()
    assert b"penguin" not in content
    # Nothing of the owner stands in the answer: the account is a part of the object's address alone, which leads nowhere
    # without its signature.
    assert str(account_id) not in str(shown).replace(shown.content_url, "").replace(shown.thumbnail_url, "")


async def test_signature_of_the_copy_opens_nothing_else(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    shown = await gallery.open((await gallery.create(account_id, image_id)).share_token)
    async with httpx.AsyncClient() as client:
        assert (await client.get(shown.content_url.replace("shared.png", "original.png"))).status_code == 403


async def test_repeated_request_answers_with_the_same_link(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    first = await gallery.create(account_id, image_id, request_id="once")
    assert await gallery.create(account_id, image_id, header="once") == first
    assert await gallery.create(account_id, image_id) != first
    refusal = await refusal_of(gallery.create(account_id, image_id, request_id="once", with_recipe=True))
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED
    sharing = await gallery.sharing(account_id, image_id)
    assert sharing.links[0] == first
    assert len(sharing.links) == 2


async def test_parallel_repetitions_make_one_link(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    links = await asyncio.gather(*(gallery.create(account_id, image_id, request_id="at once") for _ in range(12)))
    assert {link.share_token for link in links} == {links[0].share_token}
    assert len((await gallery.sharing(account_id, image_id)).links) == 1


async def test_picture_has_so_many_links_at_most_even_when_asked_at_once(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    calls = [gallery.create(account_id, image_id) for _ in range(LINKS_OF_AN_IMAGE + 5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, sharing_service_pb2.ShareLink) for outcome in outcomes) == LINKS_OF_AN_IMAGE
    refusal = await refusal_of(gallery.create(account_id, image_id))
    assert (refusal.reason, refusal.metadata) == (Reason.TOO_MANY_SHARE_LINKS, {"limit": "20"})
    await gallery.revoke(account_id, image_id)
    assert (await gallery.create(account_id, image_id)).share_token


async def test_revoked_link_shows_nothing_and_the_others_go_on(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    kept, revoked = [await gallery.create(account_id, image_id) for _ in range(2)]

    left = await gallery.revoke(account_id, image_id, revoked.share_link_id)

    assert [link.share_token for link in left.links] == [kept.share_token]
    assert await gallery.reason_against(revoked.share_token) is Reason.SHARE_LINK_NOT_FOUND
    assert (await gallery.open(kept.share_token)).width_px == 256
    assert not (await gallery.revoke(account_id, image_id)).links
    assert await gallery.reason_against(kept.share_token) is Reason.SHARE_LINK_NOT_FOUND


async def test_addresses_that_were_opened_before_work_for_a_minute_at_most(gallery: Gallery) -> None:
    account_id = new_id()
    link = await gallery.create(account_id, await gallery.picture(account_id))
    shown = await gallery.open(link.share_token)
    assert "X-Amz-Expires=60&" in shown.content_url
    assert "X-Amz-Expires=60&" in shown.thumbnail_url
    assert shown.url_expire_time.ToDatetime(UTC) <= datetime.now(UTC) + timedelta(minutes=1)


async def test_link_ends_at_its_time(gallery: Gallery) -> None:
    account_id = new_id()
    image_id, end = await gallery.picture(account_id), Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    link = await gallery.create(account_id, image_id, expire_time=end)
    assert link.expire_time == end
    gallery.clock.ahead = timedelta(minutes=59)
    assert (await gallery.open(link.share_token)).width_px == 256
    gallery.clock.ahead = timedelta(minutes=61)
    assert await gallery.reason_against(link.share_token) is Reason.SHARE_LINK_NOT_FOUND


async def test_link_that_would_have_ended_is_refused(gallery: Gallery) -> None:
    account_id = new_id()
    past = Timestamp(seconds=1_000_000_000)
    refusal = await refusal_of(gallery.create(account_id, await gallery.picture(account_id), expire_time=past))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "expire_time")


async def test_views_are_counted_and_never_exceed_their_limit(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    link = await gallery.create(account_id, image_id, view_limit=5)

    outcomes = await asyncio.gather(*(gallery.open(link.share_token) for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(outcome, sharing_service_pb2.SharedImage) for outcome in outcomes) == 5
    (told,) = (await gallery.sharing(account_id, image_id)).links
    assert (told.view_count, told.view_limit) == (5, 5)


@pytest.mark.parametrize("share_token", ["A" * 22, "x", "../../../etc/passwd", "\U0001f6a4" * 16, "' OR '1'='1"])
async def test_made_up_token_shows_nothing(gallery: Gallery, share_token: str) -> None:
    assert await gallery.reason_against(share_token) is Reason.SHARE_LINK_NOT_FOUND


async def test_picture_of_another_account_can_neither_be_shared_nor_its_links_seen(gallery: Gallery) -> None:
    owner, other = new_id(), new_id()
    image_id = await gallery.picture(owner)
    link = await gallery.create(owner, image_id)
    for call in (
        gallery.create(other, image_id),
        gallery.sharing(other, image_id),
        gallery.revoke(other, image_id),
        gallery.revoke(other, image_id, link.share_link_id),
    ):
        assert (await refusal_of(call)).reason is Reason.IMAGE_NOT_FOUND
    # Nor by way of a picture of one's own.
    await gallery.revoke(other, await gallery.picture(other), link.share_link_id)
    assert (await gallery.open(link.share_token)).width_px == 256


async def test_row_security_hides_links_when_a_query_forgets_the_account(gallery: Gallery) -> None:
    owner = new_id()
    await gallery.create(owner, await gallery.picture(owner))
    database = Database(gallery.database.requests_url)
    try:
        for account_id, count in ((new_id(), 0), (None, 0), (owner, 1)):
            async with database.transaction(account_id) as transaction:
                assert len((await transaction.scalars(select(models.ShareLink))).all()) == count
    finally:
        await database.close()


async def test_deleted_picture_takes_its_links_along(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    link = await gallery.create(account_id, image_id)
    database = Database(gallery.database.requests_url)
    try:
        async with database.transaction(account_id) as transaction:
            await transaction.execute(delete(models.Image).where(models.Image.image_id == UUID(image_id)))
    finally:
        await database.close()
    assert await gallery.reason_against(link.share_token) is Reason.SHARE_LINK_NOT_FOUND


async def test_database_holds_no_token(gallery: Gallery) -> None:
    account_id = new_id()
    link = await gallery.create(account_id, await gallery.picture(account_id))
    database = Database(gallery.database.tasks_url)
    try:
        async with database.transaction() as transaction:
            rows = await transaction.scalars(text("SELECT row_to_json(l)::text FROM gallery.share_links l"))
            everything = "\n".join(rows)
    finally:
        await database.close()
    assert link.share_link_id in everything
    assert link.share_token not in everything


async def test_link_with_a_password_shows_nothing_without_it(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    link = await gallery.create(account_id, image_id, password="open, please", view_limit=1)
    assert (link.has_password, link.no_download) == (True, False)

    assert await gallery.reason_against(link.share_token) is Reason.SHARE_PASSWORD_REQUIRED
    assert (await refusal_of(gallery.unlock(link.share_token, "guessed"))).reason is Reason.SHARE_PASSWORD_WRONG
    assert (await gallery.sharing(account_id, image_id)).links[0].view_count == 0

    shown = await gallery.unlock(link.share_token, "open, please")
    assert shown.content_url
    assert (await gallery.sharing(account_id, image_id)).links[0].view_count == 1
    # The last view was used: what is asked for a password and what isn't can't be told apart any more.
    assert await gallery.reason_against(link.share_token) is Reason.SHARE_LINK_NOT_FOUND
    refusal = await refusal_of(gallery.unlock(link.share_token, "open, please"))
    assert refusal.reason is Reason.SHARE_LINK_NOT_FOUND


async def test_password_is_kept_as_a_hash_of_argon2id(gallery: Gallery) -> None:
    account_id = new_id()
    await gallery.create(account_id, await gallery.picture(account_id), password="open, please")
    database = Database(gallery.database.requests_url)
    try:
        async with database.transaction(account_id) as transaction:
            (kept,) = (await transaction.scalars(select(models.ShareLink.password_hash))).all()
    finally:
        await database.close()
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_ten_passwords_in_parallel_are_tried_and_not_one_more(gallery: Gallery) -> None:
    account_id = new_id()
    link = await gallery.create(account_id, await gallery.picture(account_id), password="open, please")
    tries = [refusal_of(gallery.unlock(link.share_token, f"guess {number}")) for number in range(16)]
    reasons = Counter(refusal.reason for refusal in await asyncio.gather(*tries))
    assert reasons == {Reason.SHARE_PASSWORD_WRONG: 10, Reason.RATE_LIMITED: 6}
    refusal = await refusal_of(gallery.unlock(link.share_token, "open, please"))
    assert (refusal.reason, refusal.metadata) == (Reason.RATE_LIMITED, {"scope": "share_link"})
    assert refusal.retry_after is not None
    assert timedelta(0) < refusal.retry_after <= timedelta(minutes=15)

    gallery.clock.ahead = timedelta(minutes=15, seconds=1)
    assert (await gallery.unlock(link.share_token, "open, please")).content_url
    # The right password makes room for new tries.
    assert (await refusal_of(gallery.unlock(link.share_token, "guessed"))).reason is Reason.SHARE_PASSWORD_WRONG


async def test_link_without_a_password_opens_with_any(gallery: Gallery) -> None:
    account_id = new_id()
    link = await gallery.create(account_id, await gallery.picture(account_id))
    assert (await gallery.unlock(link.share_token, "whatever")).content_url


async def test_link_without_download_leads_to_the_thumbnail_only(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    link = await gallery.create(account_id, image_id, no_download=True)
    shown = await gallery.open(link.share_token)
    assert (link.no_download, shown.content_url) == (True, "")
    async with httpx.AsyncClient() as client:
        assert (await client.get(shown.thumbnail_url)).content == b"small"


async def test_repetition_with_other_terms_is_recognised_by_password_and_download(gallery: Gallery) -> None:
    account_id = new_id()
    image_id = await gallery.picture(account_id)
    first = await gallery.create(account_id, image_id, request_id="one", password="open, please")
    again = await gallery.create(account_id, image_id, request_id="one", password="open, please")
    assert again.share_link_id == first.share_link_id
    for terms in ({}, {"password": "another one"}, {"password": "open, please", "no_download": True}):
        refusal = await refusal_of(gallery.create(account_id, image_id, request_id="one", **terms))
        assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_password_that_is_too_short_is_refused(gallery: Gallery) -> None:
    account_id = new_id()
    refusal = await refusal_of(gallery.create(account_id, await gallery.picture(account_id), password="12345"))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "password")
