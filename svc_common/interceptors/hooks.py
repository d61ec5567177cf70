"""The form of an interceptor: what it may do at a call, bound once to each method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from svc_common.caller import Call
from svc_common.errors import Code, ServiceError
from svc_common.interceptors.method import Method
from svc_common.tokens import AccessTokens, ServiceTokens


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended; `error` is what the caller was told, absent for OK and for calls that the caller gave up."""

    code: Code
    error: ServiceError | None = None
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an interceptor does around one method; each part may be absent.

    `before` runs in the order of the list and refuses the call by raising ServiceError. `translate` turns what a
    handler or an inner `before` raised into an outcome. `after` sees the outcome of every call.
    """

    before: Callable[[Call, Message], None] | None = None
    translate: Callable[[Call, BaseException], Outcome] | None = None
    after: Callable[[Call, Outcome], None] | None = None


@dataclass(frozen=True, slots=True)
class Verifiers:
    """What the interceptors of a server need from outside."""

    access_tokens: AccessTokens
    service_tokens: ServiceTokens


class Interceptor(Protocol):
    """One layer between the wire and every handler."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Takes what interceptors share."""

    def bind(self, method: Method) -> Hooks:
        """Returns what the interceptor does around a method. Called once, when the server starts."""
