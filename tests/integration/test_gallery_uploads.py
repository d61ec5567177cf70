"""Uploads and sources through svc_gallery's real listeners, a real database and a real object store."""

import asyncio
import io
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
from PIL import Image
from pingvas.gallery.v1 import gallery_service_pb2, library_service_pb2, source_service_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.library_service_pb2_grpc import LibraryServiceStub
from pingvas.gallery.v1.source_service_pb2_grpc import SourceServiceStub
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from sqlalchemy import select

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.object_keys import upload_key
from svc_common.objects import S3ObjectStore
from svc_gallery.domain.uploads import OPEN_UPLOADS
from svc_gallery.main import GallerySettings, compose
from svc_gallery.store.models import Upload
from svc_gallery.tasks import UploadSweeper
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.gallery import Clock, import_request
from tests.factories.pictures import CONTENT_TYPES, claimed_png_bytes, moving_picture_bytes, picture_bytes
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, RunningService, refusal_of, running, settings_values

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Gallery:
    """A running svc_gallery, and short ways to call it."""

    public: grpc.aio.Channel
    internal: grpc.aio.Channel
    identities: Identities
    clock: Clock
    database: ServiceDatabase
    objects: S3ObjectStore

    def create(
        self,
        account_id: UUID,
        size_bytes: int = 5,
        content_type: str = "image/png",
        *,
        request_id: str = "",
        header: str = "",
    ) -> Awaitable[gallery_service_pb2.Upload]:
        request = gallery_service_pb2.CreateUploadRequest(
            content_type=content_type, size_bytes=size_bytes, request_id=request_id
        )
        extra = (("idempotency-key", header),) if header else ()
        stub = GalleryServiceStub(self.public)
        return stub.CreateUpload(request, metadata=(*self.identities.as_user(account_id), *extra))

    async def put(self, account_id: UUID, content: bytes, content_type: str = "image/png") -> str:
        """Uploads as a client does, and returns the upload's id."""
        upload = await self.create(account_id, len(content), content_type)
        assert (await put_to(upload, content, content_type)).is_success
        return upload.upload_id

    async def take_in(self, account_id: UUID, size_bytes: int) -> None:
        """Lets the account have one picture of a size."""
        request = import_request(account_id)
        request.images[0].size_bytes = size_bytes
        metadata = self.identities.as_service("svc_generation")
        await ImportServiceStub(self.internal).ImportImages(request, metadata=metadata)

    def resolve(
        self, account_id: UUID, *, service: str = "svc_generation", **source: str
    ) -> Awaitable[source_service_pb2.Source]:
        request = source_service_pb2.ResolveSourceRequest(account_id=str(account_id), **source)
        stub = SourceServiceStub(self.internal)
        return stub.ResolveSource(request, metadata=self.identities.as_service(service))

    async def cause(self, account_id: UUID, upload_id: str) -> dict[str, str]:
        """Returns why an upload is no source."""
        refusal = await refusal_of(self.resolve(account_id, upload_id=upload_id))
        assert refusal.reason is Reason.SOURCE_INVALID
        return refusal.metadata

    async def sweep(self) -> int:
        database = Database(self.database.tasks_url)
        try:
            return await UploadSweeper(database=database, objects=self.objects, now=self.clock).delete_expired()
        finally:
            await database.close()


@pytest.fixture(scope="module")
async def payment(database_for: DatabaseFactory, identities: Identities) -> AsyncIterator[RunningService]:
    values = settings_values(identities, "svc_payment", await database_for("payment"))
    async with running(compose_payment(PaymentSettings(**values))) as service:
        yield service


@pytest.fixture(scope="module")
async def shared(
    database_for: DatabaseFactory, s3_server: S3Server, identities: Identities, payment: RunningService
) -> AsyncIterator[Gallery]:
    database, clock = await database_for("gallery"), Clock()
    own = {"payment_internal_address": payment.internal_address}
    settings = GallerySettings(**settings_values(identities, "svc_gallery", database, s3=s3_server, **own))
    async with running(compose(settings, clock)) as service:
        yield Gallery(service.public, service.internal, identities, clock, database, s3_server.store())


@pytest.fixture
def gallery(shared: Gallery) -> Gallery:
    shared.clock.ahead = timedelta()
    return shared


async def put_to(upload: gallery_service_pb2.Upload, content: bytes, content_type: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.put(upload.put_url, content=content, headers={"content-type": content_type})


@pytest.mark.parametrize("form", sorted(CONTENT_TYPES))
async def test_upload_is_a_source_by_its_content(gallery: Gallery, form: str) -> None:
    account_id, content = new_id(), picture_bytes(123, 45, form)

    # What is announced decides nothing but what the store takes.
    upload_id = await gallery.put(account_id, content, "image/webp")

    source = await gallery.resolve(account_id, upload_id=upload_id)
    assert (source.width_px, source.height_px, source.content_type) == (123, 45, CONTENT_TYPES[form])
    assert source.size_bytes == len(content)
    assert await gallery.objects.read(source.object_key) == content


async def test_address_works_for_a_quarter_of_an_hour_and_the_upload_for_a_day(gallery: Gallery) -> None:
    before = datetime.now(UTC)
    upload = await gallery.create(new_id())
    after = datetime.now(UTC)
    quarter, day = timedelta(minutes=15), timedelta(days=1)
    assert before + quarter <= upload.put_expire_time.ToDatetime(UTC) <= after + quarter
    assert before + day <= upload.expire_time.ToDatetime(UTC) <= after + day


async def test_store_takes_nothing_but_what_was_announced(gallery: Gallery) -> None:
    upload = await gallery.create(new_id(), size_bytes=5)
    for content, content_type in ((b"123456", "image/png"), (b"", "image/png"), (b"12345", "text/html")):
        assert (await put_to(upload, content, content_type)).status_code == 403
    assert (await put_to(upload, b"12345", "image/png")).is_success


async def test_store_takes_nothing_when_the_address_has_expired(gallery: Gallery) -> None:
    gallery.clock.ahead = -timedelta(minutes=16)
    upload = await gallery.create(new_id())
    assert "X-Amz-Expires=900" in upload.put_url
    assert (await put_to(upload, b"12345", "image/png")).status_code in {400, 403}  # S3 servers are at variance


async def test_picture_of_the_gallery_is_a_source_without_a_look_at_its_bytes(gallery: Gallery) -> None:
    account_id, request = new_id(), import_request(new_id())
    request.account_id = str(account_id)
    stub = ImportServiceStub(gallery.internal)
    (image_id,) = (await stub.ImportImages(request, metadata=gallery.identities.as_service("svc_generation"))).image_ids

    source = await gallery.resolve(account_id, image_id=image_id)

    assert source.object_key == f"users/{account_id}/images/{image_id}/original.png"
    assert (source.width_px, source.height_px, source.content_type) == (256, 128, "image/png")
    refusal = await refusal_of(gallery.resolve(new_id(), image_id=image_id))
    assert (refusal.reason, refusal.metadata) == (Reason.SOURCE_NOT_FOUND, {"image_id": image_id})


async def test_foreign_unknown_empty_and_expired_uploads_look_the_same(gallery: Gallery) -> None:
    owner, unknown = new_id(), str(new_id())
    upload_id = await gallery.put(owner, picture_bytes())
    empty = (await gallery.create(owner)).upload_id
    cases = [(new_id(), upload_id), (owner, unknown), (owner, empty)]
    refusals = [(case[1], await refusal_of(gallery.resolve(case[0], upload_id=case[1]))) for case in cases]
    gallery.clock.ahead = timedelta(days=1, seconds=1)
    refusals.append((upload_id, await refusal_of(gallery.resolve(owner, upload_id=upload_id))))

    for source_id, refusal in refusals:
        assert (refusal.reason, refusal.metadata) == (Reason.SOURCE_NOT_FOUND, {"upload_id": source_id})
    assert len({refusal.message.replace(source_id, "") for source_id, refusal in refusals}) == 1


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (moving_picture_bytes("GIF"), {"cause": "type"}),
        (moving_picture_bytes("WEBP"), {"cause": "frames"}),
        (picture_bytes()[:30], {"cause": "damaged"}),
        (claimed_png_bytes(8000, 5001), {"cause": "megapixels", "limit": "40"}),
        (claimed_png_bytes(10_000, 10_000), {"cause": "megapixels", "limit": "40"}),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', {"cause": "type"}),
        (b"<!DOCTYPE html><img src=x onerror=alert(1)>", {"cause": "type"}),
        (b"PK\x03\x04" + bytes(60), {"cause": "type"}),
        (b"%PDF-1.7\n" + bytes(60), {"cause": "type"}),
        # One file that is several: what its beginning says counts, and no picture begins otherwise.
        (b"GIF89a/*" + picture_bytes(), {"cause": "type"}),
        (b"\n" + picture_bytes(), {"cause": "type"}),
    ],
)
async def test_what_is_no_usable_picture_is_told_with_its_cause(
    gallery: Gallery, content: bytes, cause: dict[str, str]
) -> None:
    account_id = new_id()
    assert await gallery.cause(account_id, await gallery.put(account_id, content)) == cause


async def test_picture_of_exactly_forty_megapixels_is_a_source(gallery: Gallery) -> None:
    account_id = new_id()
    upload_id = await gallery.put(account_id, claimed_png_bytes(8000, 5000))
    assert (await gallery.resolve(account_id, upload_id=upload_id)).width_px == 8000


async def test_too_many_bytes_are_refused_whoever_put_them(gallery: Gallery) -> None:
    account_id = new_id()
    upload_id = (await gallery.create(account_id)).upload_id
    # Past the signature, as another store might let it pass.
    content = picture_bytes() + b"\0" * (32 * MIB)
    await gallery.objects.write(upload_key(account_id, UUID(upload_id)), content, "image/png")
    assert await gallery.cause(account_id, upload_id) == {"cause": "mebibytes", "limit": "32"}


async def test_size_is_found_behind_megabytes_of_metadata(gallery: Gallery) -> None:
    account_id = new_id()
    plain = picture_bytes(80, 40)
    text = b"tEXtworkflow\0" + b"x" * (9 * MIB)
    text = (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4)
    for content in (
        picture_bytes(80, 40, "JPEG", icc_profile=b"x" * (6 * MIB)),
        plain[:33] + text + plain[33:],
        plain[:33] + (b"\0\0\0\0prIv\x6b\x2d\x0d\x0c") * 100_000 + plain[33:],
    ):
        source = await gallery.resolve(account_id, upload_id=await gallery.put(account_id, content))
        assert (source.width_px, source.height_px) == (80, 40)


async def test_orientation_is_found_behind_the_pixels_of_a_webp(gallery: Gallery) -> None:
    account_id, noise = new_id(), Image.effect_noise((1400, 1300), 90)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    noise.save(buffer, "WEBP", lossless=True, exif=exif)
    assert len(buffer.getvalue()) > MIB
    source = await gallery.resolve(account_id, upload_id=await gallery.put(account_id, buffer.getvalue()))
    assert (source.width_px, source.height_px) == (1300, 1400)


async def test_account_may_have_exactly_so_many_open_uploads(gallery: Gallery) -> None:
    account_id = new_id()

    # More at once would be refused as overload on a slow machine.
    places = asyncio.Semaphore(20)

    async def outcome() -> str:
        async with places:
            return await _outcome(gallery.create(account_id))

    ended = await asyncio.gather(*(outcome() for _ in range(OPEN_UPLOADS + 10)))

    assert Counter(ended) == {"created": OPEN_UPLOADS, "TOO_MANY_UPLOADS": 10}
    refusal = await refusal_of(gallery.create(account_id))
    assert refusal.metadata == {"limit": str(OPEN_UPLOADS)}
    assert refusal.retry_after is not None
    assert timedelta(hours=23) < refusal.retry_after <= timedelta(days=1)
    await gallery.create(new_id())
    gallery.clock.ahead = timedelta(days=1, minutes=1)
    await gallery.create(account_id)


async def test_parallel_uploads_fill_the_tier_s_storage_and_no_more(gallery: Gallery) -> None:
    account_id = new_id()
    image_bytes = GIB - 8 * 32 * MIB - 5
    await gallery.take_in(account_id, image_bytes)

    ended = await asyncio.gather(*(_outcome(gallery.create(account_id, 32 * MIB)) for _ in range(20)))

    assert Counter(ended) == {"created": 8, "STORAGE_QUOTA_EXCEEDED": 12}
    refusal = await refusal_of(gallery.create(account_id, 6))
    assert refusal.metadata == {
        "quota_bytes": str(GIB),
        "image_bytes": str(image_bytes),
        "upload_bytes": str(8 * 32 * MIB),
        "size_bytes": "6",
    }
    assert "your tier stores 1,024.0 MiB, of which pictures take 768.0 and open uploads 256.0" in refusal.message
    # The last byte is the account's as well, and nothing of this is another account's.
    await gallery.create(account_id, 5)
    await gallery.create(new_id(), 32 * MIB)


async def test_upload_that_has_expired_makes_room(gallery: Gallery) -> None:
    account_id = new_id()
    await gallery.take_in(account_id, GIB - 10)
    first = await gallery.create(account_id, 10, request_id="first")
    refused = await refusal_of(gallery.create(account_id, 10))

    assert refused.reason is Reason.STORAGE_QUOTA_EXCEEDED
    # A repeat opens nothing, so it needs no room.
    assert (await gallery.create(account_id, 10, request_id="first")).upload_id == first.upload_id
    gallery.clock.ahead = timedelta(days=1, minutes=1)
    await gallery.create(account_id, 10)


async def test_higher_tier_has_more_storage(gallery: Gallery, payment: RunningService) -> None:
    account_id = new_id()
    request = ledger_service_pb2.SetTierRequest(account_id=str(account_id), tier="TIER_STARTER")
    await LedgerServiceStub(payment.internal).SetTier(request, metadata=gallery.identities.as_service("operator"))
    await gallery.take_in(account_id, GIB)

    await gallery.create(account_id, 32 * MIB)


async def test_request_id_opens_one_upload_however_often_it_comes(gallery: Gallery) -> None:
    account_id = new_id()
    calls = [gallery.create(account_id, request_id="once") for _ in range(10)]
    uploads = [*await asyncio.gather(*calls), await gallery.create(account_id, header="once")]
    assert len({upload.upload_id for upload in uploads}) == 1
    assert (await put_to(uploads[-1], b"12345", "image/png")).is_success
    assert (await gallery.create(new_id(), request_id="once")).upload_id != uploads[0].upload_id

    refusal = await refusal_of(gallery.create(account_id, size_bytes=6, request_id="once"))
    assert (refusal.reason, refusal.metadata) == (Reason.IDEMPOTENCY_KEY_REUSED, {"request_id": "once"})


async def _outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError:
        return str((await refusal_of(call)).reason)
    return "created"


async def test_sweep_deletes_what_has_expired_with_its_bytes(gallery: Gallery) -> None:
    account_id = new_id()
    old = UUID(await gallery.put(account_id, picture_bytes()))
    without_bytes = UUID((await gallery.create(account_id)).upload_id)
    gallery.clock.ahead = timedelta(hours=12)
    young = UUID((await gallery.create(account_id)).upload_id)
    await gallery.objects.write(upload_key(account_id, young), picture_bytes(), "image/png")
    gallery.clock.ahead = timedelta(days=1, minutes=1)

    assert await gallery.sweep() >= 2
    assert await gallery.sweep() == 0

    assert await gallery.objects.head(upload_key(account_id, old)) is None
    assert (await gallery.resolve(account_id, upload_id=str(young))).width_px == 64
    database = Database(gallery.database.tasks_url)
    async with database.transaction() as transaction:
        left = (await transaction.scalars(select(Upload.upload_id).where(Upload.account_id == account_id))).all()
    await database.close()
    assert left == [young]
    assert without_bytes not in left


async def test_row_security_hides_foreign_uploads_from_a_query_without_owner_check(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    upload_id = (await gallery.create(owner)).upload_id
    database = Database(gallery.database.requests_url)
    seen = {}
    for name, account_id in (("own", owner), ("foreign", stranger), ("nobody's", None)):
        async with database.transaction(account_id) as transaction:
            seen[name] = (await transaction.scalars(select(Upload.upload_id))).all()
    await database.close()
    assert seen == {"own": [UUID(upload_id)], "foreign": [], "nobody's": []}


@pytest.mark.parametrize("service", ["gpu_worker", "svc_models", "operator"])
async def test_only_generation_may_resolve(gallery: Gallery, service: str) -> None:
    refusal = await refusal_of(gallery.resolve(new_id(), service=service, upload_id=str(new_id())))
    assert refusal.reason is Reason.CALLER_NOT_ALLOWED


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"content_type": "image/gif"}, "content_type"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"size_bytes": 32 * MIB + 1}, "size_bytes"),
    ],
)
async def test_bad_announcement_names_its_field(gallery: Gallery, fields: dict[str, Any], name: str) -> None:
    refusal: ServiceError = await refusal_of(gallery.create(new_id(), **fields))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == [name]


async def test_usage_tells_pictures_bin_uploads_and_quota(gallery: Gallery) -> None:
    account_id = new_id()
    for size_bytes in (1000, 200):
        await gallery.take_in(account_id, size_bytes)
    await gallery.create(account_id, size_bytes=34)
    metadata = gallery.identities.as_user(account_id)
    stub = GalleryServiceStub(gallery.public)
    listed = await stub.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=metadata)
    binned = gallery_service_pb2.DeleteImageRequest(image_id=listed.images[0].image_id)
    await stub.DeleteImage(binned, metadata=metadata)

    request = library_service_pb2.GetStorageUsageRequest()
    usage = await LibraryServiceStub(gallery.public).GetStorageUsage(request, metadata=metadata)

    assert (usage.image_count, usage.bin_count) == (1, 1)
    assert (usage.image_bytes, usage.upload_bytes, usage.quota_bytes) == (1200, 34, GIB)
