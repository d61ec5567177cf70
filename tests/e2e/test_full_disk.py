"""A whole fleet on one disk that fills up: health tells it, new work is refused, and what was accepted is done."""

import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import pytest
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import job_pb2

from studio.stack.state import Health
from svc_common import registry
from svc_common.errors import Code, Reason, ServiceError
from svc_common.free_space import WaterMarks
from svc_common.status import STATUS_DETAILS_KEY
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import (
    FleetPlan,
    Job,
    Person,
    Stage,
    answer_or_refusal,
    refusal_in,
    refusal_of,
    running_stage,
    until,
)
from tests.harness_disk import SmallDisk, mounted

MEBIBYTE = 1 << 20
MARKS = WaterMarks(low_bytes=96 * MEBIBYTE, high_bytes=128 * MEBIBYTE)
NEVER = WaterMarks(low_bytes=0, high_bytes=0)
STORES = ("postgres", "redis", "s3")
SERVICES = tuple(service.name for service in registry.SERVICES)
HOLDS = "SELECT count(*) FROM payment.holds WHERE account_id = $1"
DRAIN_SECONDS = 90.0
FULL_SECONDS = 12.0


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with mounted("1g") as disk:
        if disk is None:
            pytest.skip("mounting a file system isn't permitted here")
        yield disk


@pytest.fixture
def marks() -> WaterMarks:
    return MARKS


@pytest.fixture
def narrow(disk: SmallDisk, marks: WaterMarks) -> Iterator[Stage]:
    """A fleet with one worker, all of whose data lie on the small disk."""
    with running_stage(disk.folder / "stage", FleetPlan(marks=marks)) as stage:
        yield stage


@pytest.fixture
def person(narrow: Stage, disk: SmallDisk) -> Iterator[Person]:
    yield narrow.person("studio")
    disk.make_room()


def until_all(stage: Stage, names: tuple[str, ...], health: Health) -> None:
    until(lambda: {stage.fleet.process(name).health for name in names} == {health}, f"all of {names} to be {health}")


def status_of(stage: Stage) -> str:
    command = [sys.executable, "-m", "studio.cli.main", "status", "--data-dir", str(stage.fleet.layout.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def assert_full(refusal: ServiceError) -> None:
    assert (refusal.reason, refusal.code) == (Reason.STORAGE_FULL, Code.UNAVAILABLE), refusal
    assert refusal.retry_after is not None


def test_nearly_full_disk_refuses_new_work_and_has_room_for_what_was_accepted(
    narrow: Stage, disk: SmallDisk, person: Person
) -> None:
    jobs = [person.create("[[slow=0.3]] a grebe", step_count=20), *(person.create("a grebe") for _ in range(5))]
    disk.fill(leaving_bytes=MARKS.low_bytes - 16 * MEBIBYTE)
    until_all(narrow, (*STORES, *SERVICES), Health.FULL)
    assert_full(refusal_of(lambda: person.create("a grebe too many")))
    upload = gallery_service_pb2.CreateUploadRequest(content_type="image/png", size_bytes=5)
    assert_full(refusal_of(lambda: person.gallery.CreateUpload(upload, timeout=15, metadata=person.metadata)))
    assert narrow.value(HOLDS, person.account_id) == len(jobs)
    shown = status_of(narrow)
    assert "No room is left" in shown
    assert "new jobs and uploads are refused until 128 MiB are" in shown

    ended = [person.end_of(job.job_id, within_seconds=DRAIN_SECONDS) for job in jobs]
    assert {job.state for job in ended} == {job_pb2.JOB_STATE_COMPLETED}
    assert_invariants(narrow)
    disk.make_room()
    until_all(narrow, (*STORES, *SERVICES, "worker-0"), Health.HEALTHY)
    job = person.create("a grebe after all")
    assert person.end_of(job.job_id).state == job_pb2.JOB_STATE_COMPLETED
    assert "No room" not in status_of(narrow)


@pytest.mark.parametrize("marks", [MARKS, NEVER], ids=["looked at", "found out by its refusals"])
def test_disk_full_to_the_last_byte_loses_nothing(narrow: Stage, disk: SmallDisk, person: Person) -> None:
    until_all(narrow, (*STORES, *SERVICES, "worker-0"), Health.HEALTHY)
    jobs = [person.create("[[slow=0.2]] a gannet", step_count=10), *(person.create("a gannet") for _ in range(10))]
    person.reaches(jobs[0].job_id, job_pb2.JOB_STATE_RUNNING)
    disk.fill()
    refusals: list[ServiceError] = []
    ends = time.monotonic() + FULL_SECONDS
    while time.monotonic() < ends:
        disk.fill()
        try:
            answer = answer_of(person)
        except grpc.RpcError:
            continue  # the log-in, or a connection that was cut
        if isinstance(answer, Job):
            jobs.append(answer)
        else:
            refusals.append(answer)
    disk.make_room()
    assert {refusal.code for refusal in refusals} == {Code.UNAVAILABLE}
    assert Reason.STORAGE_FULL in {refusal.reason for refusal in refusals}

    until_all(narrow, (*STORES, *SERVICES, "worker-0"), Health.HEALTHY)
    ended = [person.end_of(job.job_id, within_seconds=DRAIN_SECONDS) for job in jobs]
    assert {job_pb2.JobState.Name(job.state) for job in ended} == {"JOB_STATE_COMPLETED"}
    assert_invariants(narrow, within_seconds=240.0)
    assert isinstance(answer_or_refusal(lambda: person.create("a gannet after all")), Job)


def answer_of(person: Person) -> Job | ServiceError:
    """Submits a job; raises RpcError when there is neither an answer nor a refusal."""
    try:
        return person.create("a gannet too many")
    except grpc.RpcError as error:
        if not any(key == STATUS_DETAILS_KEY for key, _ in error.trailing_metadata() or ()):
            raise
        return refusal_in(error)
