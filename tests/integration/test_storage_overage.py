"""Accounts whose pictures take more than their tiers store: warned for 14 days, then refused new work and nothing else."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import grpc.aio
import pytest
from pingvas.gallery.v1 import gallery_service_pb2, library_service_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.library_service_pb2_grpc import LibraryServiceStub

from svc_common.errors import Reason
from svc_gallery.main import GallerySettings, compose
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.actors import Operator, Person
from tests.factories.ledger import ledger_in
from tests.factories.platform import Platform
from tests.factories.user_service import UserService, running_user_service
from tests.harness_mail import MailServer, text_of
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values

GIB = 1024**3
WAIT_SECONDS = 120
STORE = "INSERT INTO gallery.storage (account_id, image_bytes, over_quota_since) VALUES ($1, $2, $3)"
TAKE = "UPDATE gallery.storage SET image_bytes = $2 WHERE account_id = $1"


async def hoarder(platform: Platform, days: int | None = None) -> Person:
    """Returns somebody of the free tier with 2 GiB of pictures, which was first seen so many days ago, or never."""
    person = await Person.arrive(platform, credits_held=1000)
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    await platform.rows("gallery", STORE, person.account_id, 2 * GIB, since)
    return person


async def usage(person: Person) -> library_service_pb2.StorageUsage:
    stub = LibraryServiceStub(person.platform.gallery_channel)
    request = library_service_pb2.GetStorageUsageRequest()
    found: library_service_pb2.StorageUsage = await stub.GetStorageUsage(request, metadata=person.metadata)
    return found


async def test_jobs_go_on_while_the_warning_lasts(platform: Platform) -> None:
    before = datetime.now(UTC)
    fresh, warned = await hoarder(platform), await hoarder(platform, days=13)

    await fresh.create()
    await warned.create()

    stop = (await usage(fresh)).overage_stop_time.ToDatetime(tzinfo=UTC)
    assert before + timedelta(days=14) <= stop <= datetime.now(UTC) + timedelta(days=14)
    assert (await usage(warned)).overage_stop_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC) + timedelta(days=1)


async def test_new_work_is_refused_after_the_warning_and_nothing_else_is(platform: Platform) -> None:
    person = await hoarder(platform, days=15)

    refusal = await refusal_of(person.create())

    assert refusal.reason is Reason.STORAGE_QUOTA_EXCEEDED
    assert (refusal.metadata["image_bytes"], refusal.metadata["quota_bytes"]) == (str(2 * GIB), str(GIB))
    # Nothing was held, charged or queued, and an upload is refused with the same words.
    assert await person.balance() == ("1.000", "0.000")
    assert not (await person.page()).jobs
    stub = GalleryServiceStub(platform.gallery_channel)
    request = gallery_service_pb2.CreateUploadRequest(content_type="image/png", size_bytes=5)
    assert (await refusal_of(stub.CreateUpload(request, metadata=person.metadata))).message == refusal.message
    # Reading goes on.
    await stub.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=person.metadata)
    assert (await usage(person)).image_bytes == 2 * GIB

    # Once the pictures fit, the refusal ends at once, and a later overage has a date of its own.
    await platform.rows("gallery", TAKE, person.account_id, GIB)
    await person.create()
    assert not (await usage(person)).HasField("overage_stop_time")
    await platform.rows("gallery", TAKE, person.account_id, GIB + 1)
    later = (await usage(person)).overage_stop_time.ToDatetime(tzinfo=UTC)
    assert later > datetime.now(UTC) + timedelta(days=13)


async def test_higher_tier_ends_the_refusal(platform: Platform) -> None:
    person = await hoarder(platform, days=15)
    assert (await refusal_of(person.create())).reason is Reason.STORAGE_QUOTA_EXCEEDED
    await Operator(platform).set_tier(person.account_id, "starter")

    async def is_taken() -> bool:
        with suppress(grpc.aio.AioRpcError):
            await person.create()
            return True
        return False

    # The hint that an entitlement has changed may be lost: then it is asked for after a minute.
    await until(is_taken, within_seconds=WAIT_SECONDS)
    assert not (await usage(person)).HasField("overage_stop_time")


async def test_gallery_that_is_away_takes_nobody_s_jobs(platform: Platform) -> None:
    person = await hoarder(platform, days=15)
    await person.quote()
    async with platform.without("gallery"):
        await person.create()


@pytest.fixture
async def users(
    database_for: DatabaseFactory, identities: Identities, mail_server: MailServer, tmp_path: Path
) -> AsyncIterator[UserService]:
    settings = {"smtp_url": mail_server.url, "service_jwks_file": identities.folder / "services.jwks"}
    async with running_user_service(await database_for("user"), tmp_path, **settings) as found:
        yield found


async def test_owner_is_told_by_mail_once_and_in_their_language(
    users: UserService,
    mail_server: MailServer,
    database_for: DatabaseFactory,
    identities: Identities,
    s3_server: S3Server,
) -> None:
    people = [await users.register(locale=locale) for locale in ("en", "ko")]
    place, payment_place = await database_for("gallery"), await database_for("payment")
    async with ledger_in(place) as admin:
        for person in people:
            await admin.as_admin(
                f"INSERT INTO gallery.storage (account_id, image_bytes) VALUES ('{UUID(person.account_id)}', {3 * GIB})"  # noqa: S608
            )
    async with running(
        compose_payment(PaymentSettings(**settings_values(identities, "svc_payment", payment_place)))
    ) as payment:
        own = {
            "payment_internal_address": payment.internal_address,
            "user_internal_address": users.internal_address,
        }
        settings = GallerySettings(**settings_values(identities, "svc_gallery", place, s3=s3_server, **own))
        async with running(compose(settings)):

            async def are_there() -> bool:
                # The first mail to each confirms the address.
                return all(len(mail_server.to(person.email)) > 1 for person in people)

            await until(are_there, within_seconds=WAIT_SECONDS)
    english, korean = [mail_server.to(person.email)[1] for person in people]
    assert english["Subject"] == "Your pictures take more than your plan stores"
    assert "take 3.00 GiB with those in the bin, and your plan stores 1.00 GiB" in text_of(english)
    stop = (datetime.now(UTC) + timedelta(days=14)).date()
    assert any(day.isoformat() in text_of(english) for day in (stop, stop - timedelta(days=1)))
    assert korean["Subject"] == "그림이 요금제의 저장 공간을 넘었습니다"
    async with ledger_in(place) as admin:
        rows = await admin.as_admin("SELECT overage_mail_time, quota_check_time FROM gallery.storage")
    assert all(row["overage_mail_time"] is not None and row["quota_check_time"] is not None for row in rows)
