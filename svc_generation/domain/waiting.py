"""Estimates how long a job waits, from how long jobs have waited."""

from collections import deque
from dataclasses import dataclass, field

_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class WaitEstimate:
    """Holds the estimated seconds until a job starts."""

    p50_seconds: float
    p90_seconds: float
    is_tier_paused: bool = False
    """Whether the seconds count from the unknown moment in which the tier goes on."""


@dataclass(slots=True)
class WaitStatistics:
    """Collects how long started jobs waited for each place in the queue that they had.

    A job at position p starts when p + 1 places have been served, so one observation is `wait / (p + 1)` seconds a
    place. The estimate for a position is the quantile of the last 200 observations times `p + 1`. With nothing measured
    yet, a place is assumed to take what the job itself is expected to.
    """

    _seconds_a_place: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def observe(self, position: int, wait_seconds: float) -> None:
        """Records that a job which was accepted at a position has started after a wait."""
        self._seconds_a_place.append(max(0.0, wait_seconds) / (position + 1))

    def estimate(self, position: int, expected_run_seconds: float) -> WaitEstimate:
        """Estimates the wait at a position."""
        if not self._seconds_a_place:
            guess = position * expected_run_seconds
            return WaitEstimate(round(guess, 3), round(2 * guess, 3))
        ordered = sorted(self._seconds_a_place)
        p50, p90 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.9))
        return WaitEstimate(round(p50 * (position + 1), 3), round(p90 * (position + 1), 3))
