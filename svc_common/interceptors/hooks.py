"""The form of an interceptor: what it may do at a call, bound once to each method."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from svc_common.caller import Call
from svc_common.errors import Code, ServiceError

Before = Callable[[Call, Message], Awaitable[None] | None]
"""Refuses a call by raising ServiceError; at once, or when what it returns is awaited."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended; `error` is what the caller was told, absent for OK and for calls that the caller gave up."""

    code: Code
    error: ServiceError | None = None
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an interceptor does around one method; each part may be absent.

    `before` runs in the order of the list and may refuse the call. `translate` turns what a
    handler or an inner `before` raised into an outcome. `after` sees the outcome of every call.
    """

    before: Before | None = None
    translate: Callable[[Call, BaseException], Outcome] | None = None
    after: Callable[[Call, Outcome], None] | None = None
