"""Sixth layer: lets only those services in that the contract of the method lists.

Users need no check here: a method for users sees the rows of the caller's own account only, which row-level security
enforces.
"""

from google.protobuf.message import Message

from svc_common.caller import Call
from svc_common.errors import Reason, ServiceError
from svc_common.interceptors.hooks import Hooks, Verifiers
from svc_common.interceptors.method import Audience, Method


class Authorization:
    """Compares the calling service with the method's list of callers."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:
        """Returns the hook that compares, for methods of AUDIENCE_SERVICE."""
        if method.audience is not Audience.SERVICE:
            return Hooks()

        def admit(call: Call, _: Message) -> None:
            if call.caller.service not in method.callers:
                raise _not_allowed(call.caller.service or "", method.path)

        return Hooks(before=admit)


def _not_allowed(caller: str, path: str) -> ServiceError:
    return ServiceError(
        Reason.CALLER_NOT_ALLOWED,
        f"{caller} may not call {path}. The contract of the method lists its callers.",
        metadata={"caller": caller, "method": path},
    )
