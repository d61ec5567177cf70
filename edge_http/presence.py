"""Whether a client is still there: an answer that nobody waits for is given up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from svc_common.concurrency import end_tasks

T = TypeVar("T")


async def unless_gone(answering: Coroutine[Any, Any, T], request: Request) -> T | None:
    """Awaits an answer, or cancels it and returns None when the client goes away before. The body must have been read."""
    answer, gone = asyncio.create_task(answering), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        await end_tasks(gone, *(() if answer.done() else (answer,)))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
