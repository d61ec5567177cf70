"""Owns what each caller's account reaches, as payment tells it, remembered for a moment."""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from svc_models.domain.access import Reach
from svc_models.servicer.messages import reach_of

# Shorter than it takes to pay and come back, long enough for the calls that one page makes.
_LIFETIME: Final = timedelta(seconds=2)
_ACCOUNTS_KEPT: Final = 10_000


class ReachLookup:
    """Looks up reaches through LedgerService.GetEntitlement."""

    def __init__(
        self,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the stub of svc_payment and a clock that never goes back."""
        self._ledger = ledger
        self._monotonic_seconds = monotonic_seconds
        self._known: OrderedDict[UUID, tuple[float, Reach]] = OrderedDict()

    async def of(self, account_id: UUID) -> Reach:
        """Returns what an account reaches, at most 2 s old; raises DEPENDENCY_UNAVAILABLE when payment is away."""
        expiry, reach = self._known.get(account_id, (0.0, None))
        if reach is None or self._monotonic_seconds() >= expiry:
            reach = await self._ask(account_id)
        return reach

    async def _ask(self, account_id: UUID) -> Reach:
        request = ledger_service_pb2.GetEntitlementRequest(account_id=str(account_id))
        # The life begins before the question: what comes back may be as old as that.
        expiry = self._monotonic_seconds() + _LIFETIME.total_seconds()
        reach = reach_of(await self._ledger.GetEntitlement(request))
        self._known[account_id] = expiry, reach
        self._known.move_to_end(account_id)
        if len(self._known) > _ACCOUNTS_KEPT:
            self._known.popitem(last=False)
        return reach
