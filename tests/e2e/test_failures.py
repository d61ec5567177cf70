"""Renders that fail: the owner is told why, pays nothing, and the next job is healthy."""

import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage


@pytest.fixture(scope="module")
def person(calm: Stage) -> Person:
    return calm.person()


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        ("raise", error_reason_pb2.ERROR_REASON_PIPELINE_FAILED),
        ("nan", error_reason_pb2.ERROR_REASON_INVALID_OUTPUT),
        ("oom", error_reason_pb2.ERROR_REASON_OUT_OF_MEMORY),
    ],
)
def test_render_that_fails_is_told_refunded_and_leaves_a_healthy_worker(
    calm: Stage, person: Person, marker: str, reason: error_reason_pb2.ErrorReason
) -> None:
    before = person.balance()
    job = person.create(f"[[{marker}]] a chimera")
    *_, last = person.watch(job.job_id)
    ended = person.get(job.job_id)
    assert (ended.state, ended.failure.reason, ended.attempt) == (job_pb2.JOB_STATE_FAILED, reason, 1)
    assert (last.failed.reason, last.failed.message) == (reason, ended.failure.message)
    assert last.failed.credits_refunded == ended.credits_held
    assert person.balance() == before
    # A person reads it: no trace, no class of an exception, no path.
    assert "Error" not in ended.failure.message
    assert "/" not in ended.failure.message
    assert list(ended.images) == []
    healthy = person.end_of(person.create("a sparrow").job_id)
    assert (healthy.state, healthy.attempt) == (job_pb2.JOB_STATE_COMPLETED, 1)
    assert_invariants(calm)
