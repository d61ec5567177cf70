"""Cancelling: at once and for nothing while a job waits, within a step and for what has run while it runs."""

import random
import time
from decimal import Decimal

import pytest
from pingvas.generation.v1 import job_pb2

from svc_common.errors import Reason, ServiceError
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage, answer_or_refusal, refusal_of

STEP_SECONDS = 0.5
CANCELLED = job_pb2.JOB_STATE_CANCELLED


@pytest.fixture(scope="module")
def person(calm: Stage) -> Person:
    return calm.person()


def test_waiting_job_is_cancelled_at_once_and_costs_nothing(calm: Stage, person: Person) -> None:
    before = person.balance()
    with calm.busy_workers():
        job = person.create("never begun")
        assert person.balance().held != before.held
        answer = person.cancel(job.job_id)
        assert (answer.state, answer.credits_used, answer.attempt) == (CANCELLED, "0.000", 0)
        assert person.balance() == before
        events = [event.WhichOneof("detail") for event in person.watch(job.job_id)]
        assert events == ["queued", "cancelled"]
    assert person.get(job.job_id) == answer, "the worker that became free left it alone"
    assert_invariants(calm)


def test_running_job_is_cancelled_within_a_step_and_costs_what_ran(calm: Stage, person: Person) -> None:
    before = Decimal(person.balance().available)
    created_at = time.monotonic()
    # Four pictures: what is held is more than what will have run.
    job = person.create(f"[[slow={STEP_SECONDS}]] cut short", step_count=30, width_px=256, height_px=256, image_count=4)
    stream = person.watch(job.job_id)
    for event in stream:
        if event.progress.step == 3:
            break
    cancelled_at = time.monotonic()
    person.cancel(job.job_id)
    rest = list(stream)
    ended_at = time.monotonic()
    assert [event.WhichOneof("detail") for event in rest[-1:]] == ["cancelled"]
    # One step may be running and one have begun when the word arrives; the rest is what two busy cores need.
    assert sum(event.HasField("progress") for event in rest) <= 2
    assert ended_at - cancelled_at < 2 * STEP_SECONDS + 2.0
    ended = person.get(job.job_id)
    used = Decimal(ended.credits_used)
    # A second costs a credit: three steps ran at least, and no more than there was time for.
    assert 3 * STEP_SECONDS <= used <= ended_at - created_at + 0.001
    assert used < Decimal(ended.credits_held)
    assert rest[-1].cancelled.credits_used == ended.credits_used
    assert Decimal(person.balance().available) == before - used
    assert list(ended.images) == []
    assert_invariants(calm)


def test_cancelling_again_answers_the_same(person: Person) -> None:
    job = person.create("[[slow=0.1]] twice", step_count=30)
    person.cancel(job.job_id)
    ended = person.end_of(job.job_id)
    assert ended.state == CANCELLED
    assert person.cancel(job.job_id) == ended


def test_ended_job_is_not_cancelled(person: Person) -> None:
    job = person.create("done")
    person.end_of(job.job_id)
    refusal = refusal_of(lambda: person.cancel(job.job_id))
    assert refusal.reason == Reason.JOB_ALREADY_ENDED
    assert refusal.metadata == {"job_id": job.job_id, "state": "JOB_STATE_COMPLETED"}


def test_job_of_another_account_is_not_cancelled(calm: Stage, person: Person) -> None:
    job = person.create("[[slow=0.1]] mine", step_count=10)
    stranger = calm.person()
    assert refusal_of(lambda: stranger.cancel(job.job_id)).reason == Reason.JOB_NOT_FOUND
    assert person.end_of(job.job_id).state == job_pb2.JOB_STATE_COMPLETED


def test_cancel_at_any_moment_leaves_one_end(calm: Stage, person: Person) -> None:
    """The races of a cancellation with the claim, the render, the upload and the report."""
    chance = random.Random(5)
    for number in range(25):
        job = person.create(f"[[slow=0.01]] moment {number}", step_count=10)
        time.sleep(chance.uniform(0.0, 0.35))  # any moment of the job's life, which is the point
        answer = answer_or_refusal(lambda job_id=job.job_id: person.cancel(job_id))
        if isinstance(answer, ServiceError):
            assert answer.reason == Reason.JOB_ALREADY_ENDED
        ended = person.end_of(job.job_id)
        details = [event.WhichOneof("detail") for event in person.watch(job.job_id)]
        assert details[-1] == {4: "completed", 6: "cancelled"}[ended.state]
    assert_invariants(calm)
