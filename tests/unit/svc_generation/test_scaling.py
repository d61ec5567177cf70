"""How many workers are needed: properties of the rule, what it measures, and how it does on a simulated day."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scaling import Arrival, Day, arrivals, by_expected_wait, by_list_length, play
from svc_generation.domain.scaling import Demand, Load, StartTimes, loads_of, workers_needed

seconds = st.floats(0, 100_000, allow_nan=False)
loads = st.lists(
    st.builds(Load, seconds, st.floats(0, 600), st.floats(0, 50), st.floats(1, 600)), min_size=1, max_size=5
)
starts = st.floats(1, 600)
workers = st.integers(0, 100)


def test_nothing_to_do_needs_nobody() -> None:
    assert workers_needed([Load(0.0)], present=3, start_seconds=120) == 0


def test_work_that_one_worker_does_in_time_needs_one() -> None:
    assert workers_needed([Load(60.0, target_seconds=300)], present=1, start_seconds=120) == 1


def test_work_is_counted_in_seconds_of_a_gpu() -> None:
    ten_short, ten_long = [Load(20.0, target_seconds=300)], [Load(3000.0, target_seconds=300)]
    assert workers_needed(ten_short, present=0, start_seconds=100) == 1
    # 3,000 s of work, of which each new worker does 300 - 100 s in time.
    assert workers_needed(ten_long, present=0, start_seconds=100) == 15


def test_present_workers_count_from_now_and_new_ones_from_their_start() -> None:
    # 10 present do 3,000 s in 300 s; the other 1,000 s want 5 that work for 200 s.
    assert workers_needed([Load(4000.0, target_seconds=300)], present=10, start_seconds=100) == 15


def test_jobs_of_higher_tiers_come_first() -> None:
    high, low = Load(500.0, target_seconds=60), Load(100.0, target_seconds=300)
    both = workers_needed([high, low], present=0, start_seconds=30)
    assert both >= workers_needed([high, Load(0.0)], present=0, start_seconds=30)
    # The low tier alone would be content with less.
    assert workers_needed([Load(0.0), low], present=0, start_seconds=30) == 1


def test_what_arrives_is_served_even_while_nothing_waits() -> None:
    assert workers_needed([Load(0.0, arriving_gpu_seconds=2.5)], present=3, start_seconds=120) == 3


@given(loads, workers, starts)
def test_the_last_of_each_tier_starts_in_time(tiers: list[Load], present: int, start: float) -> None:
    needed = workers_needed(tiers, present=present, start_seconds=start)
    work = sum(load.running_gpu_seconds for load in tiers)
    arriving = 0.0
    for load in tiers:
        work, arriving = work + load.waiting_gpu_seconds, arriving + load.arriving_gpu_seconds
        if load.waiting_gpu_seconds == 0:
            continue
        deadline = max(load.target_seconds, start + load.target_seconds / 2)
        done = min(needed, present) * deadline + max(0, needed - present) * (deadline - start)
        assert done >= (work + arriving * deadline) * (1 - 1e-9) - 1e-6


@given(loads, workers, starts, st.integers(0, 4), st.floats(0, 10_000))
def test_more_work_never_needs_fewer(tiers: list[Load], present: int, start: float, which: int, more: float) -> None:
    tier = which % len(tiers)
    grown = [*tiers]
    grown[tier] = replace(tiers[tier], waiting_gpu_seconds=tiers[tier].waiting_gpu_seconds + more)
    before = workers_needed(tiers, present=present, start_seconds=start)
    assert workers_needed(grown, present=present, start_seconds=start) >= before


def test_loads_are_ordered_as_the_queue_serves() -> None:
    made = loads_of({1: 300.0, 5: 15.0}, {1: 2.0}, {5: 3.0}, {1: 0.5})
    assert made == [Load(0.0, 3.0, 0.0, 15.0), Load(2.0, 0.0, 0.5, 300.0)]


def test_starts_are_measured_from_the_request_to_the_arrival() -> None:
    times = StartTimes(120.0)
    times.observe(0, 2, [])
    assert times.start_seconds == 120.0
    times.observe(70, 2, ["a"])
    times.observe(90, 2, ["a", "b"])
    assert times.start_seconds == 90


def test_a_request_that_was_taken_back_is_not_measured() -> None:
    times = StartTimes(120.0)
    times.observe(0, 1, [])
    times.observe(10, 0, [])
    times.observe(500, 1, [])
    times.observe(560, 1, ["a"])
    assert times.start_seconds == 60


def test_a_worker_that_was_lost_is_asked_for_anew() -> None:
    times = StartTimes(120.0)
    times.observe(0, 1, ["a"])
    times.observe(10, 1, [])
    times.observe(95, 1, ["b"])
    assert times.start_seconds == 85


def test_demand_rises_at_once_and_falls_after_the_time_of_a_start() -> None:
    demand = Demand(idle_seconds=300)
    assert demand.observe(0, 5, 100, has_work=True) == 5
    assert demand.observe(50, 1, 100, has_work=True) == 5
    assert demand.observe(60, 7, 100, has_work=True) == 7
    assert demand.observe(101, 1, 100, has_work=True) == 7
    assert demand.observe(161, 1, 100, has_work=True) == 1


def test_everything_goes_after_the_idle_time_and_comes_back_at_once() -> None:
    demand = Demand(idle_seconds=300)
    assert not demand.is_active(0)
    assert demand.observe(0, 2, 60, has_work=True) == 2
    assert demand.observe(290, 0, 60, has_work=False) == 1
    assert demand.is_active(299)
    assert demand.observe(301, 0, 60, has_work=False) == 0
    assert not demand.is_active(301)
    assert demand.observe(302, 1, 60, has_work=True) == 1


def test_the_simulated_day_loses_no_job() -> None:
    jobs = arrivals("bursty", 5, jobs_a_day=500)
    result = Day(jobs, by_expected_wait(1.0), 5).play()
    # A job whose worker was lost waits twice.
    assert len(result.waits) >= len(jobs)
    assert result.gpu_hours * 3600 > sum(job.work for job in jobs)


def test_the_simulated_worker_is_paid_for_from_its_order_to_its_end() -> None:
    result = Day([Arrival(0.0, 0, 10.0)], by_expected_wait(1.0), 1).play()
    (wait,) = result.waits
    assert 60 <= wait[1] <= 240
    # At most the start, the work, the idle time and two looks.
    assert 70 <= result.gpu_hours * 3600 <= 240 + 10 + 300 + 30


@pytest.mark.parametrize("kind", ["poisson", "bursty"])
def test_waits_are_shorter_than_with_scaling_by_lists_at_no_more_gpu_hours(kind: str) -> None:
    ours = play(kind, by_expected_wait(1.0), 1)
    lists = play(kind, by_list_length(0.5), 1)
    assert lists.gpu_hours >= ours.gpu_hours
    assert ours.quantile(0.9) < 0.8 * lists.quantile(0.9)
