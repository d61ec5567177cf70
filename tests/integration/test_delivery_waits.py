"""A worker whose object store takes nothing: how long it keeps finished pictures, and what becomes of the job then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pingvas.worker.v1 import worker_service_pb2
from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

from gpu_worker.attempt.delivery import Deliverer, Pictures
from gpu_worker.attempt.failures import AttemptFailedError, NoRoomError
from gpu_worker.attempt.interruption import StoppingError
from gpu_worker.attempt.object_client import open_client
from gpu_worker.attempt.safety import SafetyPolicy
from gpu_worker.attempt.upload import Uploader, UploadError
from gpu_worker.claim.lease import Lease
from gpu_worker.pictures.encode import Artifact
from gpu_worker.render.interface import RenderResult
from svc_common.clients import channel
from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_common.queue import Claim
from tests.factories.queue import queued_job
from tests.harness_service import Identities

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
Deliver = Callable[[type[Uploader], timedelta], Awaitable[None]]
RESULT = RenderResult(images=(), gpu_seconds=1.5, device="cpu", library_versions=())


class ClosedStore(Uploader):
    """Uploads to a store that takes nothing; `tried` counts."""

    tried = 0
    may_pass = True

    async def put(self, _url: str, artifact: Artifact) -> None:
        ClosedStore.tried += 1
        raise UploadError(f"{artifact.name} was not stored", may_pass=self.may_pass)


class Forbidden(ClosedStore):
    """Uploads to a store that refuses the addresses."""

    may_pass = False


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def lease() -> Lease:
    return Lease(Claim(queued_job(), "worker-0", 1), lambda: None)


@pytest.fixture
def pictures(pool: Executor) -> Pictures:
    artifact = Artifact.of("original.png", "image/png", b"png")
    return Pictures(RESULT, (tuple(pool.submit(lambda: artifact) for _ in range(3)),))


def attempt(expires_in: timedelta) -> worker_service_pb2.Attempt:
    found = worker_service_pb2.Attempt(job_id=str(new_id()), attempt=1, slots=[worker_service_pb2.UploadSlot()])
    found.expire_time.FromDatetime(NOW + expires_in)
    return found


@pytest.fixture
async def deliver(identities: Identities, pool: Executor, lease: Lease, pictures: Pictures) -> AsyncIterator[Deliver]:
    """Returns a function that delivers with an uploader of a class; svc_generation isn't there, and isn't called."""
    async with open_client() as client, channel("127.0.0.1:1", identities.credential("gpu_worker")) as nowhere:

        async def run(uploader: type[Uploader], expires_in: timedelta) -> None:
            deliverer = Deliverer(
                safety=SafetyPolicy(None, None, pool),
                uploader=uploader(client),
                service=WorkerServiceStub(nowhere),
                encode_pool=pool,
                now=lambda: NOW,
            )
            told = asyncio.get_running_loop().create_future()
            told.set_result(None)
            await deliverer.deliver(attempt(expires_in), pictures, lease, told)

        yield run


async def test_job_goes_back_before_its_addresses_expire(deliver: Deliver) -> None:
    with pytest.raises(NoRoomError):
        await deliver(ClosedStore, timedelta(seconds=59))


async def test_pictures_are_tried_again_while_the_addresses_work(deliver: Deliver, lease: Lease) -> None:
    ClosedStore.tried = 0
    delivering = asyncio.ensure_future(deliver(ClosedStore, timedelta(hours=1)))
    async with asyncio.timeout(20):
        while ClosedStore.tried < 6:  # noqa: ASYNC110 - three objects, twice
            await asyncio.sleep(0.02)
    lease.stop_by(asyncio.get_running_loop().time() + 10)
    with pytest.raises(StoppingError):
        await delivering


async def test_address_that_is_refused_fails_the_attempt(deliver: Deliver) -> None:
    with pytest.raises(AttemptFailedError) as failed:
        await deliver(Forbidden, timedelta(hours=1))
    assert (failed.value.reason, failed.value.gpu_seconds) == (Reason.STORAGE_FAILED, 1.5)


async def test_cancellation_ends_the_wait_and_says_what_was_used(deliver: Deliver, lease: Lease) -> None:
    lease.cancel_requested.set()
    with pytest.raises(AttemptFailedError) as failed:
        await deliver(ClosedStore, timedelta(hours=1))
    assert (failed.value.reason, failed.value.gpu_seconds) == (None, 1.5)
