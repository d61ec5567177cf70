"""What an account's owner reads of the ledger: each movement with its parts, and in words, and what a month did.

Amounts are millicredits.

The words follow from the journal alone, so that they can't disagree with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Final, Self
from uuid import UUID

from svc_common.credits import format_credits
from svc_payment.domain.ledger import GrantKind, TransactionKind

_GRANTED: Final = {
    GrantKind.PROMOTIONAL: "Received {} credits for free",
    GrantKind.PLAN: "Received {} credits with the plan",
    GrantKind.PURCHASED: "Received {} bought credits",
}


@dataclass(frozen=True, slots=True)
class Movement:
    """One transaction: by how much it changed what is available and what is held, and what left the account for good."""

    transaction_id: UUID
    sequence: int
    kind: TransactionKind
    hold_id: UUID | None
    amount: int
    held: int
    spent: int
    lapsed: int
    revoked: int
    # Of a grant only.
    grant_kind: GrantKind | None
    create_time: datetime

    @property
    def description(self) -> str:
        """The movement as an English sentence."""
        match self.kind:
            case TransactionKind.GRANT:
                return _GRANTED[self.grant_kind or GrantKind.PROMOTIONAL].format(format_credits(self.amount))
            case TransactionKind.RESERVE:
                return f"Held {format_credits(self.held)} credits for a job"
            case TransactionKind.SETTLE | TransactionKind.RELEASE:
                return self._closing
            case TransactionKind.EXPIRE:
                return f"{format_credits(self.lapsed)} credits lapsed"
            case TransactionKind.REVOKE:
                return f"Took back {format_credits(self.revoked)} credits for a refund"

    @property
    def _closing(self) -> str:
        parts = [f"charged {format_credits(self.spent)}" if self.spent else "charged nothing"]
        if self.amount:
            parts.append(f"released {format_credits(self.amount)}")
        if self.lapsed:
            parts.append(f"{format_credits(self.lapsed)} had lapsed")
        return f"Of {format_credits(-self.held)} credits held for a job: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class MovementFilter:
    """Which movements are meant; None and an empty tuple mean all. `start_time` is included, `end_time` isn't."""

    kinds: tuple[TransactionKind, ...] = ()
    hold_id: UUID | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


EVERYTHING: Final = MovementFilter()


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC), from its start up to its end, which is the next one's start."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Returns the month of a moment."""
        start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return cls(start, (start + timedelta(days=31)).replace(day=1))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the month of a valid name, such as "2026-11"."""
        return cls.of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC))

    @property
    def before(self) -> "Month":
        """The month before this one."""
        return Month.of(self.start - timedelta(days=1))

    @property
    def name(self) -> str:
        """The month's name, such as "2026-11"."""
        return f"{self.start:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened in some time, by its kind; the first three are what was given."""

    promotional: int = 0
    plan: int = 0
    purchased: int = 0
    charged: int = 0
    lapsed: int = 0
    revoked: int = 0
    charged_jobs: int = 0

    @property
    def change(self) -> int:
        """By how much the balance grew."""
        return self.promotional + self.plan + self.purchased - self.charged - self.lapsed - self.revoked

    @classmethod
    def sum_of(cls, parts: Iterable["Totals"]) -> "Totals":
        """Returns what happened altogether."""
        columns = zip(*(tuple(getattr(part, each.name) for each in fields(cls)) for part in parts), strict=True)
        return cls(*map(sum, columns))


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month did to an account's credits; `opening` is what it had at the start, credits held for jobs among it."""

    month: Month
    opening: int
    days: tuple[tuple[date, Totals], ...]

    @property
    def totals(self) -> Totals:
        """What happened in the month altogether."""
        return Totals.sum_of(totals for _, totals in self.days)

    @property
    def closing(self) -> int:
        """What the account had at the end."""
        return self.opening + self.totals.change
