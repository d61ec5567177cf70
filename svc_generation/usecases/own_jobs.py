"""Reads the caller's own jobs."""

from uuid import UUID

from svc_common.db import Database
from svc_generation.messages.refusals import no_such_job
from svc_generation.store import queries
from svc_generation.store.models import Job


async def own_job(database: Database, account_id: UUID, job_id: UUID) -> Job:
    """Returns a job of an account.

    Raises:
        ServiceError: JOB_NOT_FOUND; the same for a job of another account.
    """
    async with database.direct(account_id) as direct:
        row = await queries.get_job(direct, job_id, account_id)
    if row is None:
        raise no_such_job(job_id)
    return row
