"""Erases the jobs of an account that is deleted."""

from typing import Final
from uuid import UUID

from svc_common.db import Database
from svc_generation.domain.states import CANCELLABLE
from svc_generation.store import erasure, queries
from svc_generation.usecases.cancelling import MOST_CLEARED, Canceller, cancel_each

_JOBS_A_PART: Final = 500


class JobEraser:
    """Stops what runs, then deletes the rows a part at a time."""

    def __init__(self, *, database: Database, canceller: Canceller) -> None:
        """Takes the database under the tasks role."""
        self._database = database
        self._canceller = canceller

    async def erase_part(self, account_id: UUID) -> bool:
        """Erases a part and tells whether something is left: jobs that are still being stopped are, too."""
        async with self._database.transaction() as session:
            job_ids, _ = await queries.list_cancellable(session, account_id, CANCELLABLE, MOST_CLEARED)
        await cancel_each(job_ids, self._canceller.cancel)
        async with self._database.transaction() as session:
            deleted = await erasure.delete_ended_jobs(session, account_id, _JOBS_A_PART)
            if deleted == _JOBS_A_PART or await erasure.has_jobs(session, account_id):
                return True
            await erasure.delete_counts(session, account_id)
        return False
