"""The rules of jobs: what each claim and report means in each state, and that a job ends once whatever comes."""

import itertools
from dataclasses import dataclass, replace
from enum import Enum, auto

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.errors import Reason
from svc_generation.domain.states import (
    MAX_ATTEMPTS,
    JobState,
    Requeueing,
    Standing,
    Step,
    accepts_report,
    after_failure,
    billed_millicredits,
    is_repeat_of_completion,
    on_claim,
    on_requeue,
)

ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
LATE = (JobState.FINALIZING, *ENDS)


def standing(state: JobState, *, attempt: int = 1, returned: int = 0, cancel: bool = False) -> Standing:
    claim_id = "worker-a:10" if state is not JobState.QUEUED and attempt else None
    return Standing(state, attempt, returned, cancel, claim_id)


@pytest.mark.parametrize("state", JobState)
def test_only_the_last_three_states_are_terminal(state: JobState) -> None:
    assert state.is_terminal == (state in ENDS)


@pytest.mark.parametrize("state", LATE)
@pytest.mark.parametrize(("claim_id", "cancel"), [*itertools.product(["worker-a:10", "worker-b:11"], [False, True])])
def test_claim_of_a_job_that_is_past_running_is_refused(state: JobState, claim_id: str, cancel: bool) -> None:
    assert on_claim(standing(state, cancel=cancel), claim_id) is Step.REFUSE


@pytest.mark.parametrize(
    ("job", "claim_id", "step"),
    [
        (standing(JobState.QUEUED, attempt=0), "worker-a:1", Step.START),
        (standing(JobState.QUEUED, attempt=0, cancel=True), "worker-a:1", Step.CANCEL),
        (standing(JobState.QUEUED, attempt=MAX_ATTEMPTS - 1), "worker-a:1", Step.START),
        (standing(JobState.QUEUED, attempt=MAX_ATTEMPTS), "worker-a:1", Step.GIVE_UP),
        (standing(JobState.QUEUED, attempt=MAX_ATTEMPTS, returned=1), "worker-a:1", Step.START),
        (standing(JobState.RUNNING), "worker-a:10", Step.REPEAT),
        (standing(JobState.RUNNING, cancel=True), "worker-a:10", Step.REPEAT),
        (standing(JobState.RUNNING, attempt=MAX_ATTEMPTS), "worker-a:10", Step.REPEAT),
        (standing(JobState.RUNNING), "worker-b:11", Step.START),
        # By number, not by text, and whoever asks.
        (standing(JobState.RUNNING), "worker-b:9", Step.REFUSE),
        (standing(JobState.RUNNING), "worker-a:100", Step.START),
        (standing(JobState.RUNNING, cancel=True), "worker-b:9", Step.REFUSE),
        (standing(JobState.RUNNING, cancel=True), "worker-b:11", Step.CANCEL),
        (standing(JobState.RUNNING, attempt=MAX_ATTEMPTS), "worker-b:11", Step.GIVE_UP),
        (standing(JobState.RUNNING, attempt=MAX_ATTEMPTS + 2, returned=3), "worker-b:11", Step.START),
        # A claim without a number is older than any that has one.
        (standing(JobState.RUNNING), "no number", Step.REFUSE),
    ],
)
def test_claim_of_an_open_job_leads_to_its_step(job: Standing, claim_id: str, step: Step) -> None:
    assert on_claim(job, claim_id) is step


@pytest.mark.parametrize(("state", "attempt"), [*itertools.product(JobState, [1, 2, 3])])
def test_report_is_heard_of_the_newest_attempt_of_a_running_job_only(state: JobState, attempt: int) -> None:
    assert accepts_report(standing(state, attempt=2), attempt) == (state is JobState.RUNNING and attempt == 2)


@pytest.mark.parametrize(("state", "attempt", "outcome"), [*itertools.product(JobState, [1, 2, 3], [None, *ENDS])])
def test_completion_is_a_repeat_when_the_same_attempt_has_completed(
    state: JobState, attempt: int, outcome: JobState | None
) -> None:
    expected = attempt == 2 and outcome is JobState.COMPLETED and state in LATE
    assert is_repeat_of_completion(standing(state, attempt=2), attempt, outcome) == expected


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("attempt", range(1, MAX_ATTEMPTS + 1))
def test_failure_is_retried_for_a_passing_reason_while_attempts_are_left(reason: Reason, attempt: int) -> None:
    passing = reason in {Reason.STORAGE_FAILED, Reason.MODEL_LOAD_FAILED, Reason.WORKER_LOST}
    expected = JobState.QUEUED if passing and attempt < MAX_ATTEMPTS else JobState.FAILED
    assert after_failure(standing(JobState.RUNNING, attempt=attempt), reason) is expected


@pytest.mark.parametrize("reason", [None, Reason.PIPELINE_FAILED, Reason.STORAGE_FAILED])
def test_failure_of_a_job_that_is_to_be_cancelled_cancels_it(reason: Reason | None) -> None:
    assert after_failure(standing(JobState.RUNNING, cancel=True), reason) is JobState.CANCELLED


def test_stop_without_a_reason_cancels() -> None:
    assert after_failure(standing(JobState.RUNNING), None) is JobState.CANCELLED


@pytest.mark.parametrize(
    ("outcome", "reported", "elapsed", "billed"),
    [
        (JobState.COMPLETED, 500, 800, 500),
        (JobState.COMPLETED, 800, 500, 500),
        (JobState.COMPLETED, 0, 500, 1),
        (JobState.COMPLETED, 500, -600_000, 1),
        (JobState.CANCELLED, 500, 800, 500),
        (JobState.CANCELLED, 800, 500, 500),
        (JobState.CANCELLED, 0, 500, 0),
        (JobState.FAILED, 500, 800, 0),
    ],
)
def test_bill_is_the_lower_of_what_worker_and_server_measured(
    outcome: JobState, reported: int, elapsed: int, billed: int
) -> None:
    assert billed_millicredits(outcome, reported, elapsed) == billed


class Act(Enum):
    """What may come to a job, in any order."""

    CLAIM = auto()
    STALE_CLAIM = auto()
    REPEATED_CLAIM = auto()
    COMPLETE = auto()
    FAIL_FOR_GOOD = auto()
    FAIL_IN_PASSING = auto()
    STOPPED = auto()
    GIVE_BACK = auto()
    LATE_COMPLETE = auto()
    CANCEL = auto()
    FINALIZE = auto()


_REASONS = {Act.FAIL_FOR_GOOD: Reason.PIPELINE_FAILED, Act.FAIL_IN_PASSING: Reason.STORAGE_FAILED, Act.STOPPED: None}
_NEW_JOB = Standing(JobState.QUEUED, 0, 0, cancel_requested=False)


@dataclass
class Life:
    """A job that follows the rules, and what has become of it. It stands for the transitions of the store."""

    job: Standing = _NEW_JOB
    fence: int = 0
    outcome: JobState | None = None
    completions: int = 0
    ends: int = 0

    def act(self, act: Act) -> None:
        match act:
            case Act.CLAIM | Act.STALE_CLAIM | Act.REPEATED_CLAIM:
                self._claim(self._claim_id(act))
            case Act.COMPLETE:
                self._complete(self.job.attempt)
            case Act.LATE_COMPLETE:
                self._complete(self.job.attempt - 1)
            case Act.GIVE_BACK:
                self._give_back()
            case Act.CANCEL:
                self._cancel()
            case Act.FINALIZE:
                self._finalize()
            case _:
                self._fail(_REASONS[act])

    def _claim_id(self, act: Act) -> str:
        if act is Act.REPEATED_CLAIM:
            return self.job.claim_id or "worker:0"
        self.fence += act is Act.CLAIM
        return f"worker:{self.fence - (act is Act.STALE_CLAIM)}"

    def _give_back(self) -> None:
        if accepts_report(self.job, self.job.attempt):
            returned = self.job.returned + 1
            self.job = replace(self.job, state=JobState.QUEUED, returned=returned, claim_id=None)

    def _cancel(self) -> None:
        if self.job.state is JobState.QUEUED:
            self._close(JobState.CANCELLED)
        elif self.job.state is JobState.RUNNING:
            self.job = replace(self.job, cancel_requested=True)

    def _finalize(self) -> None:
        if self.job.state is JobState.FINALIZING:
            assert self.outcome is not None
            self.job = replace(self.job, state=self.outcome)
            self.ends += 1

    def _claim(self, claim_id: str) -> None:
        match on_claim(self.job, claim_id):
            case Step.START:
                attempt = self.job.attempt + 1
                self.job = replace(self.job, state=JobState.RUNNING, attempt=attempt, claim_id=claim_id)
            case Step.CANCEL:
                self._close(JobState.CANCELLED)
            case Step.GIVE_UP:
                self._close(JobState.FAILED)

    def _complete(self, attempt: int) -> None:
        if is_repeat_of_completion(self.job, attempt, self.outcome):
            return
        if accepts_report(self.job, attempt):
            self.completions += 1
            self._close(JobState.COMPLETED)

    def _fail(self, reason: Reason | None) -> None:
        if not accepts_report(self.job, self.job.attempt):
            return
        target = after_failure(self.job, reason)
        if target is JobState.QUEUED:
            self.job = replace(self.job, state=JobState.QUEUED, claim_id=None)
        else:
            self._close(target)

    def _close(self, outcome: JobState) -> None:
        self.job, self.outcome = replace(self.job, state=JobState.FINALIZING), outcome


@given(st.lists(st.sampled_from(Act), max_size=40))
def test_job_ends_once_and_with_bounded_attempts_whatever_comes(acts: list[Act]) -> None:
    life = Life()
    for act in acts:
        before = life.job
        life.act(act)
        assert life.ends <= 1
        assert life.completions <= 1
        assert 0 <= life.job.attempts_used <= MAX_ATTEMPTS
        assert life.job.attempt >= before.attempt
        if before.state.is_terminal:
            assert life.job == before


@given(st.lists(st.sampled_from([act for act in Act if act is not Act.CANCEL]), max_size=40))
def test_job_that_nobody_cancels_and_no_worker_stops_is_completed_or_failed(acts: list[Act]) -> None:
    life = Life()
    for act in acts:
        life.act(act)
    if Act.STOPPED not in acts:
        assert life.outcome in (None, JobState.COMPLETED, JobState.FAILED)


@given(st.lists(st.sampled_from(Act), max_size=20))
def test_open_job_reaches_its_end_when_workers_keep_claiming_it(acts: list[Act]) -> None:
    life = Life()
    for act in acts:
        life.act(act)
    for _ in range(MAX_ATTEMPTS + 1):
        life.act(Act.CLAIM)
    life.act(Act.FINALIZE)
    assert life.job.state.is_terminal


@pytest.mark.parametrize("state", JobState)
def test_only_a_running_job_is_taken_back_and_a_waiting_one_stays(state: JobState) -> None:
    known = {JobState.QUEUED: Requeueing.WAITS, JobState.RUNNING: Requeueing.TAKE_BACK}
    assert on_requeue(state) is known.get(state, Requeueing.REFUSE)


def test_a_job_that_was_taken_back_has_as_many_attempts_left_and_hears_its_old_attempt_no_more() -> None:
    running = standing(JobState.RUNNING, attempt=MAX_ATTEMPTS)
    taken_back = replace(running, state=JobState.QUEUED, returned=running.returned + 1, claim_id=None)
    assert on_claim(taken_back, "worker-b:11") is Step.START
    assert not accepts_report(taken_back, running.attempt)
