"""What it means that a step of closing a job is refused: when to repeat it, after which pause, and when to give the job up."""

import enum
from datetime import datetime, timedelta
from typing import Final

from svc_common.errors import Code, ServiceError

MAX_FAULTS: Final = 8
"""Tries that may meet a fault before the job fails: with the pauses between them, about eight minutes."""

_FIRST_PAUSE: Final = timedelta(seconds=4)
_LONGEST_PAUSE_WHILE_AWAY: Final = timedelta(seconds=20)
"""What was away is back some day, and then the jobs that wait for it should end within a minute."""
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_DOUBLINGS: Final = 10

_AWAY: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.CANCELLED}
)
_REFUSALS: Final = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
    }
)


class Obstacle(enum.Enum):
    """Names what keeps a job from being closed."""

    AWAY = enum.auto()
    """A part of the platform doesn't answer, and will."""
    FAULT = enum.auto()
    """Something failed that should not: a defect, or data that the code at hand can't deal with. It may pass."""
    REFUSED = enum.auto()
    """A part of the platform has understood and said no. It would say so again."""


def obstacle(error: Exception) -> Obstacle:
    """Classifies what a step of closing raised."""
    if not isinstance(error, ServiceError):
        return Obstacle.FAULT
    if error.code in _AWAY:
        return Obstacle.AWAY
    return Obstacle.REFUSED if error.code in _REFUSALS else Obstacle.FAULT


def is_given_up(found: Obstacle, tries: int, now: datetime, deadline: datetime) -> bool:
    """Tells whether a job is to fail, after so many tries that came to nothing, rather than be tried again."""
    if found is Obstacle.FAULT:
        return tries >= MAX_FAULTS or now >= deadline
    return found is Obstacle.REFUSED


def pause_after(found: Obstacle, tries: int) -> timedelta:
    """Returns how long to wait before the next try: twice as long each time, up to a limit."""
    longest = _LONGEST_PAUSE_WHILE_AWAY if found is Obstacle.AWAY else _LONGEST_PAUSE
    pause = _FIRST_PAUSE * (1 << min(tries - 1, _DOUBLINGS))
    return min(longest, pause)
