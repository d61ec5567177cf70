"""What every job waits for: statements that are transactions of their own, in one round trip, over the tasks' database.

They are compiled once and go to the driver itself (docs/adr/0016); the changes of a job's state, which do the same, are in
`transitions`, and the insertion of accepted jobs in `acceptance`.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, and_, any_, bindparam, select, union_all

from svc_common.db import Database
from svc_common.statements import RowLoader, Statement
from svc_generation.store.models import AccountCounter, Attempt, Job

_load_job = RowLoader(Job).load
_load_attempt = RowLoader(Attempt).load
_JOB_WIDTH = len(Job.__table__.columns)
_is_the_job = Job.job_id == bindparam("job_id")
_JOB = Statement(select(Job).where(_is_the_job))
_JOB_WITH_ATTEMPT = Statement(
    select(Job, Attempt)
    .outerjoin(Attempt, and_(Attempt.job_id == Job.job_id, Attempt.attempt == bindparam("attempt")))
    .where(_is_the_job)
)
_ATTEMPT = Statement(
    select(Attempt).where(Attempt.job_id == bindparam("job_id"), Attempt.attempt == bindparam("attempt"))
)
_KNOWN = Statement(select(Job.job_id).where(Job.job_id == any_(bindparam("job_ids", type_=ARRAY(Uuid)))))
_LAST_SEQUENCES = Statement(
    union_all(
        select(AccountCounter.account_id.label("owner"), AccountCounter.last_sequence).where(
            AccountCounter.account_id == any_(bindparam("account_ids", type_=ARRAY(Uuid)))
        ),
        select(Job.job_id, Job.last_sequence).where(Job.job_id == any_(bindparam("job_ids", type_=ARRAY(Uuid)))),
    )
)


async def find_job(database: Database, job_id: UUID) -> Job | None:
    """Returns a job of any account, as the tasks' database sees it."""
    rows = await database.call(_JOB, {"job_id": job_id})
    return _load_job(rows[0]) if rows else None


async def known_jobs(database: Database, job_ids: Collection[UUID]) -> set[UUID]:
    """Returns those of the ids that are jobs of any account, as the tasks' database sees them."""
    return {row["job_id"] for row in await database.call(_KNOWN, {"job_ids": list(job_ids)})}


async def last_sequences(
    database: Database, account_ids: Collection[UUID], job_ids: Collection[UUID]
) -> dict[UUID, int]:
    """Returns the number of the newest event of each account and of each job, as the tasks' database sees them."""
    parameters = {"account_ids": list(account_ids), "job_ids": list(job_ids)}
    rows = await database.call(_LAST_SEQUENCES, parameters)
    return {row["owner"]: row["last_sequence"] for row in rows}


async def find_job_with_attempt(database: Database, job_id: UUID, attempt: int) -> tuple[Job, Attempt | None] | None:
    """Returns a job of any account and one of its attempts, if it has that one, as the tasks' database sees them."""
    rows = await database.call(_JOB_WITH_ATTEMPT, {"job_id": job_id, "attempt": attempt})
    if not rows:
        return None
    of_attempt = rows[0][_JOB_WIDTH:]
    return _load_job(rows[0][:_JOB_WIDTH]), None if of_attempt[0] is None else _load_attempt(of_attempt)


async def find_attempt(database: Database, job_id: UUID, attempt: int) -> Attempt | None:
    """Returns one attempt at a job of any account, as the tasks' database sees it."""
    rows = await database.call(_ATTEMPT, {"job_id": job_id, "attempt": attempt})
    return _load_attempt(rows[0]) if rows else None
