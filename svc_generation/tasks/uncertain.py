"""Settles what became of submissions that were cut off between the hold and the acceptance.

When PostgreSQL or svc_payment goes away in that moment, nobody knows whether the hold was made, or the job committed. The
hold would lapse by itself, but only after a day; this looks as soon as it can.
"""

import asyncio
import contextlib
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_common.clients import CallError
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_generation.store import queries

_PAUSE_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class UncertainHolds:
    """Remembers such submissions of this process until it is known what became of them."""

    def __init__(self, *, database: Database, ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub") -> None:
        """Takes the tasks' database and the ledger."""
        self._database = database
        self._ledger = ledger
        self._noted: dict[UUID, UUID] = {}

    def note(self, job_id: UUID, account_id: UUID) -> None:
        """Remembers a submission."""
        self._noted[job_id] = account_id

    async def run(self, stop: asyncio.Event) -> None:
        """Settles what was noted, every two seconds until the process stops. No other replica could do it."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)
            try:
                await self.settle()
            except (ServiceError, CallError) as error:
                _log.warning("hold.settling_postponed", noted=len(self._noted), error=str(error))

    async def settle(self) -> int:
        """Releases the holds of noted jobs that don't exist; returns how many are known about now.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE; what is left is tried again.
            CallError: svc_payment failed; the same.
        """
        count = 0
        for job_id, account_id in list(self._noted.items()):
            if await queries.find_job(self._database, job_id) is None:
                await self._release(job_id, account_id)
            del self._noted[job_id]
            count += 1
        return count

    async def _release(self, job_id: UUID, account_id: UUID) -> None:
        request = ledger_service_pb2.ReleaseCreditsRequest(hold_id=str(job_id), account_id=str(account_id))
        try:
            await self._ledger.ReleaseCredits(request)
        except ServiceError as error:
            if error.reason is not Reason.HOLD_NOT_FOUND:
                raise
        else:
            _log.info("hold.released_without_job", job_id=str(job_id))
