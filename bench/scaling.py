"""Compares two ways to scale workers on a simulated day: by expected wait, and by the length of the lists.

`python -m bench.scaling` writes docs/scaling.json and docs/scaling.svg. The rule by expected wait is the service's own code
(svc_generation.domain.scaling). The other is what KEDA's Redis scaler does: so many jobs for each worker and tier, the
largest of the tiers' numbers wins. Both are run at several settings, so that their waits can be compared at equal GPU
hours, and their GPU hours at equal waits.

The day: arrivals by a Poisson process whose rate follows the time of day, or the same with bursts; jobs of 2 to 60 GPU seconds;
starts of 60 to 240 s; spot instances that live four hours on average and give their job back.
"""

import heapq
import itertools
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from svc_generation.domain.scaling import Demand, Load, StartTimes, workers_needed

DAY: Final = 86_400.0
TIERS: Final = 5
"""Highest first: enterprise, studio, pro, starter, free."""
SHARES: Final = (0.02, 0.08, 0.2, 0.3, 0.4)
TARGETS: Final = (15.0, 30.0, 60.0, 120.0, 300.0)
JOBS_PER_WORKER: Final = (1, 2, 3, 5, 10)
"""How many waiting jobs of each tier the lists' scaler allows for a worker."""
WORK_SECONDS: Final = (2.0, 4.0, 8.0, 20.0, 60.0)
WORK_SHARES: Final = (0.35, 0.3, 0.2, 0.1, 0.05)
START_SECONDS: Final = (60.0, 240.0)
SPOT_LIFE_SECONDS: Final = 4 * 3600.0
LOOK_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 300.0
MOST_WORKERS: Final = 60
_WINDOW_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job: when it comes, its tier, and the GPU seconds that it takes."""

    time: float
    tier: int
    work: float


@dataclass(frozen=True, slots=True)
class State:
    """What a scaler sees."""

    now: float
    waiting: Sequence[Sequence[Arrival]]
    """By tier."""
    running: Sequence[int]
    """Jobs that run, by tier."""
    running_seconds: float
    """Left of the running jobs."""
    arriving: Sequence[float]
    """GPU seconds that arrived in a second, by tier, over the last minutes."""
    present: Sequence[str]


Scaler = Callable[[State], int]


def arrivals(kind: str, seed: int, jobs_a_day: int = 20_000) -> list[Arrival]:
    """Returns the jobs of a day, `poisson` or `bursty`, in the order of their times."""
    generator = random.Random(seed)
    times = list(_times(generator, jobs_a_day / DAY))
    if kind == "bursty":
        # Thirty times a day somebody sends a hundred jobs within a minute.
        for _ in range(30):
            start = generator.uniform(0, DAY - 60)
            times += [start + generator.uniform(0, 60) for _ in range(100)]
    return [
        Arrival(
            time,
            generator.choices(range(TIERS), SHARES)[0],
            generator.choices(WORK_SECONDS, WORK_SHARES)[0] * generator.uniform(0.7, 1.3),
        )
        for time in sorted(times)
    ]


def _times(generator: random.Random, mean_rate: float) -> Iterator[float]:
    """Yields arrivals by thinning: from a tenth of the mean at night to twice of it in the evening."""
    time, peak = 0.0, 2 * mean_rate
    while (time := time + generator.expovariate(peak)) < DAY:
        if generator.random() < _rate(time, mean_rate) / peak:
            yield time


def _rate(time: float, mean_rate: float) -> float:
    return mean_rate * (1.05 - 0.95 * math.cos(2 * math.pi * (time / DAY - 0.2)))


def by_expected_wait(factor: float) -> Scaler:
    """Returns the service's rule with targets that are so many times the usual ones."""
    starts, demand = StartTimes(120.0), Demand(IDLE_SECONDS)
    targets = [factor * target for target in TARGETS]
    wanted = 0

    def scale(state: State) -> int:
        nonlocal wanted
        starts.observe(state.now, wanted, state.present)
        loads = [
            Load(sum(job.work for job in jobs), 0.0, arriving, target)
            for jobs, arriving, target in zip(state.waiting, state.arriving, targets, strict=True)
        ]
        loads.append(Load(0.0, state.running_seconds))
        present = len(state.present)
        needed = workers_needed(loads, present=present, start_seconds=starts.start_seconds)
        has_work = state.running_seconds > 0 or any(state.waiting)
        wanted = demand.observe(state.now, needed, starts.start_seconds, has_work=has_work)
        return wanted

    return scale


def by_list_length(factor: float) -> Scaler:
    """Returns KEDA's rule: the tier with the most jobs a worker wins; it goes down after five minutes, as the HPA does."""
    recent: deque[tuple[float, int]] = deque()

    def scale(state: State) -> int:
        # arq's sorted sets keep a job until it has ended, so that the lists count running jobs as well.
        lengths = (len(jobs) + running for jobs, running in zip(state.waiting, state.running, strict=True))
        wanted = max(math.ceil(length / (factor * per)) for length, per in zip(lengths, JOBS_PER_WORKER, strict=True))
        recent.append((state.now, wanted))
        while recent[0][0] < state.now - IDLE_SECONDS:
            recent.popleft()
        return max(count for _, count in recent)

    return scale


@dataclass(slots=True)
class Result:
    """What a day was like."""

    gpu_hours: float
    waits: list[tuple[int, float]] = field(default_factory=list)
    """Tier and seconds of each job."""

    def quantile(self, q: float) -> float:
        """Returns a quantile of all waits, in seconds."""
        ordered = sorted(wait for _, wait in self.waits)
        return ordered[int(q * (len(ordered) - 1))]

    def late(self) -> float:
        """Returns which part of the jobs waited longer than their tier's target."""
        return sum(wait > TARGETS[tier] for tier, wait in self.waits) / len(self.waits)


class Day:
    """Plays a day. Events are (time, number, kind, subject); the number keeps equal times in order."""

    def __init__(self, jobs: Sequence[Arrival], scaler: Scaler, seed: int) -> None:
        self._random = random.Random(seed)
        self._scaler = scaler
        self._events: list[tuple[float, int, str, object]] = []
        self._count = 0
        self._waiting: list[deque[Arrival]] = [deque() for _ in range(TIERS)]
        self._recent: deque[Arrival] = deque()
        self._running: dict[str, tuple[Arrival, float]] = {}
        self._free: set[str] = set()
        self._starting: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._result = Result(0.0)
        for job in jobs:
            self._at(job.time, "arrives", job)
        self._at(0.0, "looks", None)

    def play(self) -> Result:
        """Returns what the day was like, its end included: until every job is done."""
        while self._events:
            time, _, kind, subject = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(time, subject)
        return self._result

    def _at(self, time: float, kind: str, subject: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, kind, subject))

    def _arrives(self, now: float, job: Arrival) -> None:
        self._waiting[job.tier].append(job)
        self._recent.append(job)
        self._serve(now)

    def _serve(self, now: float) -> None:
        while self._free:
            queue = next((jobs for jobs in self._waiting if jobs), None)
            if queue is None:
                return
            job, worker = queue.popleft(), self._free.pop()
            self._result.waits.append((job.tier, now - job.time))
            self._running[worker] = (job, now + job.work)
            self._at(now + job.work, "ends", (worker, job))

    def _ends(self, now: float, subject: tuple[str, Arrival]) -> None:
        worker, job = subject
        if self._running.get(worker, (None, 0.0))[0] is not job:
            return
        del self._running[worker]
        if worker in self._leaving:
            self._gone(worker, now)
        else:
            self._free.add(worker)
            self._serve(now)

    def _starts(self, now: float, worker: str) -> None:
        if self._starting.pop(worker, None) is None:
            return
        self._free.add(worker)
        self._at(now + self._random.expovariate(1 / SPOT_LIFE_SECONDS), "is_lost", worker)
        self._serve(now)

    def _is_lost(self, now: float, worker: str) -> None:
        if worker not in self._since:
            return
        if worker in self._running:
            job, _ = self._running.pop(worker)
            # Its wait began anew; what it had waited before is counted once.
            self._waiting[job.tier].appendleft(Arrival(now, job.tier, job.work))
        self._gone(worker, now)
        self._serve(now)

    def _gone(self, worker: str, now: float) -> None:
        # A node is paid for from its order on.
        self._result.gpu_hours += (now - self._since.pop(worker)) / 3600
        self._free.discard(worker)
        self._leaving.discard(worker)

    def _looks(self, now: float, _: object) -> None:
        while self._recent and self._recent[0].time < now - _WINDOW_SECONDS:
            self._recent.popleft()
        arriving = [0.0] * TIERS
        for job in self._recent:
            arriving[job.tier] += job.work / _WINDOW_SECONDS
        present = [worker for worker in (*self._free, *self._running) if worker not in self._leaving]
        left = sum(end - now for _, end in self._running.values())
        running = [0] * TIERS
        for job, _ in self._running.values():
            running[job.tier] += 1
        state = State(now, self._waiting, running, left, arriving, present)
        wanted = min(MOST_WORKERS, self._scaler(state))
        self._scale(now, wanted, len(present))
        if now < DAY or any(self._waiting) or self._running or self._since:
            self._at(now + LOOK_SECONDS, "looks", None)

    def _scale(self, now: float, wanted: int, present: int) -> None:
        surplus = present + len(self._starting) - wanted
        for _ in range(-surplus):
            worker = f"worker-{self._count}"
            self._since[worker] = self._starting[worker] = now
            self._at(now + self._random.uniform(*START_SECONDS), "starts", worker)
        # Those go first that haven't started, then any, as a Deployment does it.
        for worker in [*self._starting, *self._free, *self._running][: max(0, surplus)]:
            if self._starting.pop(worker, None) is None and worker in self._running:
                self._leaving.add(worker)
            else:
                self._gone(worker, now)


def play(kind: str, scaler: Scaler, seed: int) -> Result:
    """Plays a day of a kind."""
    return Day(arrivals(kind, seed), scaler, seed).play()


@dataclass(frozen=True, slots=True)
class Point:
    """A scaler at one setting, over all days of a kind."""

    factor: float
    gpu_hours: float
    p50_seconds: float
    p90_seconds: float
    late: float

    @classmethod
    def of(cls, factor: float, results: Sequence[Result]) -> Self:
        """Returns the means over days."""
        count = len(results)
        return cls(
            factor,
            round(sum(result.gpu_hours for result in results) / count, 1),
            round(sum(result.quantile(0.5) for result in results) / count, 1),
            round(sum(result.quantile(0.9) for result in results) / count, 1),
            round(sum(result.late() for result in results) / count, 4),
        )


def compare(kind: str, seeds: Sequence[int]) -> dict[str, list[Point]]:
    """Returns both curves for days of a kind."""
    scalers = (
        ("expected wait", by_expected_wait, (0.5, 1.0, 2.0, 3.0)),
        ("list length", by_list_length, (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)),
    )
    return {
        name: [Point.of(factor, [play(kind, make(factor), seed) for seed in seeds]) for factor in factors]
        for name, make, factors in scalers
    }


def gain(curves: dict[str, list[Point]]) -> dict[str, float]:
    """Returns what the usual targets save: p90 at equal GPU hours, and GPU hours at equal p90, as fractions."""
    ours = next(point for point in curves["expected wait"] if point.factor == 1.0)
    others = curves["list length"]
    p90 = at_equal([(point.gpu_hours, point.p90_seconds) for point in others], ours.gpu_hours)
    hours = at_equal([(point.p90_seconds, point.gpu_hours) for point in others], ours.p90_seconds)
    return {
        "gpu_hours": ours.gpu_hours,
        "p90_seconds": ours.p90_seconds,
        "p90_of_lists_at_equal_gpu_hours": round(p90, 1),
        "less_p90": round(1 - ours.p90_seconds / p90, 3),
        "gpu_hours_of_lists_at_equal_p90": round(hours, 1),
        "less_gpu_hours": round(1 - ours.gpu_hours / hours, 3),
    }


def at_equal(points: Sequence[tuple[float, float]], x: float) -> float:
    """Returns y at x by linear interpolation between points of a falling curve; its ends are continued level."""
    ordered = sorted(points)
    for (x0, y0), (x1, y1) in itertools.pairwise(ordered):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y0
    return ordered[0][1] if x < ordered[0][0] else ordered[-1][1]


_WIDTH, _HEIGHT, _MARGIN = 420, 300, 46
_COLOURS: Final = {"expected wait": "#3b5bdb", "list length": "#c2410c"}


def plot(days: dict[str, dict[str, list[Point]]]) -> str:
    """Returns an SVG picture: p90 over GPU hours, a panel for each kind of day."""
    panels = [_panel(kind, curves, number * _WIDTH) for number, (kind, curves) in enumerate(days.items())]
    size = f'width="{_WIDTH * len(days)}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH * len(days)} {_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="11" fill="#555"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(panels) + "\n</svg>\n"


def _panel(kind: str, curves: dict[str, list[Point]], left: float) -> str:
    points = [point for curve in curves.values() for point in curve]
    most_hours = 1.05 * max(point.gpu_hours for point in points)
    lowest, highest = (math.log10(bound) for bound in (10.0, 3000.0))

    def place(point: Point) -> tuple[float, float]:
        x = left + _MARGIN + (_WIDTH - 2 * _MARGIN) * point.gpu_hours / most_hours
        height = (math.log10(max(10.0, point.p90_seconds)) - lowest) / (highest - lowest)
        return round(x, 1), round(_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * height, 1)

    bottom, right = _HEIGHT - _MARGIN, left + _WIDTH - _MARGIN
    lines = [f'<path d="M{left + _MARGIN},{_MARGIN} V{bottom} H{right}" fill="none" stroke="#999"/>']
    lines.append(
        f'<text x="{left + _MARGIN}" y="24" font-size="13">{kind}: p90 of the wait over GPU hours a day</text>'
    )
    for seconds in (10, 30, 100, 300, 1000, 3000):
        _, y = place(Point(0, 0, 0, seconds, 0))
        lines.append(f'<text x="{left + 8}" y="{y + 4}">{seconds} s</text>')
    for hours in range(0, int(most_hours) + 1, 25):
        x, _ = place(Point(0, hours, 0, 10, 0))
        lines.append(f'<text x="{x - 6}" y="{bottom + 16}">{hours}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour, placed = _COLOURS[name], [place(point) for point in sorted(curve, key=lambda point: point.gpu_hours)]
        path = " ".join(f"{x},{y}" for x, y in placed)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in placed]
        lines.append(f'<text x="{right - 100}" y="{_MARGIN + 16 * number + 10}" fill="{colour}">{name}</text>')
    return "\n".join(lines)


def main() -> None:
    """Plays the days and writes the numbers and the picture."""
    seeds = (1, 2, 3)
    days = {kind: compare(kind, seeds) for kind in ("poisson", "bursty")}
    numbers = {
        kind: {**{name: [asdict(point) for point in curve] for name, curve in curves.items()}, "gain": gain(curves)}
        for kind, curves in days.items()
    }
    docs = Path(__file__).resolve().parents[1] / "docs"
    (docs / "scaling.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    (docs / "scaling.svg").write_text(plot(days), encoding="utf-8")
    print(json.dumps({kind: numbers[kind]["gain"] for kind in numbers}, indent=2))


if __name__ == "__main__":
    main()
