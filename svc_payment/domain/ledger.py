"""The words of the ledger and the rules that need nothing but their arguments. Amounts are millicredits, 1/1000 credit.

What becomes of the rows when credits move is left to the database's functions (store/migrations), which must decide
while they hold the account's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from svc_common.errors import invalid_field

# A job that waits or runs longer than this has failed by any tier's limits; it also keeps every expiry within a
# datetime's range.
LONGEST_HOLD: Final = timedelta(days=30)


class GrantKind(StrEnum):
    """Where granted credits come from."""

    PROMOTIONAL = "promotional"
    PLAN = "plan"
    PURCHASED = "purchased"


# Lower is spent first. What vanishes soonest goes first: promotions, then the plan's credits, which the next renewal
# replaces. The steps leave room for kinds in between.
SPENDING_PRIORITY: Final[Mapping[GrantKind, int]] = MappingProxyType(
    {GrantKind.PROMOTIONAL: 10, GrantKind.PLAN: 20, GrantKind.PURCHASED: 30}
)


class HoldState(StrEnum):
    """What becomes of a hold; HELD is the only state that is ever left."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"


class TransactionKind(StrEnum):
    """What a transaction did."""

    GRANT = "grant"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"
    REVOKE = "revoke"


class GrantOutcome(StrEnum):
    """How a request to grant credits ended."""

    GRANTED = "granted"
    REPLAYED = "replayed"
    CONFLICT = "conflict"


class ReserveOutcome(StrEnum):
    """How a request to reserve credits ended."""

    HELD = "held"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    INSUFFICIENT = "insufficient"


class CloseOutcome(StrEnum):
    """How a request to settle or release a hold ended."""

    CLOSED = "closed"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is granted; a repeat of `request_id` must have the same terms. Without `expire_time` it never lapses."""

    account_id: UUID
    request_id: str
    kind: GrantKind
    amount: int
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What is to be held: `requested`, or the whole balance if that is less but not below `minimum`.

    A repeat of `hold_id` must have the same terms. Raises INVALID_FIELD for terms that no balance could meet.
    """

    account_id: UUID
    hold_id: UUID
    requested: int
    minimum: int
    lifetime: timedelta

    def __post_init__(self) -> None:
        """Checks what the contract can't state."""
        if self.minimum > self.requested:
            raise invalid_field("minimum_millicredits", "must not be above amount_millicredits")
        if self.lifetime > LONGEST_HOLD:
            raise invalid_field("lifetime", f"must not be above {LONGEST_HOLD.days} days")


@dataclass(frozen=True, slots=True)
class Hold:
    """Credits set aside for one job, and how many of them were spent."""

    account_id: UUID
    hold_id: UUID
    state: HoldState
    amount: int
    settled: int
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """The answer to HoldTerms: a hold, or None and the balance that didn't suffice."""

    outcome: ReserveOutcome
    hold: Hold | None
    balance: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The answer to closing a hold: the hold as it is now, or None if there is no such hold."""

    outcome: CloseOutcome
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Breach:
    """One row that breaks an invariant of the ledger."""

    invariant: str
    reference: str
