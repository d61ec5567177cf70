"""Time and identifiers of the real world, which main.py injects where they are needed."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def now() -> datetime:
    """Returns the present moment, aware and in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Returns a new UUIDv7: later ids sort after earlier ones, so that inserts into an index stay at its right edge."""
    return uuid7()
