"""Clearing one's queue: everything that waits ends as CancelJob ends it, exactly once, whatever happens at the same time."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import grpc
from pingvas.generation.v1 import job_pb2

from svc_common.errors import Reason
from svc_generation.usecases.cancelling import MOST_CLEARED
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform
from tests.harness_postgres import until
from tests.harness_service import refusal_of


async def states_of(person: Person) -> Counter[int]:
    """Counts the person's jobs by state."""
    return Counter(job.state for job in (await person.page(page_size=200)).jobs)


def counts(answer: Any) -> tuple[int, int, int]:
    return answer.cancelled_count, answer.stopping_count, answer.remaining_count


async def outcome_of(call: Any) -> str:
    """Returns the reason of a refusal, or "taken"."""
    try:
        await call
    except grpc.aio.AioRpcError:
        return (await refusal_of(call)).reason
    return "taken"


async def test_clearing_an_empty_queue_changes_nothing(platform: Platform) -> None:
    person = await Person.arrive(platform)
    assert counts(await person.clear()) == (0, 0, 0)
    assert counts(await person.clear(includes_running=True)) == (0, 0, 0)


async def test_waiting_jobs_end_and_their_holds_are_released_while_the_running_one_goes_on(platform: Platform) -> None:
    person, worker = await Person.arrive(platform, tier="studio", credits_held=10_000), WorkerClient(platform)
    running, *waiting = [(await person.create()).job_id for _ in range(6)]
    attempt = await worker.start(running)
    stranger = await Person.arrive(platform)
    foreign = (await stranger.create()).job_id

    assert counts(await person.clear()) == (5, 0, 0)

    for job_id in waiting:
        job = await person.get(job_id)
        assert (job.state, job.credits_used) == (job_pb2.JOB_STATE_CANCELLED, "0.000")
    assert (await person.get(running)).state == job_pb2.JOB_STATE_RUNNING
    assert await person.balance() == ("9.886", "0.114")
    assert (await stranger.get(foreign)).state == job_pb2.JOB_STATE_QUEUED
    assert (await platform.queue.depths())["studio"].waiting == 1  # the running one, which nobody claimed there
    await worker.complete(attempt, await worker.upload(attempt))
    assert (await person.get(running)).state == job_pb2.JOB_STATE_COMPLETED
    await Operator(platform).assert_holds_match_jobs()


async def test_running_jobs_are_told_to_stop_once_when_that_is_asked_for(platform: Platform) -> None:
    person, worker = await Person.arrive(platform, tier="studio", credits_held=10_000), WorkerClient(platform)
    running, waiting = [(await person.create()).job_id for _ in range(2)]
    attempt = await worker.start(running)

    assert counts(await person.clear(includes_running=True)) == (1, 1, 0)
    assert counts(await person.clear(includes_running=True)) == (0, 0, 0)

    await worker.fail(attempt, None, gpu_milliseconds=1)
    assert (await person.ended(running)).state == job_pb2.JOB_STATE_CANCELLED
    assert (await person.ended(waiting)).state == job_pb2.JOB_STATE_CANCELLED
    await Operator(platform).assert_holds_match_jobs()


async def test_one_call_reaches_as_many_jobs_as_it_may_and_counts_the_rest(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="studio")
    jobs = [(await person.create()).job_id for _ in range(MOST_CLEARED + 5)]

    # Fewer than it may where the machine is so slow that the call's time is over before.
    done, _, left = counts(await person.clear())
    assert 0 < done <= MOST_CLEARED
    assert done + left == len(jobs)
    # Those are gone that would have started first.
    states = [(await person.get(job_id)).state for job_id in jobs]
    assert states == [job_pb2.JOB_STATE_CANCELLED] * done + [job_pb2.JOB_STATE_QUEUED] * left
    while left:
        more, _, left = counts(await person.clear())
        done += more
    assert done == len(jobs)

    assert (await person.queue_status()).own_waiting == 0
    assert await person.balance() == ("1000.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_parallel_calls_count_each_job_once(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="studio", credits_held=10_000)
    jobs = [(await person.create()).job_id for _ in range(20)]

    answers = await asyncio.gather(*(person.clear() for _ in range(5)))

    assert sum(answer.cancelled_count for answer in answers) == len(jobs)
    assert {answer.remaining_count for answer in answers} == {0}
    for job_id in jobs:
        assert (await person.ended(job_id)).state == job_pb2.JOB_STATE_CANCELLED
    assert await person.balance() == ("10.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_jobs_that_are_submitted_meanwhile_either_wait_or_are_cancelled_and_none_is_lost(
    platform: Platform,
) -> None:
    person = await Person.arrive(platform, tier="studio")

    async def submit() -> list[str]:
        return [(await person.create()).job_id for _ in range(10)]

    async def clear() -> int:
        return sum([(await person.clear()).cancelled_count for _ in range(8)])

    *submitted, cleared = await asyncio.gather(*(submit() for _ in range(4)), clear())

    states = await states_of(person)
    assert set(states) <= {job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_CANCELLED}
    assert states[job_pb2.JOB_STATE_CANCELLED] == cleared
    assert states.total() == sum(map(len, submitted)) == 40
    waiting = states[job_pb2.JOB_STATE_QUEUED]
    assert (await person.queue_status()).own_waiting == waiting
    await Operator(platform).assert_holds_match_jobs()
    assert counts(await person.clear()) == (waiting, 0, 0)
    assert await person.balance() == ("1000.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_job_that_a_worker_takes_meanwhile_is_never_stopped_by_clearing_what_waits(platform: Platform) -> None:
    person, worker = await Person.arrive(platform, tier="studio"), WorkerClient(platform)
    jobs = [(await person.create()).job_id for _ in range(30)]

    async def take() -> int:
        outcomes = [await outcome_of(worker.start(job_id)) for job_id in reversed(jobs)]
        assert set(outcomes) <= {"taken", Reason.JOB_NOT_RUNNABLE}
        return outcomes.count("taken")

    answer, taken = await asyncio.gather(person.clear(), take())

    states = await states_of(person)
    assert answer.cancelled_count == states[job_pb2.JOB_STATE_CANCELLED]
    assert (taken, taken + answer.cancelled_count) == (states[job_pb2.JOB_STATE_RUNNING], len(jobs))
    # None of those that were taken had been told to stop before.
    assert counts(await person.clear(includes_running=True)) == (0, taken, 0)


async def test_ledger_that_is_away_delays_the_end_of_cancelled_jobs_and_loses_none(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="studio", credits_held=10_000)
    jobs = [(await person.create()).job_id for _ in range(6)]
    async with platform.without("payment"):
        assert (await refusal_of(person.clear())).reason is Reason.DEPENDENCY_UNAVAILABLE

    async def nothing_waits() -> bool:
        with suppress(grpc.aio.AioRpcError):  # until the connection to the ledger is there again
            await person.clear()
        return (await person.queue_status()).own_waiting == 0

    await until(nothing_waits)
    for job_id in jobs:
        assert (await person.ended(job_id, within_seconds=60)).state == job_pb2.JOB_STATE_CANCELLED
    assert await person.balance() == ("10.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()
