"""Tests of when a store counts as full, by its free space and by what it refuses."""

from datetime import timedelta
from pathlib import Path

import pytest

from gpu_worker.attempt.upload import says_full
from svc_common.capacity import Capacity, storage_full
from svc_common.errors import Code, Reason, ServiceError
from svc_common.free_space import USUAL_MARKS, FolderGauge, Store, WaterMarks, free_bytes

MARKS = WaterMarks(low_bytes=100, high_bytes=200)


@pytest.mark.parametrize(
    ("free", "full"),
    [
        ([1000, 100, 99, 100, 199, 200, 100], [False, False, True, True, True, False, False]),
        ([99, 200, 99], [True, False, True]),
    ],
)
def test_store_is_full_from_the_low_mark_to_the_high_one(free: list[int], full: list[bool]) -> None:
    left = iter(free)
    gauge = FolderGauge(Path("/"), MARKS, free=lambda _: next(left))
    assert [gauge.is_full() for _ in free] == full


def test_folder_that_is_not_there_is_not_full(tmp_path: Path) -> None:
    assert not FolderGauge(tmp_path / "none", MARKS).is_full()


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    before = free_bytes(tmp_path)
    assert before > 0
    gauge = FolderGauge(tmp_path, WaterMarks(low_bytes=1 << 62, high_bytes=1 << 62))
    assert gauge.is_full()
    assert gauge.free_bytes > 0


async def test_full_folder_refuses_until_there_is_room(tmp_path: Path) -> None:
    always = WaterMarks(low_bytes=1 << 62, high_bytes=1 << 62)
    capacity = Capacity((Store.OBJECTS,), folders={Store.OBJECTS: tmp_path, Store.REDIS: tmp_path}, marks=always)
    capacity.require(Store.OBJECTS)
    await capacity.look()
    with pytest.raises(ServiceError) as refused:
        capacity.require(Store.POSTGRESQL, Store.OBJECTS)
    assert refused.value.metadata == {"store": "s3"}
    # Another store of the machine that doesn't matter to the process.
    assert capacity.full == (Store.OBJECTS,)


def test_refusal_of_a_store_counts_for_a_while() -> None:
    moment = 1000.0
    capacity = Capacity((Store.POSTGRESQL, Store.OBJECTS), folders={}, marks=USUAL_MARKS, monotonic=lambda: moment)
    capacity.note_refusal(Store.POSTGRESQL)
    moment += 9.0
    assert capacity.full == (Store.POSTGRESQL,)
    with pytest.raises(ServiceError):
        capacity.require(Store.POSTGRESQL)
    capacity.require(Store.OBJECTS)
    moment += 2.0
    assert capacity.full == ()
    capacity.require(Store.POSTGRESQL)


def test_refusal_says_what_was_not_done_and_when_to_try_again() -> None:
    refusal = storage_full(Store.POSTGRESQL)
    assert (refusal.reason, refusal.code) == (Reason.STORAGE_FULL, Code.UNAVAILABLE)
    assert refusal.retry_after == timedelta(seconds=30)
    assert "Nothing was accepted or charged" in refusal.message


@pytest.mark.parametrize(
    ("status", "body", "full"),
    [
        (507, b"", True),
        (500, b"<Error><Code>XMinioStorageFull</Code></Error>", True),
        (403, b"<Error><Code>QuotaExceeded</Code></Error>", True),
        (500, b"<Error><Code>InternalError</Code></Error>", False),
        (403, b"<Error><Code>AccessDenied</Code></Error>", False),
        (503, b"<Error><Code>SlowDown</Code></Error>", False),
    ],
)
def test_answer_of_a_full_object_store_is_told_from_others(status: int, body: bytes, full: bool) -> None:
    assert says_full(status, body) is full
