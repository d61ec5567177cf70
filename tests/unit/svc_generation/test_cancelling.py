"""Many cancellations in one call: in their order, a few side by side, none behind a failure or the end of the time."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from svc_generation.domain.states import Cancellation
from svc_generation.usecases.cancelling import cancel_each

JOBS = [UUID(int=number) for number in range(20)]


async def test_each_job_is_cancelled_once_in_order_and_counted() -> None:
    begun: list[UUID] = []

    async def cancel(job_id: UUID) -> Cancellation:
        begun.append(job_id)
        await asyncio.sleep(0)
        return Cancellation.ASKED if job_id.int % 5 == 0 else Cancellation.ENDED

    assert await cancel_each(JOBS, cancel) == Counter({Cancellation.ENDED: 16, Cancellation.ASKED: 4})
    assert begun == JOBS


async def test_none_is_begun_behind_a_failure_and_those_begun_are_finished() -> None:
    begun, finished = [], []

    async def cancel(job_id: UUID) -> Cancellation:
        begun.append(job_id)
        await asyncio.sleep(0)
        if job_id.int == 0:
            raise ValueError("the ledger is away")
        await asyncio.sleep(0)
        finished.append(job_id)
        return Cancellation.ENDED

    with pytest.raises(ValueError, match="the ledger is away"):
        await cancel_each(JOBS, cancel)
    assert len(begun) < len(JOBS)
    assert finished == begun[1:]


async def test_jobs_that_no_time_is_left_for_are_not_touched() -> None:
    async def cancel(_: UUID) -> Cancellation:
        raise AssertionError("there was no time")

    assert await cancel_each(JOBS, cancel, seconds=0) == Counter()
