"""Whether a job still fits into what a stopping worker has left, on a clock that the test moves."""

import asyncio
from typing import Any

import pytest

from gpu_worker.attempt.failures import AttemptFailedError
from gpu_worker.attempt.interruption import (
    Interruption,
    StoppingError,
    TimeLeft,
    interruption,
    unless_interrupted,
)
from gpu_worker.claim.lease import Lease, LeaseLostError
from svc_common.queue import Claim
from tests.factories.queue import queued_job

_ROUNDS = 20
"""Turns of the event loop in which everything that can happen without time passing has happened."""


@pytest.fixture
def lease() -> Lease:
    return Lease(Claim(queued_job(), "worker-0:1", fence=1), lambda: None)


async def settle() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


async def verdict(time_left: TimeLeft, lease: Lease) -> bool:
    """Tells whether the job goes back by now."""
    waiting = asyncio.create_task(time_left.exceeds_grace(lease))
    await settle()
    done = waiting.done()
    waiting.cancel()
    return done


@pytest.mark.parametrize(
    ("grace_seconds", "seconds_left", "goes_back"),
    [
        pytest.param(120, 114, False, id="five seconds to spare"),
        pytest.param(120, 116, True, id="no time to upload"),
        pytest.param(120, 200, True, id="far too long"),
        pytest.param(10, 8.9, False, id="a tenth of a short grace to spare"),
        pytest.param(10, 9.1, True, id="no time to upload within a short grace"),
        pytest.param(0, 0, True, id="no grace"),
    ],
)
async def test_job_goes_back_at_once_unless_it_fits_into_the_grace(
    lease: Lease, grace_seconds: float, seconds_left: float, goes_back: bool
) -> None:
    now = asyncio.get_running_loop().time()
    time_left = TimeLeft(lambda: now)
    time_left.note(seconds_left)
    assert not await verdict(time_left, lease), "nobody has stopped the worker"
    lease.stop_by(now + grace_seconds)
    assert await verdict(time_left, lease) is goes_back


async def test_render_that_has_no_estimate_yet_may_do_its_first_step(lease: Lease) -> None:
    now = asyncio.get_running_loop().time()
    time_left = TimeLeft(lambda: now)
    lease.stop_by(now + 100)
    waiting = asyncio.create_task(time_left.exceeds_grace(lease))
    await settle()
    assert not waiting.done()
    time_left.note(99)
    await asyncio.wait_for(waiting, 5)


async def test_job_whose_estimate_grows_goes_back_then(lease: Lease) -> None:
    now = asyncio.get_running_loop().time()
    time_left = TimeLeft(lambda: now)
    time_left.note(10)
    lease.stop_by(now + 20)
    waiting = asyncio.create_task(time_left.exceeds_grace(lease))
    await settle()
    time_left.note(12)
    await settle()
    assert not waiting.done()
    time_left.note(20)
    await asyncio.wait_for(waiting, 5)


async def test_job_that_stands_still_goes_back_when_its_delivery_would_not_fit_any_more(lease: Lease) -> None:
    loop = asyncio.get_running_loop()
    time_left = TimeLeft(loop.time)
    time_left.note(0.01)
    lease.stop_by(loop.time() + 2.0)
    await asyncio.wait_for(time_left.exceeds_grace(lease), 5)
    assert loop.time() < lease.grace_end_s


@pytest.mark.parametrize("why", Interruption)
async def test_interruption_tells_what_came(lease: Lease, why: Interruption) -> None:
    waiting = asyncio.create_task(interruption(lease, lease.stopping.wait()))
    await settle()
    assert not waiting.done()
    interrupt(lease, why)
    assert await waiting is why


def interrupt(lease: Lease, why: Interruption) -> None:
    match why:
        case Interruption.LOST:
            lease.lost.set()
        case Interruption.CANCELLED:
            lease.cancel_requested.set()
        case Interruption.STOPPING:
            lease.stop_by(0.0)


@pytest.mark.parametrize(
    ("why", "error"),
    [
        (Interruption.LOST, LeaseLostError),
        (Interruption.CANCELLED, AttemptFailedError),
        (Interruption.STOPPING, StoppingError),
    ],
)
async def test_interrupted_work_is_given_up_and_has_cleaned_up(
    lease: Lease, why: Interruption, error: type[Exception]
) -> None:
    cleaned: list[bool] = []

    async def fetch_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    working = asyncio.create_task(unless_interrupted(fetch_for_ever(), lease))
    await settle()
    interrupt(lease, why)
    with pytest.raises(error):
        await working
    assert cleaned == [True]


async def test_work_that_ends_is_not_interrupted(lease: Lease) -> None:
    async def answer() -> int:
        return 7

    assert await unless_interrupted(answer(), lease) == 7


async def test_error_of_the_work_is_its_own(lease: Lease) -> None:
    async def fail() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await unless_interrupted(fail(), lease)
