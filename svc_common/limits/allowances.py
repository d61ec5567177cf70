"""What each account's tier allows it: how often it may call, and how many bytes the gallery keeps for it.

A limit must not depend on svc_payment being up: while it is away, what was known before goes on, and an account that this
process has never seen gets the figures of a middle tier.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pingvas.payment.v1 import entitlement_pb2

from svc_common.entitlements import Entitlements
from svc_common.limits.buckets import Rate


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often an account may call, and how many bytes the gallery keeps for it."""

    calls: Rate
    storage_bytes: int


UNKNOWN: Final = Allowance(Rate(50, 250), 100 * 2**30)
"""What is assumed of an account that nobody can be asked about: looser than the free tier's, as somebody may have paid."""


class Allowances:
    """Reads allowances out of entitlements."""

    def __init__(self, entitlements: Entitlements) -> None:
        """Takes the entitlements of the process."""
        self._entitlements = entitlements

    async def of(self, account_id: UUID) -> Allowance:
        """Returns what an account is allowed; never raises, and waits half a second at most."""
        entitlement = await self._entitlements.last_known(account_id)
        return UNKNOWN if entitlement is None else _allowance(entitlement.limits)

    async def exactly(self, account_id: UUID) -> Allowance:
        """Returns what an account is allowed, for what must not be guessed.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE when it isn't known and svc_payment is away.
        """
        return _allowance((await self._entitlements.of(account_id)).limits)


def _allowance(limits: entitlement_pb2.TierLimits) -> Allowance:
    return Allowance(Rate(limits.requests_per_second, limits.request_burst), limits.storage_bytes)
