"""Puts the layers around a handler: one list gives their order, one wrapper for each kind of method runs them.

The layers are bound to a method once, when the server starts; at a call only the hooks that the method needs run, one
after the other, in a single coroutine. That is as cheap as a hand-written handler and keeps the order in one place.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, Never, cast

import grpc
from google.protobuf.message import Message
from grpc.aio import ServicerContext

from svc_common.caller import REQUEST_ID_HEADER, Call, enter_call
from svc_common.errors import Code, Reason, ServiceError
from svc_common.interceptors.admission import Admission
from svc_common.interceptors.authentication import Authentication
from svc_common.interceptors.authorization import Authorization
from svc_common.interceptors.call_report import CallReport
from svc_common.interceptors.deadline import Deadline, within_deadline
from svc_common.interceptors.error_translation import ErrorTranslation
from svc_common.interceptors.hooks import Outcome
from svc_common.interceptors.interceptor import Interceptor, Verifiers
from svc_common.interceptors.method import Method
from svc_common.interceptors.request_identity import RequestIdentity
from svc_common.interceptors.validation import Validation
from svc_common.status import STATUS_DETAILS_KEY, to_status

INTERCEPTORS: Final[tuple[type[Interceptor], ...]] = (
    RequestIdentity,
    CallReport,
    ErrorTranslation,
    Deadline,
    Authentication,
    Authorization,
    Admission,
    Validation,
)
"""The layers of every call, outermost first. The handler comes after the last."""

UnaryHandler = Callable[[Message, Any], Awaitable[Message]]
StreamHandler = Callable[[Message, Any], AsyncGenerator[Message]]
# Values of binary headers are bytes, but none of those that the layers look at is binary.
Headers = Iterable[tuple[str, str]]

RETRY_AFTER_HEADER: Final = "retry-after"

UNREADABLE: Final = object()
"""Stands for a request whose bytes are no message of its type."""

_OK: Final = Outcome(Code.OK)
_STATUS_CODES: Final = {Code(status.value[0]): status for status in grpc.StatusCode}


class Chain:
    """The layers as bound to one method."""

    def __init__(self, method: Method, verifiers: Verifiers) -> None:
        """Binds every layer to the method."""
        hooks = [interceptor(verifiers).bind(method) for interceptor in INTERCEPTORS]
        (self._translate,) = [each.translate for each in hooks if each.translate is not None]
        self._before = tuple(each.before for each in hooks if each.before is not None)
        self._after = tuple(each.after for each in reversed(hooks) if each.after is not None)
        self._path = method.path

    def around_unary(self, handler: UnaryHandler) -> UnaryHandler:
        """Returns the handler of a unary method with all layers around it."""

        async def serve(request: Message, context: ServicerContext[Any, Any]) -> Message:
            call = self._begin(context)
            try:
                await self._admit(call, request)
                work = handler(request, context)
                response = await (within_deadline(call, work) if call.must_be_ended else work)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is answered, or it is raised again
                await self._fail(call, context, error)
            self._end(call, _OK)
            return response

        return serve

    def around_stream(self, handler: StreamHandler) -> StreamHandler:
        """Returns the handler of a method with a stream of responses, with all layers around it; nothing is buffered."""

        async def serve(request: Message, context: ServicerContext[Any, Any]) -> AsyncGenerator[Message]:
            call = self._begin(context)
            try:
                await self._admit(call, request)
                async with aclosing(handler(request, context)) as responses:
                    async for response in responses:
                        yield response
            except BaseException as error:  # noqa: BLE001 - as above
                await self._fail(call, context, error)
            self._end(call, _OK)

        return serve

    def _begin(self, context: ServicerContext[Any, Any]) -> Call:
        now = time.monotonic()
        call = Call(self._path, dict(cast("Headers", context.invocation_metadata() or ())), now)
        call.peer = context.peer
        remaining = context.time_remaining()
        if remaining is not None:
            call.deadline = now + remaining
        enter_call(call)
        return call

    async def _admit(self, call: Call, request: Message) -> None:
        if request is UNREADABLE:
            raise ServiceError(
                Reason.REQUEST_MALFORMED, "The request can't be read: its bytes are no message of the method's type."
            )
        for check in self._before:
            waiting = check(call, request)
            # Nearly all checks are done at once; those that aren't, such as a question to Redis, are rare.
            if waiting is not None:
                await waiting

    def _end(self, call: Call, outcome: Outcome) -> None:
        for observe in self._after:
            observe(call, outcome)

    async def _fail(self, call: Call, context: ServicerContext[Any, Any], error: BaseException) -> Never:
        outcome = self._translate(call, error)
        self._end(call, outcome)
        if outcome.error is None:
            raise error
        await _abort(call, context, outcome.error)


async def _abort(call: Call, context: ServicerContext[Any, Any], error: ServiceError) -> Never:
    status = to_status(error)
    trailers: tuple[tuple[str, str | bytes], ...] = (
        (STATUS_DETAILS_KEY, status.SerializeToString()),
        (REQUEST_ID_HEADER, call.request_id),
    )
    if error.retry_after is not None:
        # RetryInfo as HTTP has it: the edge makes headers of trailers when it turns the answer into JSON.
        trailers += ((RETRY_AFTER_HEADER, str(math.ceil(error.retry_after.total_seconds()))),)
    await context.abort(_STATUS_CODES[error.code], error.message, trailers)
    raise AssertionError("abort always raises")
