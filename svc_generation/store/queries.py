"""What svc_generation asks of its tables. What it changes in them is in `transitions` and `acceptance`."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Row, and_, bindparam, case, func, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.statements import Direct, RowLoader, Statement
from svc_generation.domain.states import JobState, Standing
from svc_generation.store.models import AccountCounter, Attempt, Job, TierPause

# The statements on the way of every job are compiled once and go to the driver itself.
_load_job = RowLoader(Job).load
_is_the_job = Job.job_id == bindparam("job_id")
_JOB = Statement(select(Job).where(_is_the_job))
_JOB_OF_ACCOUNT = Statement(select(Job).where(_is_the_job, Job.account_id == bindparam("account_id")))
_CHANGED = Statement(
    select(Job)
    .where(Job.account_id == bindparam("account_id"), Job.last_sequence > bindparam("after"))
    .order_by(Job.last_sequence)
    .limit(bindparam("most"))
)


def standing(job: Job) -> Standing:
    """Extracts what the rules of the domain need to know of a job."""
    return Standing(JobState(job.state), job.attempt, job.returned, job.cancel_requested, job.claim_id)


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> Row[bytes, bytes] | None:
    """Returns hash and first answer of the job that a request id has made, if there is one."""
    statement = select(Job.request_hash, Job.first_answer).where(
        Job.account_id == account_id, Job.request_id == request_id
    )
    return (await session.execute(statement)).one_or_none()


async def count_waiting(session: AsyncSession, account_id: UUID) -> int:
    """Returns how many jobs of an account wait."""
    statement = select(AccountCounter.waiting).where(AccountCounter.account_id == account_id)
    return (await session.execute(statement)).scalar_one_or_none() or 0


async def list_open_operations(session: AsyncSession, account_id: UUID, text: str) -> Sequence[Row[str, bytes]]:
    """Returns kind and operation of the jobs of an account that wait or run and whose operation holds a text somewhere."""
    is_open = (Job.account_id == account_id) & Job.state.in_((JobState.QUEUED, JobState.RUNNING))
    # Messages hold texts as their UTF-8, so that the database finds the few that have to be parsed.
    holds_text = func.position(literal(text.encode()).op("IN")(Job.operation)) > 0
    return (await session.execute(select(Job.operation_kind, Job.operation).where(is_open, holds_text))).all()


async def count_running(session: AsyncSession, account_id: UUID) -> int:
    """Returns how many jobs of an account run."""
    statement = select(func.count()).where(Job.account_id == account_id, Job.state == JobState.RUNNING)
    return (await session.execute(statement)).scalar_one()


async def get_job(direct: Direct, job_id: UUID, account_id: UUID | None = None) -> Job | None:
    """Returns a job; one of another account, when an account is given, is as if it weren't there."""
    statement = _JOB if account_id is None else _JOB_OF_ACCOUNT
    row = await direct.fetch_one(statement, {"job_id": job_id, "account_id": account_id})
    return None if row is None else _load_job(row)


async def list_jobs(
    session: AsyncSession,
    account_id: UUID,
    states: Sequence[JobState],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Job]:
    """Returns an account's jobs, newest first, from behind a place in that order."""
    statement = select(Job).where(Job.account_id == account_id)
    if states:
        statement = statement.where(Job.state.in_(states))
    if before is not None:
        statement = statement.where(
            tuple_(Job.create_time, Job.job_id) < tuple_(literal(before[0]), literal(before[1]))
        )
    statement = statement.order_by(Job.create_time.desc(), Job.job_id.desc()).limit(limit)
    return (await session.execute(statement)).scalars().all()


async def list_cancellable(
    session: AsyncSession, account_id: UUID, states: Collection[JobState], limit: int
) -> tuple[Sequence[UUID], int]:
    """Returns those of an account's jobs that can be cancelled in these states, and how many there are beyond the limit.

    Waiting jobs come before running ones, and each before those that were accepted after it: what would start next is
    cancelled first.
    """
    statement = (
        select(Job.job_id, func.count().over().label("total"))
        .where(Job.account_id == account_id, Job.state.in_(states))
        # A running one that was asked to stop before needs no more; one that was given back meanwhile waits again.
        .where(or_(Job.state == JobState.QUEUED, Job.cancel_requested.is_(False)))
        .order_by(Job.state, Job.create_time, Job.job_id)
        .limit(limit)
    )
    rows = (await session.execute(statement)).all()
    return [row.job_id for row in rows], (rows[0].total - len(rows) if rows else 0)


async def list_changed(direct: Direct, account_id: UUID, after: int, limit: int) -> Sequence[Job]:
    """Returns an account's jobs whose state has changed after an event number, in the order of their last change."""
    parameters = {"account_id": account_id, "after": after, "most": limit}
    return [_load_job(row) for row in await direct.fetch(_CHANGED, parameters)]


async def list_open(session: AsyncSession, account_id: UUID) -> tuple[int, list[Job]]:
    """Returns the number of an account's newest event, and its jobs that haven't ended, in the order of their last change.

    Both are of one moment: a stream that begins with these jobs and goes on behind that number misses nothing.
    """
    is_open = and_(Job.account_id == AccountCounter.account_id, Job.state < JobState.COMPLETED)
    statement = (
        select(AccountCounter.last_sequence, Job)
        .outerjoin(Job, is_open)
        .where(AccountCounter.account_id == account_id)
        .order_by(Job.last_sequence)
    )
    rows = (await session.execute(statement)).all()
    return (rows[0][0] if rows else 0), [job for _, job in rows if job is not None]


async def list_waiting(session: AsyncSession, after: UUID, queued_before: datetime, limit: int) -> Sequence[UUID]:
    """Returns the ids of waiting jobs in their order, from behind one, of those that were queued before a time."""
    statement = (
        select(Job.job_id)
        .where(Job.state == JobState.QUEUED, Job.job_id > after, Job.queue_time < queued_before)
        .order_by(Job.job_id)
        .limit(limit)
    )
    return (await session.execute(statement)).scalars().all()


async def get_waiting(session: AsyncSession, job_ids: Sequence[UUID]) -> Sequence[Job]:
    """Returns those of the jobs that still wait, oldest first."""
    statement = select(Job).where(Job.state == JobState.QUEUED, Job.job_id.in_(job_ids)).order_by(Job.create_time)
    return (await session.execute(statement)).scalars().all()


async def list_running(session: AsyncSession) -> Sequence[Job]:
    """Returns all running jobs; there are no more of them than workers."""
    return (await session.execute(select(Job).where(Job.state == JobState.RUNNING))).scalars().all()


async def list_stuck(session: AsyncSession, finalizing_since: datetime, limit: int) -> Sequence[UUID]:
    """Returns jobs whose completion was interrupted before a time, those first that have waited longest."""
    is_stuck = and_(Job.state == JobState.FINALIZING, Job.finalize_time < finalizing_since)
    statement = select(Job.job_id).where(is_stuck).order_by(Job.finalize_time).limit(limit)
    return (await session.execute(statement)).scalars().all()


async def list_overdue(session: AsyncSession, now: datetime, limit: int) -> Sequence[UUID]:
    """Returns jobs that haven't ended by their deadline."""
    open_states = (JobState.QUEUED, JobState.RUNNING)
    statement = select(Job.job_id).where(Job.state.in_(open_states), Job.deadline_time < now)
    statement = statement.order_by(Job.deadline_time).limit(limit)
    return (await session.execute(statement)).scalars().all()


async def list_to_clean(session: AsyncSession, now: datetime, limit: int) -> Sequence[Attempt]:
    """Returns lost attempts whose objects are due to be deleted."""
    statement = select(Attempt).where(Attempt.clean_time < now).order_by(Attempt.clean_time).limit(limit)
    return (await session.execute(statement)).scalars().all()


async def set_clean_time(session: AsyncSession, attempt: Attempt, clean_time: datetime | None) -> None:
    """Sets when an attempt's objects are deleted next."""
    await session.execute(
        update(Attempt)
        .where(Attempt.job_id == attempt.job_id, Attempt.attempt == attempt.attempt)
        .values(clean_time=clean_time)
    )


async def open_work(session: AsyncSession, now: datetime) -> tuple[dict[int, float], dict[int, float]]:
    """Returns the GPU seconds of the waiting jobs, and those that are left of the running ones, each by tier."""
    elapsed = func.extract("epoch", now - Job.start_time)
    quoted = Job.quoted_millicredits / 1000.0
    waiting = func.sum(case((Job.state == JobState.QUEUED, quoted), else_=0.0))
    running = func.sum(case((Job.state == JobState.RUNNING, func.greatest(0.0, quoted - elapsed)), else_=0.0))
    statement = select(Job.tier, waiting, running).where(Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
    rows = (await session.execute(statement.group_by(Job.tier))).all()
    return {row[0]: float(row[1]) for row in rows}, {row[0]: float(row[2]) for row in rows}


async def oldest_waiting(session: AsyncSession) -> dict[int, datetime]:
    """Returns when the oldest waiting job of each tier was accepted."""
    statement = select(Job.tier, func.min(Job.create_time)).where(Job.state == JobState.QUEUED).group_by(Job.tier)
    return {row[0]: row[1] for row in (await session.execute(statement)).all()}


async def list_attempts(session: AsyncSession, job_id: UUID) -> Sequence[Attempt]:
    """Returns the attempts at a job, first to last."""
    return (
        (await session.execute(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.attempt)))
        .scalars()
        .all()
    )


async def accepted_work(session: AsyncSession, since: datetime) -> dict[int, float]:
    """Returns the GPU seconds of all jobs that were accepted since a moment, by tier."""
    # Ids begin with their time (UUIDv7), so that the primary key finds the newest jobs.
    first_id = UUID(int=int(since.timestamp() * 1000) << 80)
    statement = select(Job.tier, func.sum(Job.quoted_millicredits / 1000.0)).where(Job.job_id >= first_id)
    return {row[0]: float(row[1]) for row in (await session.execute(statement.group_by(Job.tier))).all()}


async def recent_waits(session: AsyncSession, limit: int) -> Sequence[tuple[int, timedelta]]:
    """Returns position at acceptance and wait of the jobs that were started last and no pause held up, oldest first."""
    statement = (
        select(Job.queue_position, (Job.start_time - Job.create_time).label("wait"), Job.start_time)
        .outerjoin(TierPause, TierPause.tier == Job.tier)
        .where(Job.attempt == 1, Job.start_time.is_not(None))
        # What a pause has drawn out says nothing of the waits to come.
        .where(
            or_(
                TierPause.tier.is_(None),
                Job.create_time >= TierPause.resume_time,
                Job.start_time < TierPause.pause_time,
            )
        )
        .order_by(Job.create_time.desc())
        .limit(limit)
    )
    rows = (await session.execute(statement)).all()
    return [(row.queue_position, row.wait) for row in sorted(rows, key=lambda row: row.start_time)]
