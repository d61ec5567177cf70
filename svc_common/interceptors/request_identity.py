"""First layer: names the call, so that logs of all services and the caller's report meet in one id."""

import re
from typing import Final

from google.protobuf.message import Message

from svc_common.caller import REQUEST_ID_HEADER, TRACE_PARENT_HEADER, Call
from svc_common.clock import new_id
from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Method

# Both end up in logs, so what a caller sends is taken over only if it is short and plain.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.-]{8,64}")
_TRACE_PARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class RequestIdentity:
    """Takes over the caller's `x-request-id` and W3C `traceparent`, or makes a request id."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:  # noqa: ARG002 - every method is treated alike
        """Returns the hook that names the call."""
        return Hooks(before=_identify)


def _identify(call: Call, _: Message) -> None:
    request_id = call.headers.get(REQUEST_ID_HEADER, "")
    call.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else str(new_id())
    trace_parent = call.headers.get(TRACE_PARENT_HEADER, "")
    if trace_parent and _TRACE_PARENT.fullmatch(trace_parent):
        call.trace_parent = trace_parent
