"""Fourth layer: no call without an end.

A unary call whose caller set no deadline gets one. A call that arrives with almost no time left is refused before it
costs anything. Database statements and calls to other services take their own limits from what remains.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

from google.protobuf.message import Message

from svc_common.caller import Call
from svc_common.errors import deadline_too_short
from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Method

DEFAULT_SECONDS: Final = 10.0
# Less than this doesn't even pay for one transaction; answering would reach the caller after it has given up.
_LEAST_SECONDS: Final = 0.020

R = TypeVar("R")


class Deadline:
    """Sets the moment by which a unary call must end, and refuses those that can't."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:
        """Returns the hook that looks at the deadline; streams may live as long as their caller likes."""

        def admit(call: Call, _: Message) -> None:
            if call.deadline is not None:
                if call.deadline - time.monotonic() < _LEAST_SECONDS:
                    raise deadline_too_short(method.path)
            elif not method.is_stream:
                call.deadline = call.started + DEFAULT_SECONDS
                call.must_be_ended = True

        return Hooks(before=admit)


async def within_deadline(call: Call, work: Awaitable[R]) -> R:
    """Awaits the work until the deadline that this layer imposed. Deadlines of callers are enforced by gRPC itself."""
    timeout = asyncio.timeout_at(call.deadline)
    try:
        async with timeout:
            return await work
    except TimeoutError:
        if timeout.expired():
            raise deadline_too_short(call.method) from None
        raise
