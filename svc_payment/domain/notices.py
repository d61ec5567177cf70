"""What accounts are notified of, by which ways, and when a notice that couldn't be delivered is tried again."""

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from svc_common.credits import parse
from svc_common.errors import invalid_field

KEPT_FOR: Final = timedelta(days=400)
"""How long a delivered notice is kept: longer than anything that could be noted a second time."""
MONTH_SETTLES_WITHIN: Final = timedelta(hours=1)
"""How long after its end a month may still get movements, from transactions that were open then."""

_FIRST_DELAY: Final = timedelta(seconds=10)
_LONGEST_DELAY: Final = timedelta(minutes=15)


class Channel(enum.StrEnum):
    """The way of a notice."""

    MAIL = "mail"
    """A mail of svc_user's to the owner."""
    EVENT = "event"
    """A webhook event of svc_generation's."""
    SALES = "sales"
    """A mail of svc_user's to our sales team."""
    AUDIT = "audit"
    """An event in svc_user's audit log."""


class NoticeKind(enum.StrEnum):
    """What a notice is about."""

    LOW_BALANCE = "low_balance"
    """The balance fell below the threshold; noted by a trigger."""
    STATEMENT = "statement"
    """What a month did; computed when it is sent."""
    ENTERPRISE_LEAD = "enterprise_lead"
    """Somebody asked for the enterprise plan."""
    ENTERPRISE_ACTIVATED = "enterprise_activated"
    """An administrator activated a contract."""


@dataclass(frozen=True, slots=True)
class NoticeChoice:
    """What an account is notified of: below which balance (millicredits, None for never), and of its months."""

    low_balance: int | None = None
    mails_statements: bool = True


def parse_threshold(text: str) -> int | None:
    """Returns a threshold in millicredits, None for an empty text. Raises INVALID_FIELD."""
    if not text:
        return None
    amount = parse(text, "low_balance")
    if amount <= 0:
        raise invalid_field("low_balance", "must be above zero; leave it out for no warning")
    return amount


def retry_delay(attempts: int) -> timedelta:
    """Returns how long after the n-th failure (from 1) a notice is tried again: 10 s, doubled up to 15 min."""
    return min(_FIRST_DELAY * (1 << min(attempts - 1, 10)), _LONGEST_DELAY)
