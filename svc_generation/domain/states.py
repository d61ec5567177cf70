"""The states of a job and what may happen in each. Who stores and announces a change is not its business."""

import enum
from dataclasses import dataclass

from svc_common.errors import Reason

MAX_ATTEMPTS = 3
"""Attempts that may lose their worker before the job fails; handed-back ones aren't counted."""


class JobState(enum.IntEnum):
    """Names the states of a job; the numbers are those of pingvas.generation.v1.JobState."""

    QUEUED = 1
    RUNNING = 2
    FINALIZING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def is_terminal(self) -> bool:
        """Tells whether nothing can happen to the job any more."""
        return self >= JobState.COMPLETED


class AttemptOutcome(enum.IntEnum):
    """Names what became of one attempt."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4
    LOST = 5
    RETURNED = 6


class Step(enum.Enum):
    """Names what to do with a job for which a worker holds a claim."""

    START = enum.auto()
    REPEAT = enum.auto()
    REFUSE = enum.auto()
    CANCEL = enum.auto()
    GIVE_UP = enum.auto()


class Cancellation(enum.Enum):
    """Names what the request to cancel a job has done."""

    ENDED = enum.auto()
    """The job waited, and is over."""
    ASKED = enum.auto()
    """The job runs, and its worker was asked to stop."""
    REPEATED = enum.auto()
    """The job runs, and was asked to stop before."""
    NOTHING = enum.auto()
    """The job is in none of the states in which it was to be cancelled, or isn't there."""


CANCELLABLE = frozenset({JobState.QUEUED, JobState.RUNNING})
"""States that a job can be cancelled in; in any other it has ended, or is about to."""


class Requeueing(enum.Enum):
    """Names what it means to take a job back from its worker."""

    TAKE_BACK = enum.auto()
    WAITS = enum.auto()
    """It waits already."""
    REFUSE = enum.auto()
    """It has ended, or its pictures are being stored: another attempt would be in vain."""


RETRIED_REASONS = frozenset({Reason.STORAGE_FAILED, Reason.MODEL_LOAD_FAILED, Reason.WORKER_LOST})
"""Failures of the infrastructure, which another attempt may not meet. A pipeline that raises would raise again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Holds what the rules need to know of a job."""

    state: JobState
    attempt: int
    """Attempts begun; also the fence."""
    returned: int
    """Attempts among them that a worker gave back unfinished."""
    cancel_requested: bool
    claim_id: str | None = None

    @property
    def attempts_used(self) -> int:
        """Counts the attempts that stand against MAX_ATTEMPTS."""
        return self.attempt - self.returned


def on_claim(job: Standing, claim_id: str) -> Step:
    """Decides what a worker's claim means: Redis may offer a job that has ended, or offer one twice."""
    if job.state not in (JobState.QUEUED, JobState.RUNNING):
        return Step.REFUSE
    if job.state is JobState.RUNNING and job.claim_id == claim_id:
        return Step.REPEAT
    if job.state is JobState.RUNNING and _fence(claim_id) < _fence(job.claim_id):
        return Step.REFUSE
    if job.cancel_requested:
        return Step.CANCEL
    if job.attempts_used >= MAX_ATTEMPTS:
        return Step.GIVE_UP
    return Step.START


def _fence(claim_id: str | None) -> int:
    """Returns the number that the queue gave out with a claim, which ends the claim's id; 0 when there is none.

    The numbers grow with the time of the queue's server. A worker that stood still since its claim asks with a number
    lower than that of the worker which has taken the job over: it must not take the job back.
    """
    number = (claim_id or "").rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def accepts_report(job: Standing, attempt: int) -> bool:
    """Tells whether a report of an attempt counts: only the newest attempt of a running job is heard."""
    return job.state is JobState.RUNNING and job.attempt == attempt


def is_repeat_of_completion(job: Standing, attempt: int, outcome: JobState | None) -> bool:
    """Tells whether a completion was accepted before, so that the worker only lost the answer."""
    return job.attempt == attempt and outcome is JobState.COMPLETED and job.state >= JobState.FINALIZING


def after_failure(job: Standing, reason: Reason | None) -> JobState:
    """Decides where a failed attempt leads: cancelled (no reason), queued again, or failed."""
    if reason is None or job.cancel_requested:
        return JobState.CANCELLED
    if reason in RETRIED_REASONS and job.attempts_used < MAX_ATTEMPTS:
        return JobState.QUEUED
    return JobState.FAILED


def on_requeue(state: JobState) -> Requeueing:
    """Decides what becomes of a job that an administrator wants back from its worker."""
    if state is JobState.QUEUED:
        return Requeueing.WAITS
    return Requeueing.TAKE_BACK if state is JobState.RUNNING else Requeueing.REFUSE


def billed_millicredits(outcome: JobState, gpu_milliseconds: int, elapsed_milliseconds: int) -> int:
    """Computes what a job costs: one millicredit a GPU millisecond.

    The worker's figure can only lower what the server's own clock saw. A completed job costs at least one millicredit,
    a cancelled one what ran, a failed one nothing.
    """
    if outcome is JobState.FAILED:
        return 0
    used = max(0, min(gpu_milliseconds, elapsed_milliseconds))
    return max(1, used) if outcome is JobState.COMPLETED else used
