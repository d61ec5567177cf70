"""Workers that die, freeze, lose answers and are told to stop: each job ends once, and is paid for once."""

import signal
from decimal import Decimal

import httpx
import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2

from studio.stack.state import Health
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Accident, Job, Moment, Person, Stage, until

LEASE_SECONDS = 3.0
AFTER_LEASE_SECONDS = 10.0


def assert_whole(stage: Stage, person: Person, job: Job, *, attempt: int) -> None:
    """Asserts that a job has completed with its picture and was charged what it says."""
    assert job_pb2.JobState.Name(job.state) == "JOB_STATE_COMPLETED", job.failure
    assert job.attempt == attempt
    (image,) = job.images
    assert httpx.get(image.url).content.startswith(b"\x89PNG")
    spent = stage.value("SELECT sum(spent) FROM payment.transactions WHERE hold_id = $1::uuid", job.job_id)
    assert Decimal(int(spent)) / 1000 == Decimal(job.credits_used) > 0
    assert_invariants(stage)


@pytest.fixture
def person(shaken: Stage) -> Person:
    """Somebody on a fleet whose workers are there."""
    for name in ("worker-0", "worker-1"):
        shaken.fleet.wait_until_healthy(name)
    return shaken.person()


@pytest.mark.parametrize(
    ("moment", "attempt"),
    [(Moment.CLAIMED, 1), (Moment.STARTED, 2), (Moment.DENOISING, 2), (Moment.UPLOADED, 2), (Moment.REPORTED, 1)],
)
def test_job_of_a_killed_worker_completes_once(shaken: Stage, person: Person, moment: Moment, attempt: int) -> None:
    shaken.faults.arm(moment, Accident.KILL)
    job = person.create("a kite")
    shaken.strike(moment)
    ended = person.end_of(job.job_id, within_seconds=LEASE_SECONDS + AFTER_LEASE_SECONDS)
    assert_whole(shaken, person, ended, attempt=attempt)


@pytest.mark.parametrize("moment", [Moment.STARTED, Moment.REPORTED])
def test_call_whose_answer_was_lost_is_repeated_to_the_same_effect(
    shaken: Stage, person: Person, moment: Moment
) -> None:
    shaken.faults.arm(moment, Accident.LOSE_ANSWER)
    job = person.create("a buzzard")
    shaken.strike(moment)
    assert_whole(shaken, person, person.end_of(job.job_id), attempt=1)


def test_late_report_of_a_frozen_worker_is_refused(shaken: Stage, person: Person) -> None:
    shaken.faults.arm(Moment.UPLOADED, Accident.FREEZE)
    job = person.create("a falcon")
    shaken.strike(Moment.UPLOADED)
    frozen = shaken.worker_of(job.job_id)
    ended = person.end_of(job.job_id, within_seconds=LEASE_SECONDS + AFTER_LEASE_SECONDS)
    assert shaken.worker_of(job.job_id) != frozen
    shaken.thaw(frozen)
    until(lambda: _refusals(shaken, frozen, job.job_id), "the refusal of the late report")
    assert "ATTEMPT_FENCED" in _refusals(shaken, frozen, job.job_id)[0]
    assert person.get(job.job_id).images[0].image_id == ended.images[0].image_id
    assert_whole(shaken, person, ended, attempt=2)


def test_frozen_worker_gives_its_render_up_when_another_has_the_job(shaken: Stage, person: Person) -> None:
    shaken.faults.arm(Moment.DENOISING, Accident.FREEZE)
    job = person.create("[[slow=0.05]] an osprey", step_count=100)
    shaken.strike(Moment.DENOISING)
    frozen = shaken.worker_of(job.job_id)
    until(lambda: shaken.worker_of(job.job_id) != frozen, "another worker to take the job over")
    shaken.thaw(frozen)
    until(lambda: _logged(shaken, frozen, "lease.lost", job.job_id), "the frozen worker to notice")
    assert_whole(shaken, person, person.end_of(job.job_id), attempt=2)
    assert _refusals(shaken, frozen, job.job_id) == []


def test_worker_frozen_since_its_claim_does_not_take_the_job_back(shaken: Stage, person: Person) -> None:
    shaken.faults.arm(Moment.CLAIMED, Accident.FREEZE)
    job = person.create("[[slow=0.05]] a harrier", step_count=60)
    shaken.strike(Moment.CLAIMED)
    person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    awake = shaken.worker_of(job.job_id)
    shaken.thaw("worker-1" if awake == "worker-0" else "worker-0")
    assert_whole(shaken, person, person.end_of(job.job_id), attempt=1)
    assert shaken.worker_of(job.job_id) == awake


def test_stopping_worker_finishes_its_job_within_the_grace(shaken: Stage, person: Person) -> None:
    job = person.create("[[slow=0.1]] a swallow", step_count=8)
    person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    _stop_worker(shaken, shaken.worker_of(job.job_id))
    assert_whole(shaken, person, person.end_of(job.job_id), attempt=1)


def test_stopping_worker_hands_a_long_job_back_without_counting_the_attempt(shaken: Stage, person: Person) -> None:
    job = person.create("[[slow=0.1]] an albatross", step_count=50)
    person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    first = shaken.worker_of(job.job_id)
    _stop_worker(shaken, first)
    until(lambda: shaken.worker_of(job.job_id) != first, "another worker to begin")
    assert_whole(shaken, person, person.end_of(job.job_id), attempt=2)
    # It was handed over: a job whose lease has lapsed isn't counted as returned.
    assert shaken.value("SELECT returned FROM generation.jobs WHERE job_id = $1::uuid", job.job_id) == 1


def test_job_that_kills_each_of_its_workers_fails_after_three_attempts(shaken: Stage, person: Person) -> None:
    before = person.balance().available
    job = person.create("[[kill]] a dodo")
    ended = person.end_of(job.job_id, within_seconds=2 * 60)
    assert job_pb2.JobState.Name(ended.state) == "JOB_STATE_FAILED"
    assert (ended.attempt, ended.failure.reason) == (3, error_reason_pb2.ERROR_REASON_WORKER_LOST)
    assert person.balance().available == before
    healthy = person.create("a phoenix")
    assert_whole(shaken, person, person.end_of(healthy.job_id, within_seconds=60), attempt=1)


def test_job_that_kills_workers_in_its_head_start_is_given_up_too(shaken: Stage, person: Person) -> None:
    # Each worker has learnt what the model is, and begins with the next job before its attempt is recorded.
    slow = [person.create("[[slow=0.1]] a hen", step_count=5) for _ in range(2)]
    assert {job_pb2.JobState.Name(person.end_of(job.job_id).state) for job in slow} == {"JOB_STATE_COMPLETED"}
    assert len({shaken.worker_of(job.job_id) for job in slow}) == len(slow)
    before = person.balance().available
    workers = _worker_pids(shaken)
    with shaken.locked("generation.attempts"):
        job = person.create("[[kill=1]] a moa")
        until(lambda: _worker_pids(shaken) != workers, "a worker to die before its attempt is recorded")
    ended = person.end_of(job.job_id, within_seconds=2 * 60)
    assert (ended.attempt, ended.failure.reason) == (3, error_reason_pb2.ERROR_REASON_WORKER_LOST)
    assert person.balance().available == before
    assert_invariants(shaken)


def test_cancelled_job_of_a_dead_worker_ends_without_a_charge(shaken: Stage, person: Person) -> None:
    before = person.balance().available
    shaken.faults.arm(Moment.DENOISING, Accident.KILL)
    job = person.create("a moa")
    shaken.strike(Moment.DENOISING)
    person.cancel(job.job_id)
    ended = person.end_of(job.job_id, within_seconds=LEASE_SECONDS + AFTER_LEASE_SECONDS)
    assert job_pb2.JobState.Name(ended.state) == "JOB_STATE_CANCELLED"
    assert (ended.credits_used, person.balance().available) == ("0.000", before)
    assert_invariants(shaken)


def _stop_worker(stage: Stage, name: str) -> None:
    """Tells a worker to stop and returns when it has; its supervisor starts it again."""
    pid = stage.fleet.process(name).pid
    stage.fleet.kill(name, signal.SIGTERM)
    until(lambda: stage.fleet.process(name).pid != pid, f"the end of {name}")
    assert stage.fleet.process(name).health is not Health.FAILED


def _refusals(stage: Stage, worker: str, job_id: str) -> list[str]:
    return _logged(stage, worker, "job.report_refused", job_id)


def _logged(stage: Stage, worker: str, event: str, job_id: str) -> list[str]:
    return [line for line in stage.fleet.log(worker).splitlines() if event in line and job_id in line]


def _worker_pids(stage: Stage) -> list[int]:
    return [stage.fleet.process(name).pid for name in ("worker-0", "worker-1")]
