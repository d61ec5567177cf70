"""The changes of a job's state. Each runs in a transaction that holds the locks of `queries.lock_job`."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.errors import Reason
from svc_generation.domain.states import AttemptOutcome, JobState, billed_millicredits
from svc_generation.store import queries
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
    if not waiting:
        await queries.close_attempt(session, job, AttemptOutcome.LOST, now, clean_time=now)
    sequence = await queries.next_sequence(session, job.account_id, -1 if waiting else 0)
    job.state = JobState.RUNNING
    job.attempt += 1
    job.claim_id, job.worker_id = claim_id, worker_id
    job.start_time = now
    job.started_sequence = job.last_sequence = sequence
    attempt = Attempt(
        job_id=job.job_id,
        attempt=job.attempt,
        account_id=job.account_id,
        worker_id=worker_id,
        outcome=AttemptOutcome.RUNNING,
        image_ids=image_ids,
        start_time=now,
        upload_expire_time=upload_expire_time,
    )
    session.add(attempt)
    await session.flush()
    return attempt


async def requeue(session: AsyncSession, job: Job, outcome: AttemptOutcome, now: datetime) -> None:
    """Puts a running job back into the queue, its attempt closed with an outcome."""
    await queries.close_attempt(session, job, outcome, now, clean_time=now)
    sequence = await queries.next_sequence(session, job.account_id, +1)
    job.state = JobState.QUEUED
    job.returned += outcome is AttemptOutcome.RETURNED
    job.claim_id = job.worker_id = None
    job.queue_time = now
    job.queued_sequence = job.last_sequence = sequence
    await session.flush()


async def close(session: AsyncSession, job: Job, ending: Ending, now: datetime) -> None:
    """Moves a job to FINALIZING on its way to an end. It has no event: watchers see the end itself."""
    if job.state == JobState.QUEUED:
        await queries.change_waiting(session, job.account_id, -1)
    else:
        clean_time = None if ending.outcome is JobState.COMPLETED else now
        await queries.close_attempt(session, job, _ATTEMPT_OUTCOMES[ending.outcome], now, clean_time)
    elapsed = (now - job.start_time) / timedelta(milliseconds=1) if job.start_time else 0
    job.gpu_milliseconds = billed_millicredits(ending.outcome, ending.gpu_milliseconds, int(elapsed))
    job.state, job.outcome = JobState.FINALIZING, ending.outcome
    job.finalize_time = now
    job.images = ending.images
    job.failure_reason = ending.reason.value if ending.outcome is JobState.FAILED and ending.reason else None
    job.failure_message = ending.message or None
    await session.flush()


async def end(session: AsyncSession, job: Job, used_millicredits: int, now: datetime) -> None:
    """Ends a FINALIZING job whose hold is closed. The terminal event gets its number here.

    One statement, since every job passes here: the number is taken first, and with it the lock of the account's changes.
    The row that is given may be as old as one likes.

    Raises:
        AlreadyEndedError: another call has ended it; the transaction must not be committed, or a number would be lost.
    """
    counter = (
        update(AccountCounter)
        .where(AccountCounter.account_id == job.account_id)
        .values(last_sequence=AccountCounter.last_sequence + 1)
        .returning(AccountCounter.account_id, AccountCounter.last_sequence)
        .cte("counter")
    )
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
