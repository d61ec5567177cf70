"""svc_gallery through its real listeners, with a real database and a real object store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2, import_service_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from sqlalchemy import select

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.images import object_keys
from svc_gallery.main import GallerySettings, compose
from svc_gallery.store.models import Image
from tests.factories.gallery import content_of, import_request, imported_image
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values


@dataclass(frozen=True, slots=True)
class Gallery:
    """A running svc_gallery, and short ways to call it."""

    database: ServiceDatabase
    objects: GalleryServiceStub
    imports: ImportServiceStub
    identities: Identities

    async def take_in(self, request: import_service_pb2.ImportImagesRequest) -> Sequence[str]:
        answer = await self.imports.ImportImages(request, metadata=self.identities.as_service("svc_generation"))
        return list(answer.image_ids)

    async def refusal_of_import(
        self, request: import_service_pb2.ImportImagesRequest, service: str = "svc_generation"
    ) -> ServiceError:
        return await refusal_of(self.imports.ImportImages(request, metadata=self.identities.as_service(service)))

    def get(self, account_id: UUID, image_id: str) -> Awaitable[image_pb2.Image]:
        request = gallery_service_pb2.GetImageRequest(image_id=image_id)
        return self.objects.GetImage(request, metadata=self.identities.as_user(account_id))

    def page(self, account_id: UUID, **request: Any) -> Awaitable[gallery_service_pb2.ListImagesResponse]:
        message = gallery_service_pb2.ListImagesRequest(**request)
        return self.objects.ListImages(message, metadata=self.identities.as_user(account_id))


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    database = await database_for("gallery")
    settings = GallerySettings(**settings_values(identities, "svc_gallery", database, s3=s3_server))
    async with running(compose(settings)) as service:
        yield Gallery(database, GalleryServiceStub(service.public), ImportServiceStub(service.internal), identities)


async def test_imported_picture_is_shown_with_its_recipe(gallery: Gallery) -> None:
    account_id, before = new_id(), datetime.now(UTC)
    request = import_request(account_id)
    (image_id,) = await gallery.take_in(request)

    image = await gallery.get(account_id, image_id)

    (imported,) = request.images
    assert image_id == imported.image_id
    assert (image.image_id, image.job_id, image.prompt, image.model_id) == (
        image_id,
        request.job_id,
        "a penguin",
        "pingvas-tiny",
    )
    assert (image.width_px, image.height_px, image.size_bytes) == (256, 128, imported.size_bytes)
    assert (image.sha256, image.content_type, image.seed) == (imported.sha256, "image/png", -7)
    assert before <= image.create_time.ToDatetime(UTC) <= datetime.now(UTC)


async def test_presigned_addresses_deliver_the_bytes_without_credentials(gallery: Gallery, s3_server: S3Server) -> None:
    account_id = new_id()
    (image_id,) = await gallery.take_in(import_request(account_id))
    keys, content = object_keys(account_id, UUID(image_id)), content_of(image_id)
    await s3_server.store().write(keys.original, content, "image/png")
    await s3_server.store().write(keys.thumbnail, b"small", "image/webp")

    image = await gallery.get(account_id, image_id)
    async with httpx.AsyncClient() as client:
        original, thumbnail = await client.get(image.content_url), await client.get(image.thumbnail_url)
        unsigned = await client.get(image.content_url.partition("?")[0])
        of_another = await client.get(image.content_url.replace("original.png", "thumbnail.webp"))

    assert (original.status_code, original.content, original.headers["content-type"]) == (200, content, "image/png")
    assert hashlib.sha256(original.content).hexdigest() == image.sha256
    assert (thumbnail.status_code, thumbnail.content, thumbnail.headers["content-type"]) == (
        200,
        b"small",
        "image/webp",
    )
    # Without a signature, or with that of another object, there is nothing to be had.
    assert not unsigned.is_success
    assert of_another.status_code == 403


async def test_addresses_work_for_five_minutes(gallery: Gallery) -> None:
    account_id, before = new_id(), datetime.now(UTC)
    (image_id,) = await gallery.take_in(import_request(account_id))

    image = await gallery.get(account_id, image_id)

    expiry = image.url_expire_time.ToDatetime(UTC)
    assert before + timedelta(minutes=5) <= expiry <= datetime.now(UTC) + timedelta(minutes=5)
    assert "X-Amz-Expires=300" in urlsplit(image.content_url).query


async def test_addresses_name_the_host_that_clients_reach(
    database_for: DatabaseFactory, s3_server: S3Server, identities: Identities
) -> None:
    values = settings_values(identities, "svc_gallery", await database_for("gallery"), s3=s3_server)
    settings = GallerySettings(**values | {"s3_public_endpoint_url": "https://pictures.example.com"})
    account_id = new_id()
    async with running(compose(settings)) as service:
        gallery = Gallery(None, GalleryServiceStub(service.public), ImportServiceStub(service.internal), identities)
        (image_id,) = await gallery.take_in(import_request(account_id))
        image = await gallery.get(account_id, image_id)

    assert image.content_url.startswith(f"https://pictures.example.com/{s3_server.bucket}/users/{account_id}/images/")


async def test_foreign_and_unknown_pictures_look_the_same(gallery: Gallery) -> None:
    owner, stranger, unknown = new_id(), new_id(), str(new_id())
    (image_id,) = await gallery.take_in(import_request(owner))

    foreign = await refusal_of(gallery.get(stranger, image_id))
    missing = await refusal_of(gallery.get(stranger, unknown))

    assert foreign.reason is missing.reason is Reason.IMAGE_NOT_FOUND
    assert foreign.message.replace(image_id, unknown) == missing.message
    assert foreign.metadata == {"image_id": image_id}


async def test_lists_hold_own_pictures_only(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    image_ids = await gallery.take_in(import_request(owner, image_count=3))

    assert {image.image_id for image in (await gallery.page(owner)).images} == set(image_ids)
    assert not (await gallery.page(stranger)).images


async def test_list_of_a_job_holds_its_pictures_only(gallery: Gallery) -> None:
    account_id, job_id = new_id(), new_id()
    await gallery.take_in(import_request(account_id))
    image_ids = await gallery.take_in(import_request(account_id, job_id=job_id, image_count=2))

    answer = await gallery.page(account_id, job_id=str(job_id))

    assert {image.image_id for image in answer.images} == set(image_ids)


async def test_list_shows_newest_first(gallery: Gallery) -> None:
    account_id = new_id()
    imported = [(await gallery.take_in(import_request(account_id)))[0] for _ in range(5)]

    assert [image.image_id for image in (await gallery.page(account_id)).images] == imported[::-1]


async def test_paging_walks_a_thousand_pictures_while_new_ones_come_in(gallery: Gallery) -> None:
    account_id = new_id()
    # 100 jobs of 10: pictures of a job have the same time, so that pages end among equal times too.
    jobs = [import_request(account_id, image_count=10) for _ in range(100)]
    await asyncio.gather(*map(gallery.take_in, jobs))
    before = {image.image_id for job in jobs for image in job.images}

    seen: list[image_pb2.Image] = []
    page_token, meanwhile = "", set()
    while True:
        page = await gallery.page(account_id, page_size=37, page_token=page_token)
        seen.extend(page.images)
        meanwhile.update(await gallery.take_in(import_request(account_id, image_count=2)))
        page_token = page.next_page_token
        if not page_token:
            break

    image_ids = [image.image_id for image in seen]
    assert len(before) == 1000
    assert set(image_ids) == before
    assert len(image_ids) == len(set(image_ids))
    places = [(image.create_time.ToNanoseconds(), image.image_id) for image in seen]
    assert places == sorted(places, reverse=True)
    assert {image.image_id for image in (await gallery.page(account_id, page_size=56)).images} == meanwhile


async def test_full_last_page_has_no_next(gallery: Gallery) -> None:
    account_id = new_id()
    await gallery.take_in(import_request(account_id, image_count=4))

    first = await gallery.page(account_id, page_size=2)
    second = await gallery.page(account_id, page_size=2, page_token=first.next_page_token)

    assert [len(first.images), len(second.images)] == [2, 2]
    assert (bool(first.next_page_token), second.next_page_token) == (True, "")


@pytest.mark.parametrize("page_token", ["nonsense", "AAAA", "x" * 512])
async def test_made_up_page_token_is_refused(gallery: Gallery, page_token: str) -> None:
    refusal = await refusal_of(gallery.page(new_id(), page_token=page_token))

    assert refusal.reason is Reason.PAGE_TOKEN_INVALID


async def test_page_token_of_another_account_or_filter_is_refused(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    request = import_request(owner, image_count=2)
    await gallery.take_in(request)
    token = (await gallery.page(owner, page_size=1)).next_page_token

    assert (await refusal_of(gallery.page(stranger, page_token=token))).reason is Reason.PAGE_TOKEN_INVALID
    of_job = gallery.page(owner, job_id=request.job_id, page_token=token)
    assert (await refusal_of(of_job)).reason is Reason.PAGE_TOKEN_INVALID


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 201}, "page_size"),
        ({"page_token": "x" * 513}, "page_token"),
        ({"job_id": "no-uuid"}, "job_id"),
    ],
)
async def test_bad_list_request_names_its_field(gallery: Gallery, request_fields: dict, field: str) -> None:
    refusal = await refusal_of(gallery.page(new_id(), **request_fields))

    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == [field]


async def test_bad_image_id_names_its_field(gallery: Gallery) -> None:
    refusal = await refusal_of(gallery.get(new_id(), "no-uuid"))

    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["image_id"]


async def test_public_methods_want_a_user(gallery: Gallery) -> None:
    anonymous = gallery.objects.ListImages(gallery_service_pb2.ListImagesRequest())

    assert (await refusal_of(anonymous)).reason is Reason.CREDENTIALS_MISSING


@pytest.mark.parametrize("service", ["gpu_worker", "svc_user", "operator"])
async def test_only_generation_may_import(gallery: Gallery, service: str) -> None:
    refusal = await gallery.refusal_of_import(import_request(new_id()), service)

    assert refusal.reason is Reason.CALLER_NOT_ALLOWED


async def test_twenty_parallel_imports_of_a_job_take_it_in_once(gallery: Gallery) -> None:
    account_id = new_id()
    request = import_request(account_id, image_count=4)

    answers = await asyncio.gather(*(gallery.take_in(request) for _ in range(20)))

    expected = [image.image_id for image in request.images]
    assert answers == [expected] * 20
    assert sorted(image.image_id for image in (await gallery.page(account_id)).images) == sorted(expected)


async def test_parallel_imports_of_a_job_with_other_pictures_leave_one_whole_import(gallery: Gallery) -> None:
    account_id, job_id = new_id(), new_id()
    requests = [import_request(account_id, job_id=job_id, image_count=1 + number % 4) for number in range(20)]

    answers = await asyncio.gather(*map(gallery.take_in, requests))

    assert all(answer == answers[0] for answer in answers)
    assert answers[0] in [[image.image_id for image in request.images] for request in requests]
    kept = (await gallery.page(account_id, job_id=str(job_id))).images
    assert sorted(image.image_id for image in kept) == sorted(answers[0])


async def test_repeated_import_keeps_the_first_row(gallery: Gallery) -> None:
    account_id = new_id()
    request = import_request(account_id)
    (image_id,) = await gallery.take_in(request)
    first = await gallery.get(account_id, image_id)
    request.prompt = "something else"

    assert await gallery.take_in(request) == [image_id]
    again = await gallery.get(account_id, image_id)
    assert (again.prompt, again.create_time) == (first.prompt, first.create_time)


async def test_import_of_another_accounts_job_is_refused(gallery: Gallery) -> None:
    owner, thief, job_id = new_id(), new_id(), new_id()
    image_ids = await gallery.take_in(import_request(owner, job_id=job_id))

    refusal = await gallery.refusal_of_import(import_request(thief, job_id=job_id))

    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["account_id"]
    assert [image.image_id for image in (await gallery.page(owner)).images] == image_ids
    assert not (await gallery.page(thief)).images


async def test_withdrawal_takes_the_pictures_of_one_job_of_one_account_out_and_is_safe_to_repeat(
    gallery: Gallery,
) -> None:
    owner, thief, job_id = new_id(), new_id(), new_id()
    await gallery.take_in(import_request(owner, job_id=job_id, image_count=2))
    kept = await gallery.take_in(import_request(owner))
    metadata = gallery.identities.as_service("svc_generation")

    async def withdraw(account_id: UUID) -> None:
        request = import_service_pb2.WithdrawImagesRequest(account_id=str(account_id), job_id=str(job_id))
        await gallery.imports.WithdrawImages(request, metadata=metadata)

    await withdraw(thief)
    assert len((await gallery.page(owner)).images) == 3
    for _ in range(2):
        await withdraw(owner)
        assert [image.image_id for image in (await gallery.page(owner)).images] == kept


async def test_import_that_names_a_picture_twice_is_refused_whole(gallery: Gallery) -> None:
    account_id, image_id = new_id(), new_id()
    request = import_request(account_id)
    request.images.extend([imported_image(image_id), imported_image(image_id)])

    refusal = await gallery.refusal_of_import(request)

    assert [violation.field for violation in refusal.violations] == ["images[2].image_id"]
    assert not (await gallery.page(account_id)).images


async def test_import_with_a_picture_of_another_job_is_refused_whole(gallery: Gallery) -> None:
    owner, thief = new_id(), new_id()
    (image_id,) = await gallery.take_in(import_request(owner))
    request = import_request(thief, image_count=2)
    request.images[1].image_id = image_id

    refusal = await gallery.refusal_of_import(request)

    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["images"]
    assert not (await gallery.page(thief)).images
    assert [image.image_id for image in (await gallery.page(owner)).images] == [image_id]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width_px": 0}, "images[0].width_px"),
        ({"size_bytes": 0}, "images[0].size_bytes"),
        ({"sha256": "ABC"}, "images[0].sha256"),
        ({"content_type": ""}, "images[0].content_type"),
        ({"image_id": "x"}, "images[0].image_id"),
    ],
)
async def test_bad_import_names_its_field(gallery: Gallery, changes: dict, field: str) -> None:
    request = import_request(new_id())
    for name, value in changes.items():
        setattr(request.images[0], name, value)

    refusal = await gallery.refusal_of_import(request)

    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == [field]


async def test_row_security_hides_foreign_rows_from_a_query_without_owner_check(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    (image_id,) = await gallery.take_in(import_request(owner))
    without_owner_check = select(Image.image_id)
    database = Database(gallery.database.requests_url)

    async with database.transaction(owner) as transaction:
        own = (await transaction.scalars(without_owner_check)).all()
    async with database.transaction(stranger) as transaction:
        foreign = (await transaction.scalars(without_owner_check)).all()
    async with database.transaction() as transaction:
        nobodys = (await transaction.scalars(without_owner_check)).all()
    await database.close()

    assert own == [UUID(image_id)]
    assert not foreign
    assert not nobodys
