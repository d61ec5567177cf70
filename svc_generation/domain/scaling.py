"""How many workers are needed, so that no tier waits longer than it is meant to.

The queue is strict by tier: a job starts when all work of its own tier and of those above that came before is done. So the
last waiting job of a tier starts in time if what the workers can do until then covers that work, and what will have
arrived. Work is counted in GPU seconds, not in jobs: ten pictures of two seconds need one worker where ten of a minute
need several. A worker that isn't there yet works from the end of its start-up on.
"""

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SAMPLES: Final = 20
_START_QUANTILE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Load:
    """What one tier asks of the workers."""

    waiting_gpu_seconds: float
    """Work of the jobs that wait."""
    running_gpu_seconds: float = 0.0
    """What is left of those that run."""
    arriving_gpu_seconds: float = 0.0
    """Work that arrives in a second, by the last minutes."""
    target_seconds: float = 60.0
    """How long the last of the waiting jobs may wait from now on."""


NO_LOAD: Final = Load(0.0)


def workers_needed(loads: Sequence[Load], *, present: int, start_seconds: float) -> int:
    """Returns how many workers are needed, those that are present counted.

    Args:
        loads: of each tier, highest first.
        present: workers that work already.
        start_seconds: how long another one takes to start working.

    """
    running = sum(load.running_gpu_seconds for load in loads)
    needed, work, arriving = 0, running, 0.0
    for load in loads:
        work += load.waiting_gpu_seconds
        arriving += load.arriving_gpu_seconds
        if load.waiting_gpu_seconds > 0:
            needed = max(needed, _for_tier(work, arriving, load.target_seconds, present, start_seconds))
    if running > 0 or arriving > 0:
        # Without this the queue would grow while it is short, and workers would come and go.
        needed = max(needed, math.ceil(arriving), 1 if running > 0 else 0)
    return needed


def _for_tier(work: float, arriving: float, target: float, present: int, start: float) -> int:
    # Where the target is shorter than a start, new workers can't meet it; they shall work it off in the same time from then.
    deadline = max(target, start + target / 2)
    open_work = work + arriving * deadline - present * deadline
    if open_work <= 0:
        # Fewer may do as well; each of the present works all the time.
        return max(1, min(present, math.ceil(work / deadline + arriving)))
    return present + math.ceil(open_work / (deadline - start))


@dataclass(slots=True)
class StartTimes:
    """Measures how long workers take from the moment in which they are asked for to their first work.

    It knows what is asked for and who is there, and assumes that those who come are those asked for first.
    """

    usual_seconds: float
    """What is assumed while nothing was measured."""
    _samples: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    _asked: deque[float] = field(default_factory=deque)
    _known: frozenset[str] = frozenset()

    def observe(self, now: float, wanted: int, present: Collection[str]) -> None:
        """Takes how many workers are wanted at a moment (in seconds), and which are there."""
        came = frozenset(present) - self._known
        self._known = frozenset(present)
        for _ in range(min(len(came), len(self._asked))):
            self._samples.append(now - self._asked.popleft())
        missing = max(0, wanted - len(self._known))
        while len(self._asked) > missing:
            self._asked.pop()
        self._asked.extend([now] * (missing - len(self._asked)))

    @property
    def start_seconds(self) -> float:
        """What four of five starts don't exceed."""
        if not self._samples:
            return self.usual_seconds
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, int(_START_QUANTILE * len(ordered)))]


@dataclass(slots=True)
class Demand:
    """What is asked for over time: rises at once, and falls when keeping a worker has cost as much as starting one would.

    That is the rule for renting skis: whoever gives a worker up after the time of a start never pays more than twice of
    what would have been best with the future known. Everything goes to zero after the idle time.
    """

    idle_seconds: float
    _needed: deque[tuple[float, int]] = field(default_factory=deque)
    _last_work: float = -math.inf

    def observe(self, now: float, needed: int, start_seconds: float, *, has_work: bool) -> int:
        """Takes how many are needed at a moment (in seconds) and returns how many shall be there."""
        if has_work:
            self._last_work = now
        while self._needed and self._needed[0][0] < now - start_seconds:
            self._needed.popleft()
        while self._needed and self._needed[-1][1] <= needed:
            self._needed.pop()
        self._needed.append((now, needed))
        if not self.is_active(now):
            return 0
        return max(1, self._needed[0][1])

    def is_active(self, now: float) -> bool:
        """Tells whether there shall be any worker at a moment."""
        return now - self._last_work < self.idle_seconds


def loads_of(
    targets: Mapping[int, float],
    waiting: Mapping[int, float],
    running: Mapping[int, float],
    arriving: Mapping[int, float],
) -> list[Load]:
    """Returns the loads of all tiers, highest first. Mappings go by the tier's number; a higher one is served first."""
    return [
        Load(waiting.get(tier, 0.0), running.get(tier, 0.0), arriving.get(tier, 0.0), targets[tier])
        for tier in sorted(targets, reverse=True)
    ]
