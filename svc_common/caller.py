"""Who makes the present call, and what came with it. Set by the interceptors, read by servicers.

Outside a call (in sweeps and tests of plain functions) the accessors raise LookupError, which is a defect of the
program and not an answer.
"""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from svc_common.account_roles import AccountRole
from svc_common.api_keys import KeyLimits

REQUEST_ID_HEADER: Final = "x-request-id"
TRACE_PARENT_HEADER: Final = "traceparent"


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller: a user within an account, a service, or nobody (all None)."""

    user_id: UUID | None = None
    account_id: UUID | None = None
    session_id: UUID | None = None
    service: str | None = None
    scopes: frozenset[str] | None = None
    """What an API key may be used for; None for a person's own session and for services."""
    role: AccountRole = AccountRole.USER
    withheld_role: AccountRole | None = None
    """The role that the caller would have if they had a second factor."""
    key: KeyLimits | None = None
    """The API key that calls, with its limits; None for a person's own session and for services."""

    def __str__(self) -> str:
        """Returns the caller as logs show it."""
        return self.service or (f"user:{self.user_id}" if self.user_id else "anonymous")


ANONYMOUS: Final = Caller()


class Call:
    """One call in progress: what the interceptors found out about it.

    Mutable and not a dataclass because one is made for each call and filled step by step on the hot path.
    """

    __slots__ = (
        "caller",
        "deadline",
        "headers",
        "method",
        "must_be_ended",
        "peer",
        "request_id",
        "started",
        "trace_parent",
    )

    def __init__(self, method: str, headers: Mapping[str, str], started: float) -> None:
        """Begins a call of a method (full path) at a moment of the monotonic clock, in seconds."""
        self.method = method
        self.headers = headers
        self.started = started
        self.request_id = ""
        self.trace_parent = ""
        # A moment of the monotonic clock, in seconds. `must_be_ended`: the caller set none, so the server itself ends
        # the call then.
        self.deadline: float | None = None
        self.must_be_ended = False
        self.caller = ANONYMOUS
        # Asked by few methods, so that the address isn't formatted at every call.
        self.peer: Callable[[], str] = str


_call: ContextVar[Call | None] = ContextVar("call", default=None)


def enter_call(call: Call) -> None:
    """Makes a call the present one in this task. It ends with the task, as each call runs in its own."""
    _call.set(call)


def present_call() -> Call | None:
    """Returns the call that this task serves, or None in background work."""
    return _call.get()


def _required_call() -> Call:
    call = _call.get()
    if call is None:
        raise LookupError("no call is being served in this task")
    return call


def current_caller() -> Caller:
    """Returns who makes the present call."""
    return _required_call().caller


def current_account() -> UUID:
    """Returns the account of the user who makes the present call, which must be one of AUDIENCE_USER."""
    account_id = _required_call().caller.account_id
    if account_id is None:
        raise LookupError("the present call isn't made by a user")
    return account_id


def current_user() -> UUID:
    """Returns the user who makes the present call, which must be one of AUDIENCE_USER."""
    user_id = _required_call().caller.user_id
    if user_id is None:
        raise LookupError("the present call isn't made by a user")
    return user_id


def current_headers() -> Mapping[str, str]:
    """Returns all headers of the present call, by their lower-case names."""
    return _required_call().headers


def current_peer() -> str:
    """Returns the address of whoever made the present call's connection, as gRPC writes it."""
    return _required_call().peer()


def request_header(name: str) -> str | None:
    """Returns a header of the present call by its lower-case name, such as `idempotency-key`, or None."""
    return _required_call().headers.get(name)


def remaining_seconds() -> float | None:
    """Returns how long the present call may still take, never negative; None without a deadline or without a call."""
    call = _call.get()
    if call is None or call.deadline is None:
        return None
    return max(0.0, call.deadline - time.monotonic())


def request_id() -> str:
    """Returns the id that logs of all services show for the present call; empty in background work."""
    call = _call.get()
    return call.request_id if call else ""
