"""How often the gallery is asked about an account's storage, and what its silence means."""

from uuid import UUID

import pytest
from pingvas.gallery.v1 import storage_service_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_generation.usecases.storage import LIFETIME_SECONDS, StorageGate


class Gallery:
    """Counts questions, and answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []
        self.error: ServiceError | None = None

    async def CheckStorage(
        self, request: storage_service_pb2.CheckStorageRequest
    ) -> storage_service_pb2.CheckStorageResponse:
        self.asked.append(UUID(request.account_id))
        if self.error is not None:
            raise self.error
        return storage_service_pb2.CheckStorageResponse()


class Seconds:
    """A clock that stands."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gallery() -> Gallery:
    return Gallery()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def gate(gallery: Gallery, seconds: Seconds) -> StorageGate:
    return StorageGate(gallery, monotonic_seconds=seconds)  # type: ignore[arg-type]


async def test_account_that_may_go_on_is_asked_about_once_a_minute(
    gate: StorageGate, gallery: Gallery, seconds: Seconds
) -> None:
    account_id, other = new_id(), new_id()
    for _ in range(10):
        await gate.check(account_id)
    await gate.check(other)
    assert gallery.asked == [account_id, other]
    seconds.now = LIFETIME_SECONDS
    await gate.check(account_id)
    assert gallery.asked == [account_id, other, account_id]


async def test_refusal_is_not_remembered(gate: StorageGate, gallery: Gallery) -> None:
    account_id = new_id()
    gallery.error = ServiceError(Reason.STORAGE_QUOTA_EXCEEDED, "too much")
    for _ in range(2):
        with pytest.raises(ServiceError) as refused:
            await gate.check(account_id)
        assert refused.value is gallery.error
    gallery.error = None
    await gate.check(account_id)
    assert len(gallery.asked) == 3


async def test_gallery_that_is_away_refuses_nobody_and_is_asked_once_a_second(
    gate: StorageGate, gallery: Gallery, seconds: Seconds
) -> None:
    gallery.error = dependency_unavailable("svc_gallery", "it is away")
    for _ in range(10):
        await gate.check(new_id())
    assert len(gallery.asked) == 1
    seconds.now = 1.5
    await gate.check(new_id())
    assert len(gallery.asked) == 2
