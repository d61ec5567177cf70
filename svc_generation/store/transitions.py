"""The changes of a job's state. Each runs in a transaction that holds the locks of `queries.lock_job`.

Each is one statement, whatever number of rows it changes: a job waits for every round trip to the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Update, insert, inspect, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from svc_common.errors import Reason
from svc_generation.domain.states import AttemptOutcome, JobState, billed_millicredits
from svc_generation.store import queries
from svc_generation.store.models import Attempt, Job


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


async def start(
    session: AsyncSession,
    job: Job,
    *,
    worker_id: str,
    claim_id: str,
    image_ids: list[UUID],
    now: datetime,
    upload_expire_time: datetime,
) -> Attempt:
    """Begins the next attempt; one that was running is lost by that, and its objects are to be deleted."""
    waiting = job.state == JobState.QUEUED
    attempt = Attempt(
        job_id=job.job_id,
        attempt=job.attempt + 1,
        account_id=job.account_id,
        worker_id=worker_id,
        outcome=AttemptOutcome.RUNNING,
        image_ids=image_ids,
        start_time=now,
        upload_expire_time=upload_expire_time,
    )
    beside: list[Insert | Update] = [insert(Attempt).values(_values_of(attempt))]
    if not waiting:
        beside.append(queries.attempt_closed(job, AttemptOutcome.LOST, now, clean_time=now))
    values = {
        "state": JobState.RUNNING,
        "attempt": attempt.attempt,
        "claim_id": claim_id,
        "worker_id": worker_id,
        "start_time": now,
    }
    sequence = queries.next_sequence(job.account_id, -1 if waiting else 0)
    await _change(session, job, values, beside, sequence, "started_sequence")
    return attempt


async def requeue(session: AsyncSession, job: Job, outcome: AttemptOutcome, now: datetime) -> None:
    """Puts a running job back into the queue, its attempt closed with an outcome."""
    values = {
        "state": JobState.QUEUED,
        "returned": job.returned + (outcome is AttemptOutcome.RETURNED),
        "claim_id": None,
        "worker_id": None,
        "queue_time": now,
    }
    beside = [queries.attempt_closed(job, outcome, now, clean_time=now)]
    await _change(session, job, values, beside, queries.next_sequence(job.account_id, +1), "queued_sequence")


async def close(session: AsyncSession, job: Job, ending: Ending, now: datetime) -> None:
    """Moves a job to FINALIZING on its way to an end. It has no event: watchers see the end itself."""
    if job.state == JobState.QUEUED:
        beside = queries.waiting_changed(job.account_id, -1)
    else:
        clean_time = None if ending.outcome is JobState.COMPLETED else now
        beside = queries.attempt_closed(job, _ATTEMPT_OUTCOMES[ending.outcome], now, clean_time)
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
    await _change(session, job, values, [beside])


async def end(session: AsyncSession, job: Job, used_millicredits: int, now: datetime) -> None:
    """Ends a FINALIZING job whose hold is closed. The terminal event gets its number here.

    One statement, since every job passes here: the number is taken first, and with it the lock of the account's changes.
    The row that is given may be as old as one likes.

    Raises:
        AlreadyEndedError: another call has ended it; the transaction must not be committed, or a number would be lost.
    """
    counter = queries.next_sequence(job.account_id).cte("counter")
    statement = (
        update(Job)
        .where(Job.job_id == job.job_id, Job.account_id == counter.c.account_id, Job.state == JobState.FINALIZING)
        .values(
            state=Job.outcome,
            used_millicredits=used_millicredits,
            end_time=now,
            ended_sequence=counter.c.last_sequence,
            last_sequence=counter.c.last_sequence,
        )
        .returning(Job.job_id)
        .execution_options(synchronize_session=False)
    )
    if (await session.execute(statement)).one_or_none() is None:
        raise AlreadyEndedError


async def touch_finalizing(session: AsyncSession, job_id: UUID, now: datetime) -> None:
    """Notes that the completion of a job has just been tried, so that the sweep waits before it tries again."""
    await session.execute(
        update(Job).where(Job.job_id == job_id, Job.state == JobState.FINALIZING).values(finalize_time=now)
    )


async def _change(
    session: AsyncSession,
    job: Job,
    values: dict[str, Any],
    beside: Sequence[Insert | Update],
    sequence: Update | None = None,
    numbered: str | None = None,
) -> None:
    """Writes values into a locked job and changes other rows beside it; the job is as it was written afterwards.

    With a `sequence`, the number that it takes goes into the column `numbered` as well.
    """
    statement = update(Job).where(Job.job_id == job.job_id).values(values)
    if sequence is not None and numbered is not None:
        counter = sequence.cte("counter")
        number = counter.c.last_sequence
        statement = statement.where(Job.account_id == counter.c.account_id).values(
            {numbered: number, "last_sequence": number}
        )
    statement = statement.add_cte(*(other.cte(f"beside_{index}") for index, other in enumerate(beside)))
    written = statement.returning(Job.last_sequence).execution_options(synchronize_session=False)
    last_sequence = (await session.execute(written)).scalar_one()
    if numbered is not None:
        values |= {numbered: last_sequence, "last_sequence": last_sequence}
    for name, value in values.items():
        set_committed_value(job, name, value)


def _values_of(row: Attempt) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(Attempt).column_attrs}
