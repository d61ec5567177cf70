"""When a job that can't be closed is tried again, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from svc_common.clients import CallError
from svc_common.errors import Reason, ServiceError
from svc_generation.domain.finalizing import Obstacle, is_given_up, obstacle, pause_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.INVALID_FIELD, Obstacle.REFUSED),
        (Reason.HOLD_NOT_FOUND, Obstacle.REFUSED),
        (Reason.HOLD_CLOSED, Obstacle.REFUSED),
        (Reason.HOLD_CONFLICT, Obstacle.REFUSED),
        (Reason.INTERNAL, Obstacle.FAULT),
        (Reason.METHOD_NOT_FOUND, Obstacle.FAULT),
        (Reason.DEPENDENCY_UNAVAILABLE, Obstacle.AWAY),
        (Reason.DEADLINE_TOO_SHORT, Obstacle.AWAY),
        (Reason.OVERLOADED, Obstacle.AWAY),
    ],
)
def test_refusals_are_told_from_faults_and_absence(reason: Reason, expected: Obstacle) -> None:
    assert obstacle(ServiceError(reason, "")) is expected


@pytest.mark.parametrize("error", [ValueError(), KeyError(), CallError(), RuntimeError()])
def test_whatever_else_is_raised_is_a_fault(error: Exception) -> None:
    assert obstacle(error) is Obstacle.FAULT


def test_refused_job_fails_at_once_a_faulty_one_after_some_tries_and_nobody_fails_because_of_an_absence() -> None:
    assert is_given_up(Obstacle.REFUSED, 1, NOW, DEADLINE)
    assert [is_given_up(Obstacle.FAULT, tries, NOW, DEADLINE) for tries in (1, 7, 8)] == [False, False, True]
    assert is_given_up(Obstacle.FAULT, 1, DEADLINE, DEADLINE)
    assert not is_given_up(Obstacle.AWAY, 1_000_000, DEADLINE, DEADLINE)


def test_pauses_double_up_to_a_limit() -> None:
    def seconds(found: Obstacle) -> list[float]:
        return [pause_after(found, tries).total_seconds() for tries in (1, 2, 3, 4, 7, 8, 9, 10_000)]

    assert seconds(Obstacle.FAULT) == [4, 8, 16, 32, 256, 512, 600, 600]
    assert seconds(Obstacle.AWAY) == [4, 8, 16, 20, 20, 20, 20, 20]
