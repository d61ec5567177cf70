"""Calls that come together are committed together, and none of them suffers for another."""

import asyncio
from collections.abc import Sequence

import pytest

from svc_common.caller import Call, enter_call, present_call
from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_common.group_commit import GroupCommit


class Committer:
    """Squares numbers; a batch ends when `gate` is open, a multiple of 13 can't be committed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: ServiceError | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.refusal:
            raise self.refusal
        if any(item % 13 == 0 for item in items):
            raise ArithmeticError(items)
        return [item * item for item in items]


async def _settle_down() -> None:
    """Lets every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_submit_commits_a_lone_item_at_once() -> None:
    committer = Committer()
    assert await GroupCommit(committer, limit=4).submit(3) == 9
    assert committer.batches == [[3]]


async def test_submit_gathers_what_comes_while_a_batch_is_in_flight() -> None:
    committer = Committer()
    committer.gate.clear()
    group = GroupCommit(committer, limit=4)
    tasks = [asyncio.create_task(group.submit(number)) for number in range(1, 8)]
    await _settle_down()
    assert committer.batches == [[1, 2, 3, 4]]

    late = asyncio.create_task(group.submit(9))
    await _settle_down()
    committer.gate.set()

    assert await asyncio.gather(*tasks, late) == [1, 4, 9, 16, 25, 36, 49, 81]
    assert committer.batches == [[1, 2, 3, 4], [5, 6, 7, 9]]


async def test_submit_fails_only_the_item_that_can_not_be_committed() -> None:
    committer = Committer()
    group = GroupCommit(committer, limit=8)

    answers = await asyncio.gather(*(group.submit(number) for number in (12, 13, 14)), return_exceptions=True)

    assert answers[0::2] == [144, 196]
    assert isinstance(answers[1], ArithmeticError)


async def test_submit_fails_the_whole_batch_once_when_the_database_is_away() -> None:
    committer = Committer()
    committer.refusal = dependency_unavailable("postgresql", "away")
    group = GroupCommit(committer, limit=8)

    answers = await asyncio.gather(*(group.submit(number) for number in (1, 2, 3)), return_exceptions=True)

    assert [answer.reason for answer in answers if isinstance(answer, ServiceError)] == [
        Reason.DEPENDENCY_UNAVAILABLE
    ] * 3
    assert len(committer.batches) == 1
    committer.refusal = None
    assert await group.submit(4) == 16


async def test_submit_leaves_out_an_item_whose_caller_gave_up() -> None:
    committer = Committer()
    committer.gate.clear()
    group = GroupCommit(committer, limit=1)
    tasks = [asyncio.create_task(group.submit(number)) for number in (1, 2, 3)]
    await _settle_down()

    tasks[0].cancel()
    tasks[1].cancel()
    await _settle_down()
    committer.gate.set()

    assert await tasks[2] == 9
    assert committer.batches == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_submit_runs_the_batch_outside_of_the_call_that_came_first() -> None:
    seen = []

    async def commit(items: Sequence[int]) -> Sequence[int]:
        seen.append(present_call())
        return items

    enter_call(Call("/method", {}, 0.0))
    assert await GroupCommit(commit, limit=1).submit(1) == 1
    assert seen == [None]


async def test_submit_of_whoever_comes_as_a_batch_ends_is_not_forgotten() -> None:
    group = GroupCommit(Committer(), limit=1)

    async def again_and_again() -> int:
        return sum([await group.submit(1) for _ in range(50)])

    async with asyncio.timeout(5):
        assert await asyncio.gather(*(again_and_again() for _ in range(5))) == [50] * 5
