"""Gives back what is held for jobs that don't exist: submissions that were cut off between the hold and the acceptance.

When PostgreSQL or svc_payment goes away in that moment, nobody knows whether the hold was made, or the job committed. Such
submissions are noted and looked at as soon as it can be known. A process that dies takes its notes with it, so that a sweep
looks through all holds for those that no job has. A hold would lapse by itself too, but only a day later.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.paging import LARGEST_PAGE_SIZE
from svc_generation.store import hot

_ACCEPTANCE_LIMIT: Final = timedelta(minutes=2)
"""A hold that is younger may be that of a submission which is being accepted: its calls and statements have limits that come
to less than a minute."""

_log = structlog.get_logger(__name__)


class UncertainHolds:
    """Remembers such submissions of this process until it is known what became of them, and finds those of others."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        now: Callable[[], datetime],
    ) -> None:
        """Takes the tasks' database and the ledger."""
        self._database = database
        self._ledger = ledger
        self._now = now
        self._noted: dict[UUID, UUID] = {}

    def note(self, job_id: UUID, account_id: UUID) -> None:
        """Remembers a submission."""
        self._noted[job_id] = account_id

    async def settle(self) -> None:
        """Releases the holds of noted jobs that don't exist.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE; what is left is tried again.
            CallError: svc_payment failed; the same.
        """
        noted = dict(self._noted)
        await self._release_without_job(noted)
        for job_id in noted:
            del self._noted[job_id]

    async def release_forgotten(self) -> int:
        """Releases the holds that no job has, but for those whose job may be on its way; returns how many."""
        request = ledger_service_pb2.ListOpenHoldsRequest(page_size=LARGEST_PAGE_SIZE)
        request.held_before.FromDatetime(self._now() - _ACCEPTANCE_LIMIT)
        count = 0
        while True:
            page = await self._ledger.ListOpenHolds(request)
            holds = {UUID(hold.hold_id): UUID(hold.account_id) for hold in page.holds}
            count += await self._release_without_job(holds)
            if not page.next_page_token:
                return count
            request.page_token = page.next_page_token

    async def _release_without_job(self, holds: Mapping[UUID, UUID]) -> int:
        """Releases those of the holds (id: account) that aren't those of jobs; returns how many there were."""
        known = await hot.known_jobs(self._database, holds.keys()) if holds else set()
        released = [await self._release(job_id, holds[job_id]) for job_id in holds.keys() - known]
        return sum(released)

    async def _release(self, job_id: UUID, account_id: UUID) -> bool:
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job_id), account_id=str(account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            if error.reason is not Reason.HOLD_NOT_FOUND:
                raise
            return False
        _log.info("hold.released_without_job", job_id=str(job_id))
        return True
