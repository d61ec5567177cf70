"""Seventh layer: holds each account to what its tier allows at once. Services and anonymous callers aren't counted here.

It stands before the validation, so that invalid requests count as well.
"""

from collections.abc import Awaitable
from uuid import UUID

from google.protobuf.message import Message

from svc_common.caller import Call
from svc_common.interceptors.hooks import Before, Hooks, Outcome
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Audience, Method
from svc_common.limits.accounts import AccountLimits
from svc_common.limits.streams import Place


class Admission:
    """Refuses calls above the account's rate, and streams beyond those that it may have open."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Takes the limits."""
        self._limits = verifiers.limits

    def bind(self, method: Method) -> Hooks:
        """Returns the hooks that count, for methods of AUDIENCE_USER."""
        limits = self._limits
        if limits is None or not limits.are_on or method.audience is not Audience.USER:
            return Hooks()
        return _stream_hooks(limits) if method.is_stream else Hooks(before=_unary_hook(limits))


def _unary_hook(limits: AccountLimits) -> Before:
    def admit(call: Call, _: Message) -> Awaitable[None] | None:
        return limits.calls.admit(_account_of(call))

    return admit


def _stream_hooks(limits: AccountLimits) -> Hooks:
    places: dict[Call, Place] = {}

    async def open_stream(call: Call) -> None:
        waiting = limits.calls.admit(_account_of(call))
        if waiting is not None:
            await waiting
        places[call] = await limits.streams.open(_account_of(call))

    def leave(call: Call, _: Outcome) -> None:
        # Every stream comes here when it ends: refused, ended, failed, or given up by its caller.
        place = places.pop(call, None)
        if place is not None:
            place.leave()

    return Hooks(before=lambda call, _: open_stream(call), after=leave)


def _account_of(call: Call) -> UUID:
    account_id = call.caller.account_id
    if account_id is None:
        raise LookupError("the call hasn't been authenticated as a user's")
    return account_id
