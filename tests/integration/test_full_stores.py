"""Stores without room: new work is refused with nothing held, what was accepted waits and completes.

Each store is made to refuse without a disk being full, so that this is proven everywhere; `test_full_disks` has real ones.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1 import job_pb2

from gpu_worker.attempt.upload import Uploader, UploadError
from gpu_worker.pictures.encode import Artifact
from svc_common.clock import new_id
from svc_common.errors import Code, Reason, ServiceError
from svc_common.free_space import Store
from svc_common.redis_client import connect
from svc_gallery.main import GallerySettings
from svc_gallery.main import compose as compose_gallery
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.actors import Operator, Person
from tests.factories.models import put_manifest
from tests.factories.platform import Platform, running_platform
from tests.factories.working import working
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values

ALWAYS_FULL = {"storage_low_bytes": 1 << 62, "storage_high_bytes": 1 << 62}
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
GENERATION = "pingvas.generation.v1.GenerationService"
ATTEMPTS = "SELECT outcome FROM generation.attempts WHERE job_id = $1 ORDER BY attempt"
RETURNED = 6
HUGE = "too-large"


@pytest.fixture(scope="module")
async def platform(
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """A platform whose catalogue has a model that fits on no disk."""
    own_redis.start()
    folder = tmp_path_factory.mktemp("models")
    small: dict[str, Any] = {"native_width_px": 64, "native_height_px": 64, "default_step_count": 10}
    put_manifest(
        folder, HUGE, files=[{"path": "model.safetensors", "size_bytes": 1 << 52, "sha256": "0a" * 32}], **small
    )
    try:
        async with running_platform(database_for, identities, own_redis, s3_server, folder) as running:
            yield running
    finally:
        own_redis.stop()


@pytest.fixture(autouse=True)
async def room(platform: Platform) -> None:
    """Waits until what stores have refused in another test counts no longer."""

    async def has_room() -> bool:
        return platform.generation.parts.capacity.full == ()

    await until(has_room, within_seconds=40.0)


async def health(channel: grpc.aio.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


async def until_full(channel: grpc.aio.Channel) -> None:
    async def is_full() -> bool:
        return await health(channel, "storage") == NOT_SERVING

    await until(is_full)


def assert_full(refusal: ServiceError, store: str) -> None:
    assert (refusal.reason, refusal.code) == (Reason.STORAGE_FULL, Code.UNAVAILABLE)
    assert refusal.metadata == {"store": store}
    assert refusal.retry_after == timedelta(seconds=30)


@asynccontextmanager
async def disk_full_at(platform: Platform, area: str, table: str) -> AsyncIterator[None]:
    """Lets the database answer each new row of a table as it does on a full disk."""
    name = f"{area}.full_for_the_test"
    await platform.rows(
        area,
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
    )
    await platform.rows(area, f"CREATE TRIGGER full_disk BEFORE INSERT ON {area}.{table} EXECUTE FUNCTION {name}()")
    try:
        yield
    finally:
        await platform.rows(area, f"DROP FUNCTION {name}() CASCADE")


@contextmanager
def refusing_store(server: S3Server) -> Iterator[None]:
    """Lets the object store take nothing: a file stands where it would make its folders. It answers 500, as on a full disk."""
    users = server.folder / "data" / server.bucket / "users"
    aside = users.with_name("aside")
    users.mkdir(exist_ok=True)
    users.rename(aside)
    users.touch()
    try:
        yield
    finally:
        users.unlink()
        aside.rename(users)


async def test_job_is_refused_with_nothing_held_and_everything_else_goes_on(platform: Platform, tmp_path: Path) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    first = await person.create(request_id="before")
    balance = await person.balance()
    async with platform.replica(storage_folders={"s3": tmp_path}, **ALWAYS_FULL) as replica:
        there, public = person.at(replica), replica.service.public
        await until_full(public)
        assert_full(await refusal_of(there.create(request_id="new")), "s3")

        assert await person.balance() == balance
        assert [job.job_id for job in (await there.page()).jobs] == [first.job_id]
        assert await platform.queue.missing([UUID(first.job_id)]) == []
        await Operator(platform).assert_holds_match_jobs()
        # What needs no room is answered: a repeat, a price, and the end of a job.
        assert await there.create(request_id="before") == first
        assert (await there.quote()).credits == (await person.quote()).credits
        assert (await there.cancel(first.job_id)).state == job_pb2.JOB_STATE_CANCELLED

        assert await health(public, GENERATION) == NOT_SERVING
        assert await health(public, "") == SERVING
        assert await health(replica.service.internal, "pingvas.worker.v1.WorkerService") == SERVING
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{replica.service.server.metrics_port}") as client:
            ready, alive = await client.get("/readyz"), await client.get("/healthz")
        assert (ready.status_code, ready.text, alive.status_code) == (503, "no room: s3\n", 200)
    assert (await person.create(request_id="new")).state == job_pb2.JOB_STATE_QUEUED


async def test_upload_is_refused_with_nothing_opened(
    database_for: DatabaseFactory, identities: Identities, s3_server: S3Server, tmp_path: Path
) -> None:
    account = identities.as_user(new_id())
    request = gallery_service_pb2.CreateUploadRequest(content_type="image/png", size_bytes=5, request_id="same")
    quotas = settings_values(identities, "svc_payment", await database_for("payment"))
    async with AsyncExitStack() as stack:
        payment = await stack.enter_async_context(running(compose_payment(PaymentSettings(**quotas))))
        own = {"payment_internal_address": payment.internal_address}
        values = settings_values(identities, "svc_gallery", await database_for("gallery"), s3=s3_server, **own)
        async with running(compose_gallery(GallerySettings(**values))) as service:
            opened = await GalleryServiceStub(service.public).CreateUpload(request, metadata=account)
        full = GallerySettings(**values | ALWAYS_FULL | {"storage_folders": {"postgresql": tmp_path}})
        service = await stack.enter_async_context(running(compose_gallery(full)))
        await until_full(service.public)
        stub = GalleryServiceStub(service.public)
        again = await stub.CreateUpload(request, metadata=account)
        request.request_id = "another"
        assert_full(await refusal_of(stub.CreateUpload(request, metadata=account)), "postgresql")
        listed = await stub.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=account)
    assert again.upload_id == opened.upload_id
    assert list(listed.images) == []


@pytest.mark.parametrize(("area", "table"), [("payment", "holds"), ("generation", "jobs")])
async def test_job_that_postgresql_has_no_room_for_is_refused_and_costs_nothing(
    platform: Platform, area: str, table: str
) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    async with disk_full_at(platform, area, table):
        assert_full(await refusal_of(person.create(request_id="once")), "postgresql")

        async def is_free() -> bool:
            return await person.balance() == ("1.000", "0.000")

        await until(is_free)
        assert list((await person.page()).jobs) == []
        await Operator(platform).assert_holds_match_jobs()
        if area == "generation":
            # Known by now, so that the next one is refused before anything is held.
            assert platform.generation.parts.capacity.full == (Store.POSTGRESQL,)

    async def is_accepted() -> bool:
        try:
            job = await person.create(request_id="once")
        except grpc.aio.AioRpcError:
            return False
        return bool(job.job_id)

    await until(is_accepted, within_seconds=30.0)
    assert len((await person.page()).jobs) == 1
    assert await person.balance() == ("0.886", "0.114")


async def test_finished_job_ends_when_postgresql_has_room_again(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000, tier="starter")
    job = await person.create()
    async with disk_full_at(platform, "gallery", "images"), working(platform):

        async def is_finalizing() -> bool:
            return (await person.get(job.job_id)).state == job_pb2.JOB_STATE_FINALIZING

        await until(is_finalizing)
        assert await person.pictures(job.job_id) == []
    done = await person.ended(job.job_id, within_seconds=40.0)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
    assert len(await person.pictures(job.job_id)) == 1
    await Operator(platform).assert_holds_match_jobs()


async def test_redis_without_room_refuses_jobs_and_has_those_that_were_accepted_done_later(
    platform: Platform, own_redis: RedisServer
) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    first = await person.create()
    async with connect(own_redis.url) as redis:
        await redis.config_set("maxmemory", "1")
        try:
            await until_full(platform.generation.service.public)
            assert_full(await refusal_of(person.create()), "redis")
            assert await person.balance() == ("0.886", "0.114")
        finally:
            await redis.config_set("maxmemory", "0")
    async with working(platform):
        assert (await person.ended(first.job_id)).state == job_pb2.JOB_STATE_COMPLETED

    async def has_room() -> bool:
        return platform.generation.parts.capacity.full == ()

    await until(has_room)
    assert (await person.create()).state == job_pb2.JOB_STATE_QUEUED


async def test_pictures_are_kept_until_the_object_store_takes_them(platform: Platform, s3_server: S3Server) -> None:
    person = await Person.arrive(platform, tier="starter")
    job = await person.create()
    tried = asyncio.Event()

    class PatientUploader(Uploader):
        """Tells of the first upload that came to nothing."""

        async def put(self, url: str, artifact: Artifact) -> None:
            try:
                await super().put(url, artifact)
            except UploadError:
                tried.set()
                raise

    async with working(platform, uploader_class=PatientUploader):
        with refusing_store(s3_server):
            await asyncio.wait_for(tried.wait(), 30)
            assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING
        done = await person.ended(job.job_id, within_seconds=30.0)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
    assert len(await person.pictures(job.job_id)) == 1
    await Operator(platform).assert_holds_match_jobs()


async def test_job_whose_pictures_wait_for_room_can_be_cancelled(platform: Platform, s3_server: S3Server) -> None:
    person = await Person.arrive(platform, tier="starter")
    job = await person.create()
    tried = asyncio.Event()

    class WaitingUploader(Uploader):
        """Uploads to a store that takes nothing."""

        async def put(self, _url: str, artifact: Artifact) -> None:
            tried.set()
            raise UploadError(f"{artifact.name} was not stored", may_pass=True)

    async with working(platform, uploader_class=WaitingUploader):
        await asyncio.wait_for(tried.wait(), 30)
        await person.cancel(job.job_id)
        ended = await person.ended(job.job_id)
    assert ended.state == job_pb2.JOB_STATE_CANCELLED
    assert float(ended.credits_used) > 0, "what ran is paid"
    await Operator(platform).assert_holds_match_jobs()


async def test_services_hear_from_a_worker_that_the_object_store_is_full(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="starter")
    job = await person.create()
    room = asyncio.Event()

    class FullStore(Uploader):
        """Uploads to a store that says that it is full."""

        async def put(self, url: str, artifact: Artifact) -> None:
            if not room.is_set():
                raise UploadError(f"{artifact.name} was not stored: no room", may_pass=True, is_full=True)
            await super().put(url, artifact)

    async with working(platform, uploader_class=FullStore):
        await until_full(platform.generation.service.public)
        assert_full(await refusal_of(person.create()), "s3")
        room.set()
        done = await person.ended(job.job_id, within_seconds=30.0)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)


async def test_job_whose_model_finds_no_room_goes_back_and_is_not_failed(platform: Platform, tmp_path: Path) -> None:
    person = await Person.arrive(platform, tier="starter")
    job = await person.create(model_id=HUGE)
    (tmp_path / "pingvas-tiny" / "1").mkdir(parents=True)
    async with working(platform, models_dir=tmp_path, later_ms=200):

        async def has_gone_back() -> bool:
            return len(await platform.rows("generation", ATTEMPTS, UUID(job.job_id))) > 3

        await until(has_gone_back)
        other = await person.create()
        assert (await person.ended(other.job_id)).state == job_pb2.JOB_STATE_COMPLETED
    outcomes = {row["outcome"] for row in await platform.rows("generation", ATTEMPTS, UUID(job.job_id))}
    assert outcomes == {RETURNED}
    assert (await person.cancel(job.job_id)).state == job_pb2.JOB_STATE_CANCELLED
    await Operator(platform).assert_holds_match_jobs()
