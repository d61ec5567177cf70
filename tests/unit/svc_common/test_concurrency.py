"""Tasks that are to end do, also those that miss their cancellation; a wait for an event has an end."""

import asyncio

from svc_common.concurrency import end_tasks, is_set_within


async def deaf(times: int) -> None:
    """Goes on after so many cancellations, as a call does that swallows them."""
    for _ in range(times + 1):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


async def test_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(deaf(times)) for times in (0, 1)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_tasks_that_have_ended_or_fail_at_their_end_are_ended() -> None:
    async def fail_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    ended, failing = asyncio.create_task(asyncio.sleep(0, "here")), asyncio.create_task(fail_at_the_end())
    await asyncio.sleep(0.01)
    await end_tasks(ended, failing)
    await end_tasks()
    assert (ended.result(), failing.done()) == ("here", True)
    assert isinstance(failing.exception(), ValueError)


async def test_wait_for_an_event_ends_when_it_is_set_or_the_time_is_up() -> None:
    event = asyncio.Event()
    assert not await is_set_within(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await is_set_within(event, 5)
    assert await is_set_within(event, 0)
