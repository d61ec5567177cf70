"""Work on a database that is ended from outside, or can't begin, for every way to PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import text

from svc_common.caller import Call, enter_call
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.statements import Statement

_SENT_SECONDS = 0.05
_CALL_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0


async def cancel_inside(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Cancels work whose statement has been sent to the server, just after it has set the event."""
    inside = asyncio.Event()
    task = asyncio.create_task(work(inside))
    await asyncio.wait_for(inside.wait(), _PATIENCE_SECONDS)
    await asyncio.sleep(_SENT_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def assert_ends_with_its_call(work: Callable[[], Awaitable[None]]) -> None:
    """Asserts that work which would take a minute is refused when its call has no more time."""

    async def within_a_short_call() -> None:
        call = Call("/a/method", {}, started=0.0)
        call.deadline = asyncio.get_running_loop().time() + _CALL_SECONDS
        enter_call(call)
        await work()

    with pytest.raises(ServiceError) as caught:
        await asyncio.wait_for(asyncio.create_task(within_a_short_call()), _PATIENCE_SECONDS)
    assert caught.value.reason is Reason.DEADLINE_TOO_SHORT


async def assert_unavailable(handle: Database) -> None:
    """Asserts that each way to the database tells of one that is away."""
    statement = Statement(text("SELECT 1"))

    async def direct() -> None:
        async with handle.direct() as transaction:
            await transaction.fetch(statement, {})

    ways = (handle.ping(), direct(), handle.call(statement, {}), handle.advisory_lock("x").__aenter__())
    for way in ways:
        with pytest.raises(ServiceError) as caught:
            await way
        assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert caught.value.metadata == {"dependency": "postgresql"}
