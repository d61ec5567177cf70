"""The changes of a job's state.

What a change is to be is decided on a job as it was read, without a lock; it is written only if the job is still so, by one
statement that takes the locks, looks, and writes job, attempt and counter. So a change costs one round trip, and no lock waits
for this process. Else `ChangedError` is raised, nothing is written, and the caller reads and decides again: `decide` does that.

Their parameters are `of_job`, `of_account`, `was_...` for what the job must still be and, for each value that is written, the
column's name behind "new_": SQLAlchemy keeps the plain names for itself.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import CTE, Column, ColumnElement, Date, Table, Update, bindparam, func, insert, select, update
from sqlalchemy import cast as cast_sql
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.dml import ReturningUpdate

from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.statements import Statement
from svc_generation.domain.states import AttemptOutcome, JobState, billed_millicredits
from svc_generation.store import hot
from svc_generation.store.models import AccountCounter, Attempt, Job, KeySpending

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Ending:
    """Says how a job is to end."""

    outcome: JobState
    gpu_milliseconds: int = 0
    reason: Reason | None = None
    message: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)


class ChangedError(Exception):
    """Means that a job isn't as it was read any more, so that nothing was written."""


_ATTEMPT_OUTCOMES = {
    JobState.COMPLETED: AttemptOutcome.COMPLETED,
    JobState.FAILED: AttemptOutcome.FAILED,
    JobState.CANCELLED: AttemptOutcome.CANCELLED,
}

_jobs, _attempts, _counters, _key_spending = (
    cast("Table", each.__table__) for each in (Job, Attempt, AccountCounter, KeySpending)
)


_GUARD = ("state", "last_sequence", "cancel_requested")
"""Start, requeue and end take a number, close changes the state: a job with the same of all three has had no change."""

# Every change of an account's jobs locks the account's counter first, then the job. PostgreSQL locks the rows of a statement's
# outer level last, when the counter's lock is there, and looks again at a row that it had to wait for.
_counter = (
    select(_counters.c.account_id)
    .where(_counters.c.account_id == bindparam("of_account"))
    .with_for_update()
    .cte("counter")
)
_job = (
    select(_jobs.c.job_id, _jobs.c.account_id)
    .join(_counter, _jobs.c.account_id == _counter.c.account_id)
    .where(
        _jobs.c.job_id == bindparam("of_job"),
        *(_jobs.c[name] == bindparam(f"was_{name}") for name in _GUARD),
        # A job that is being closed may be given up: its outcome changes, and nothing of the above.
        _jobs.c.outcome.is_not_distinct_from(bindparam("was_outcome")),
    )
    .with_for_update(of=_jobs)
    .cte("job")
)


def _counted(values: dict[Column[Any], ColumnElement[Any]]) -> ReturningUpdate[Any]:
    """Returns a change of the account's counter, if the job is still as it was read."""
    return (
        update(_counters)
        .where(_counters.c.account_id == _job.c.account_id)
        .values(values)
        .returning(_counters.c.last_sequence)
    )


# Takes the account's next event number.
_next = _counted(
    {
        _counters.c.last_sequence: _counters.c.last_sequence + 1,
        _counters.c.waiting: _counters.c.waiting + bindparam("waiting_change"),
    }
).cte("next")
_no_more_waiting = _counted({_counters.c.waiting: _counters.c.waiting - 1}).cte("no_more_waiting")
# Records what became of the present attempt, if it is open, and from when on its objects are to be deleted, if they are.
_attempt_closed = (
    update(_attempts)
    .where(
        _attempts.c.job_id == _job.c.job_id,
        _attempts.c.attempt == bindparam("closed_attempt"),
        _attempts.c.end_time.is_(None),
    )
    .values({_attempts.c[name]: bindparam(f"new_{name}_of_attempt") for name in ("outcome", "end_time", "clean_time")})
    .cte("closed")
)
_attempt_begun = (
    insert(_attempts)
    .from_select(
        [column.name for column in _attempts.c],
        select(*(bindparam(f"begun_{column.name}", type_=column.type) for column in _attempts.c)).select_from(_job),
    )
    .cte("begun")
)


def _change(*names: str) -> Update:
    """Returns the statement that writes columns of the job, if it is still as it was read."""
    written = update(_jobs).where(_jobs.c.job_id == _job.c.job_id)
    return written.values({_jobs.c[name]: bindparam(f"new_{name}") for name in names})


def _compiled(change: Update, *beside: CTE) -> Statement:
    """Returns a change with what is changed beside the job; it gives a row if the job was still as it was read."""
    return Statement(change.returning(_jobs.c.last_sequence).add_cte(*beside))


def _numbered(change: Update, column: str) -> Update:
    """Returns a change that is an event: it takes the account's next number, which goes into a column as well."""
    number = select(_next.c.last_sequence).scalar_subquery()
    return change.values({_jobs.c[column]: number, _jobs.c.last_sequence: number})


_START = _compiled(
    _numbered(_change("state", "attempt", "claim_id", "worker_id", "start_time"), "started_sequence"),
    _attempt_closed,
    _attempt_begun,
)
_REQUEUE = _compiled(
    _numbered(_change("state", "returned", "claim_id", "worker_id", "queue_time"), "queued_sequence"), _attempt_closed
)
_close = _change("state", "outcome", "gpu_milliseconds", "finalize_time", "images", "failure_reason", "failure_message")
_CLOSE_WAITING = _compiled(_close, _no_more_waiting)
_CLOSE_STARTED = _compiled(_close, _attempt_closed)
# What was held of the API key's limits and not used is free again.
_key_spending_corrected = (
    update(_key_spending)
    .where(
        _jobs.c.job_id == _job.c.job_id,
        _key_spending.c.account_id == _jobs.c.account_id,
        _key_spending.c.api_key_id == _jobs.c.api_key_id,
        _key_spending.c.day == cast_sql(func.timezone("UTC", _jobs.c.create_time), Date),
    )
    .values(
        {
            _key_spending.c.millicredits: _key_spending.c.millicredits
            - _jobs.c.held_millicredits
            + bindparam("new_used_millicredits")
        }
    )
    .cte("key_spending_corrected")
)
_END = _compiled(
    _numbered(_change("state", "used_millicredits", "end_time"), "ended_sequence"), _key_spending_corrected
)
_attempt_failed = (
    update(_attempts)
    .where(_attempts.c.job_id == _job.c.job_id, _attempts.c.attempt == bindparam("failed_attempt"))
    .values(
        {
            _attempts.c.outcome: bindparam("new_outcome_of_attempt"),
            _attempts.c.clean_time: bindparam("new_clean_time_of_attempt"),
        }
    )
    .cte("failed")
)
_GIVE_UP = _compiled(_change("outcome", "gpu_milliseconds", "failure_reason", "failure_message"), _attempt_failed)
_REQUEST_CANCEL = _compiled(_change("cancel_requested"))
_TOUCH_FINALIZING = Statement(
    update(_jobs)
    .where(_jobs.c.job_id == bindparam("of_job"), _jobs.c.state == JobState.FINALIZING)
    .values({_jobs.c.finalize_time: bindparam("new_finalize_time")})
)


async def decide(database: Database, job_id: UUID, act: Callable[[Job], Awaitable[ResultT]]) -> ResultT | None:
    """Reads a job and lets `act` decide on it and change it; again if the job has changed in between.

    Returns None where there is no such job. Who changes a job brings it on, so that this ends.
    """
    while (job := await hot.find_job(database, job_id)) is not None:
        try:
            return await act(job)
        except ChangedError:
            continue
    return None


async def start(
    database: Database,
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
    await _write(database, _START, job, values, beside, "started_sequence")
    return Attempt(**begun)


async def requeue(database: Database, job: Job, outcome: AttemptOutcome, now: datetime) -> None:
    """Puts a running job back into the queue, its attempt closed with an outcome."""
    values = {
        "state": JobState.QUEUED,
        "returned": job.returned + (outcome is AttemptOutcome.RETURNED),
        "claim_id": None,
        "worker_id": None,
        "queue_time": now,
    }
    beside = {"waiting_change": +1, **_closing(job, outcome, now, clean_time=now)}
    await _write(database, _REQUEUE, job, values, beside, "queued_sequence")


async def close(database: Database, job: Job, ending: Ending, now: datetime) -> None:
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
        await _write(database, _CLOSE_WAITING, job, values, {})
        return
    clean_time = None if ending.outcome is JobState.COMPLETED else now
    closing = _closing(job, _ATTEMPT_OUTCOMES[ending.outcome], now, clean_time)
    await _write(database, _CLOSE_STARTED, job, values, closing)


async def give_up(database: Database, job: Job, reason: Reason, message: str, now: datetime) -> None:
    """Lets a FINALIZING job end as FAILED and cost nothing, whatever it was to become; its objects are to be deleted.

    The list of its pictures stays, as a note that the gallery may have them: watchers see it of COMPLETED jobs only.
    """
    values = {
        "outcome": JobState.FAILED,
        "gpu_milliseconds": 0,
        "failure_reason": job.failure_reason or reason.value,
        "failure_message": job.failure_message or message,
    }
    beside = {
        "failed_attempt": job.attempt,
        "new_outcome_of_attempt": AttemptOutcome.FAILED,
        "new_clean_time_of_attempt": now,
    }
    await _write(database, _GIVE_UP, job, values, beside)


async def end(database: Database, job: Job, used_millicredits: int, now: datetime) -> None:
    """Ends a FINALIZING job whose hold is closed. The terminal event gets its number here."""
    values = {"state": job.outcome, "used_millicredits": used_millicredits, "end_time": now}
    await _write(database, _END, job, values, {"waiting_change": 0}, "ended_sequence")


async def request_cancel(database: Database, job: Job) -> None:
    """Notes that a running job is to be stopped."""
    await _write(database, _REQUEST_CANCEL, job, {"cancel_requested": True}, {})


async def touch_finalizing(database: Database, job_id: UUID, now: datetime) -> None:
    """Notes from when on the sweep waits before it tries again to close a job; a time to come makes it wait longer."""
    await database.call(_TOUCH_FINALIZING, {"of_job": job_id, "new_finalize_time": now})


def _closing(job: Job, outcome: AttemptOutcome, now: datetime, clean_time: datetime | None) -> dict[str, Any]:
    """Returns the parameters of `_attempt_closed` for the present attempt of a job."""
    return {
        "closed_attempt": job.attempt,
        "new_outcome_of_attempt": outcome,
        "new_end_time_of_attempt": now,
        "new_clean_time_of_attempt": clean_time,
    }


async def _write(
    database: Database,
    statement: Statement,
    job: Job,
    values: dict[str, Any],
    beside: dict[str, Any],
    numbered: str | None = None,
) -> None:
    """Executes a change of a job that was read; the job is as it was written afterwards.

    Args:
        database: the tasks' database.
        statement: the change.
        job: the job.
        values: what is written into the job.
        beside: the parameters of what is changed beside it.
        numbered: the column that the number of the event goes to, where the change is one.

    Raises:
        ChangedError: the job has changed since it was read; nothing was written.

    """
    parameters = {f"new_{name}": value for name, value in values.items()}
    guard = {f"was_{name}": getattr(job, name) for name in (*_GUARD, "outcome")}
    key = {"of_job": job.job_id, "of_account": job.account_id}
    rows = await database.call(statement, {**parameters, **beside, **guard, **key})
    if not rows:
        raise ChangedError
    if numbered is not None:
        sequence = rows[0]["last_sequence"]
        values = {**values, numbered: sequence, "last_sequence": sequence}
    for name, value in values.items():
        set_committed_value(job, name, value)
