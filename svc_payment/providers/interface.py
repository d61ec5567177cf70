"""What payment asks of a provider, whichever it is.

A provider knows its own products; ours are named by our ids here, and each adapter translates them by a table from the
settings. What a provider can't do is a capability, which use cases read; no use case asks for a provider's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_payment.domain.billing import Event, PlanState


class ChangeTime(StrEnum):
    """When a subscription moves to another plan: now, with the difference charged now, or at its next renewal."""

    NOW = "now"
    AT_RENEWAL = "at_renewal"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between providers."""

    # Whether it keeps a move until the renewal by itself; else we make the move shortly before.
    moves_at_renewal: bool
    # Whether a report of a payment names the plan; else the subscription has to be fetched for it.
    payments_name_plan: bool
    # Whether what it lists carries our reference, so that a first purchase can be found whose reports were all lost.
    lists_references: bool
    # Whether it can pause a subscription.
    pauses: bool


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """What a page is to be opened for. `reference` comes back with everything that follows from it."""

    reference: str
    item_id: str
    return_url: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider tells: the event in our words, None for what doesn't concern us, and the reference if it has one."""

    name: str
    event: Event | None
    reference: str = ""


class ForeignReportError(Exception):
    """Means that a report is genuine, but of another store, or of the other of test and live mode."""


class Provider(Protocol):
    """One payment provider.

    Its calls raise ServiceError DEPENDENCY_UNAVAILABLE when it doesn't answer, and ProviderError when it refuses what
    should be possible.
    """

    name: str
    capabilities: Capabilities

    def sells(self, item_id: str) -> bool:
        """Returns whether the provider has a product for a plan or pack."""

    async def create_checkout(self, order: CheckoutOrder) -> str:
        """Opens a page to pay on and returns its address."""

    async def portal_url(self, subscription_id: str) -> str:
        """Returns the address of the customer's own pages."""

    async def change_plan(self, subscription_id: str, plan_id: str, when: ChangeTime) -> PlanState:
        """Moves a subscription to another plan and returns how it stands then."""

    async def cancel(self, subscription_id: str) -> PlanState:
        """Ends the renewal and returns how the subscription stands then."""

    async def resume(self, subscription_id: str) -> PlanState:
        """Takes a cancellation back and returns how the subscription stands then."""

    async def pause(self, subscription_id: str) -> PlanState:
        """Stops charging until `unpause` and returns how the subscription stands then; only where `pauses` says so."""

    async def unpause(self, subscription_id: str) -> PlanState:
        """Ends a pause and returns how the subscription stands then; only where `pauses` says so."""

    async def fetch(self, subscription_id: str) -> PlanState | None:
        """Returns how a subscription stands, or None for one that the provider doesn't know."""

    async def list_since(self, since: datetime) -> Sequence[Report]:
        """Returns what changed since a moment, in our words; subscriptions before their payments."""

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> str:
        """Returns the name of the report that a body is.

        Raises:
            ServiceError: WEBHOOK_SIGNATURE_INVALID, or REQUEST_MALFORMED for a signed body that is no report.
            ForeignReportError: it is none of this deployment's.
        """

    def read(self, body: bytes) -> Report:
        """Returns what a body reports that was verified before. Raises whatever for one that isn't understood."""

    async def close(self) -> None:
        """Closes the connections."""


class ProviderError(Exception):
    """Means that a provider refused what should be possible: our settings, or what we know of it, are wrong."""


def signature_invalid() -> ServiceError:
    """Returns the refusal of a report whose signature doesn't hold."""
    return ServiceError(
        Reason.WEBHOOK_SIGNATURE_INVALID,
        "The signature is missing, wrong, or too old. Compare the secret at the provider with the one configured here.",
    )


def not_a_report() -> ServiceError:
    """Returns the refusal of a signed body that can't be read."""
    return ServiceError(Reason.REQUEST_MALFORMED, "The body is signed, but isn't a report of this provider.")


def does_not_answer(name: str) -> ServiceError:
    """Returns the refusal of a call whose provider is away or busy."""
    return dependency_unavailable(
        name, "The payment provider doesn't answer. Nothing was lost: repeat the call in a moment."
    )
