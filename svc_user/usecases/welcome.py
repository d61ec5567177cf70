"""Grants the credits that the free tier gives once a person, when their address is confirmed.

That they are due is entered in the transaction that confirms the address. Granting them comes after it: at once, and by a
sweep when svc_payment was away. The ledger grants once, however often it is asked.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1 import ledger_service_pb2_grpc
from pingvas.payment.v1.credit_service_pb2 import GRANT_KIND_PROMOTIONAL
from pingvas.payment.v1.ledger_service_pb2 import GrantCreditsRequest
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.clients import CallError
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_user import domain
from svc_user.store import welcomes

_log: Final = structlog.get_logger()

_A_ROUND: Final = 100
# A person who confirms their address waits for the answer.
_CALL_SECONDS: Final = 2.0


class WelcomeCredits:
    """The credits that a person gets once."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        millicredits: int,
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the tasks role; with 0 millicredits nobody gets any."""
        self._tasks_database = tasks_database
        self._ledger = ledger
        self._millicredits = millicredits
        self._clock = clock

    async def enter(self, transaction: AsyncSession, email: str, account_id: UUID) -> bool:
        """Enters that the owner of an address earned the credits; tells whether they are due, not given before."""
        if not self._millicredits:
            return False
        return await welcomes.enter_welcome(transaction, domain.person_hash(email), account_id, self._clock())

    async def grant_at_once(self, email: str, account_id: UUID) -> None:
        """Grants credits that were just entered; when that fails, the sweep does it."""
        try:
            await self._grant(domain.person_hash(email), account_id)
        except (ServiceError, CallError) as error:
            _log.warning("welcome.postponed", account_id=str(account_id), error=str(error))

    async def grant_due(self) -> int:
        """Grants what is due and tells how many."""
        async with self._tasks_database.transaction() as transaction:
            due = [(row.person_hash, row.account_id) for row in await welcomes.list_due(transaction, _A_ROUND)]
        for person_hash, account_id in due:
            await self._grant(person_hash, account_id)
        return len(due)

    async def _grant(self, person_hash: bytes, account_id: UUID) -> None:
        request = GrantCreditsRequest(
            request_id="welcome",
            account_id=str(account_id),
            kind=GRANT_KIND_PROMOTIONAL,
            amount_millicredits=self._millicredits,
        )
        try:
            await self._ledger.GrantCredits(request, timeout=_CALL_SECONDS)
        except ServiceError as error:
            # It was granted before, when the setting named another amount.
            if error.reason is not Reason.GRANT_CONFLICT:
                raise
        async with self._tasks_database.transaction() as transaction:
            await welcomes.mark_granted(transaction, person_hash, self._clock())
        _log.info("welcome.granted", account_id=str(account_id))
