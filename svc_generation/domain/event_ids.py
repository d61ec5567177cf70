"""The numbering of events, by which a cut stream is taken up again.

Every change of a job's state takes the next number of its account's sequence, in the transaction that makes it, so the
numbers are gapless in the order of the commits and survive the loss of Redis. Progress in between is numbered below the
change it follows: "17" is a change of state, "17-3" the third step after it. Ids compare as pairs of integers.
"""

import re
from typing import NamedTuple, Self

from svc_common.errors import Reason, ServiceError

_PATTERN = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


class EventId(NamedTuple):
    """Identifies an event; compares in the order of the stream."""

    sequence: int
    step: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an id; the empty one comes before every event.

        Raises:
            ServiceError: EVENT_ID_INVALID.
        """
        if not text:
            return cls(0)
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ServiceError(
                Reason.EVENT_ID_INVALID,
                f"{text!r} isn't an event id of this stream. Leave `after` out to begin with the present state.",
            )
        return cls(int(match[1]), int(match[2] or 0))

    def __str__(self) -> str:
        """Writes the id as clients see it."""
        return f"{self.sequence}-{self.step}" if self.step else str(self.sequence)
