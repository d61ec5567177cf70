"""The changes of a job's state. Each runs in a transaction that holds the locks of `queries.lock_job`.

Each is one statement, whatever number of rows it changes, since a job waits for every round trip to the database. Their
parameters are `of_job`, `of_account` and, for each value that is written, the column's name behind "new_": SQLAlchemy keeps
the plain names for itself.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BindParameter, Column, Table, Update, bindparam, insert, update
from sqlalchemy.orm.attributes import set_committed_value

from svc_common.errors import Reason
from svc_common.statements import Direct, Statement
from svc_generation.domain.states import AttemptOutcome, JobState, billed_millicredits
from svc_generation.store.models import AccountCounter, Attempt, Job


@dataclass(frozen=True, slots=True)
class Ending:
    """Says how a job is to end."""

    outcome: JobState
    gpu_milliseconds: int = 0
    reason: Reason | None = None
    message: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)


class AlreadyEndedError(Exception):
    """Means that a job which was to be ended isn't FINALIZING any more."""


_ATTEMPT_OUTCOMES = {
    JobState.COMPLETED: AttemptOutcome.COMPLETED,
    JobState.FAILED: AttemptOutcome.FAILED,
    JobState.CANCELLED: AttemptOutcome.CANCELLED,
}

_jobs, _attempts, _counters = (
    cast("Table", table) for table in (Job.__table__, Attempt.__table__, AccountCounter.__table__)
)


def _written(table: Table, *names: str) -> dict[Column[Any], BindParameter[Any]]:
    """Returns columns with the parameters of their values, which have the columns' names behind "new_"."""
    return {table.c[name]: bindparam(f"new_{name}") for name in names}


# Takes the account's next event number, and with it the lock of the account's changes.
_next = (
    update(_counters)
    .where(_counters.c.account_id == bindparam("of_account"))
    .values(
        {
            _counters.c.last_sequence: _counters.c.last_sequence + 1,
            _counters.c.waiting: _counters.c.waiting + bindparam("waiting_change"),
        }
    )
    .returning(_counters.c.account_id, _counters.c.last_sequence)
    .cte("counter")
)
_no_more_waiting = (
    update(_counters)
    .where(_counters.c.account_id == bindparam("of_account"))
    .values({_counters.c.waiting: _counters.c.waiting - 1})
    .cte("counter")
)
# Records what became of the present attempt, if it is open, and from when on its objects are to be deleted, if they are.
_attempt_closed = (
    update(_attempts)
    .where(
        _attempts.c.job_id == bindparam("of_job"),
        _attempts.c.attempt == bindparam("closed_attempt"),
        _attempts.c.end_time.is_(None),
    )
    .values({_attempts.c[name]: bindparam(f"new_{name}_of_attempt") for name in ("outcome", "end_time", "clean_time")})
    .cte("closed")
)
_attempt_begun = (
    insert(_attempts).values({column: bindparam(f"begun_{column.name}") for column in _attempts.c}).cte("begun")
)


def _change(*names: str) -> Update:
    """Returns the statement that writes columns of one job."""
    return update(_jobs).where(_jobs.c.job_id == bindparam("of_job")).values(_written(_jobs, *names))


def _numbered(change: Update, column: str) -> Update:
    """Returns a change that is an event: it takes the account's next number, which goes into a column and comes back."""
    number = _next.c.last_sequence
    return (
        change.where(_jobs.c.account_id == _next.c.account_id)
        .values({_jobs.c[column]: number, _jobs.c.last_sequence: number})
        .returning(_jobs.c.last_sequence)
    )


_START = Statement(
    _numbered(_change("state", "attempt", "claim_id", "worker_id", "start_time"), "started_sequence").add_cte(
        _attempt_closed, _attempt_begun
    )
)
_REQUEUE = Statement(
    _numbered(_change("state", "returned", "claim_id", "worker_id", "queue_time"), "queued_sequence").add_cte(
        _attempt_closed
    )
)
_close = _change("state", "outcome", "gpu_milliseconds", "finalize_time", "images", "failure_reason", "failure_message")
_CLOSE_WAITING = Statement(_close.add_cte(_no_more_waiting))
_CLOSE_STARTED = Statement(_close.add_cte(_attempt_closed))
_END = Statement(
    _numbered(
        _change("used_millicredits", "end_time")
        .where(_jobs.c.state == JobState.FINALIZING)
        .values({_jobs.c.state: _jobs.c.outcome}),
        "ended_sequence",
    )
)
_REQUEST_CANCEL = Statement(_change("cancel_requested"))
_TOUCH_FINALIZING = Statement(_change("finalize_time").where(_jobs.c.state == JobState.FINALIZING))


async def start(
    direct: Direct,
    job: Job,
    *,
    worker_id: str,
    claim_id: str,
    image_ids: list[UUID],
    now: datetime,
    upload_expire_time: datetime,
) -> Attempt:
    """Begins the next attempt; one that was running is lost by that, and its objects are to be deleted."""
    begun = {
        "job_id": job.job_id,
        "attempt": job.attempt + 1,
        "account_id": job.account_id,
        "worker_id": worker_id,
        "outcome": AttemptOutcome.RUNNING,
        "image_ids": image_ids,
        "start_time": now,
        "end_time": None,
        "upload_expire_time": upload_expire_time,
        "clean_time": None,
    }
    beside = {
        "waiting_change": -1 if job.state == JobState.QUEUED else 0,
        **_closing(job, AttemptOutcome.LOST, now, clean_time=now),
        **{f"begun_{name}": value for name, value in begun.items()},
    }
    values = {
        "state": JobState.RUNNING,
        "attempt": begun["attempt"],
        "claim_id": claim_id,
        "worker_id": worker_id,
        "start_time": now,
    }
    await _write(direct, _START, job, values, beside, "started_sequence")
    return Attempt(**begun)


async def requeue(direct: Direct, job: Job, outcome: AttemptOutcome, now: datetime) -> None:
    """Puts a running job back into the queue, its attempt closed with an outcome."""
    values = {
        "state": JobState.QUEUED,
        "returned": job.returned + (outcome is AttemptOutcome.RETURNED),
        "claim_id": None,
        "worker_id": None,
        "queue_time": now,
    }
    beside = {"waiting_change": +1, **_closing(job, outcome, now, clean_time=now)}
    await _write(direct, _REQUEUE, job, values, beside, "queued_sequence")


async def close(direct: Direct, job: Job, ending: Ending, now: datetime) -> None:
    """Moves a job to FINALIZING on its way to an end. It has no event: watchers see the end itself."""
    elapsed = (now - job.start_time) / timedelta(milliseconds=1) if job.start_time else 0
    values = {
        "gpu_milliseconds": billed_millicredits(ending.outcome, ending.gpu_milliseconds, int(elapsed)),
        "state": JobState.FINALIZING,
        "outcome": ending.outcome,
        "finalize_time": now,
        "images": ending.images,
        "failure_reason": ending.reason.value if ending.outcome is JobState.FAILED and ending.reason else None,
        "failure_message": ending.message or None,
    }
    if job.state == JobState.QUEUED:
        await _write(direct, _CLOSE_WAITING, job, values, {})
        return
    clean_time = None if ending.outcome is JobState.COMPLETED else now
    closing = _closing(job, _ATTEMPT_OUTCOMES[ending.outcome], now, clean_time)
    await _write(direct, _CLOSE_STARTED, job, values, closing)


async def end(direct: Direct, job: Job, used_millicredits: int, now: datetime) -> None:
    """Ends a FINALIZING job whose hold is closed. The terminal event gets its number here.

    The row that is given may have been read before; it is as it was written afterwards.

    Raises:
        AlreadyEndedError: another call has ended it; the transaction must not be committed, or a number would be lost.
    """
    values = {"used_millicredits": used_millicredits, "end_time": now}
    await _write(direct, _END, job, values, {"waiting_change": 0}, "ended_sequence")
    set_committed_value(job, "state", job.outcome)


async def request_cancel(direct: Direct, job: Job) -> None:
    """Notes that a running job is to be stopped."""
    await _write(direct, _REQUEST_CANCEL, job, {"cancel_requested": True}, {})


async def touch_finalizing(direct: Direct, job_id: UUID, now: datetime) -> None:
    """Notes that the completion of a job has just been tried, so that the sweep waits before it tries again."""
    await direct.fetch(_TOUCH_FINALIZING, {"of_job": job_id, "new_finalize_time": now})


def _closing(job: Job, outcome: AttemptOutcome, now: datetime, clean_time: datetime | None) -> dict[str, Any]:
    """Returns the parameters of `_attempt_closed` for the present attempt of a job."""
    return {
        "closed_attempt": job.attempt,
        "new_outcome_of_attempt": outcome,
        "new_end_time_of_attempt": now,
        "new_clean_time_of_attempt": clean_time,
    }


async def _write(
    direct: Direct,
    statement: Statement,
    job: Job,
    values: dict[str, Any],
    beside: dict[str, Any],
    numbered: str | None = None,
) -> None:
    """Executes a change of a locked job; the job is as it was written afterwards.

    Args:
        direct: a transaction that holds the locks of the job.
        statement: the change.
        job: the job.
        values: what is written into the job.
        beside: the parameters of what is changed beside it.
        numbered: the column that the number of the event goes to, where the change is one.

    Raises:
        AlreadyEndedError: the statement asks for a state in which the job isn't.

    """
    parameters = {f"new_{name}": value for name, value in values.items()}
    key = {"of_job": job.job_id, "of_account": job.account_id}
    rows = await direct.fetch(statement, {**parameters, **beside, **key})
    if numbered is not None:
        if not rows:
            raise AlreadyEndedError
        sequence = rows[0]["last_sequence"]
        values = {**values, numbered: sequence, "last_sequence": sequence}
    for name, value in values.items():
        set_committed_value(job, name, value)
