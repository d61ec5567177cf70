"""What an HTTP client reads: messages as JSON, and refusals as google.rpc.Status with the HTTP status of their reason."""

import json
from typing import Any, Final

import grpc.aio
from fastapi import Response
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

# Puts the types of a Status' details into the pool in which Any looks for them.
from google.rpc import error_details_pb2, status_pb2

from svc_common.errors import CODES, PAYMENT_REQUIRED, Code, Reason, ServiceError, dependency_unavailable
from svc_common.status import STATUS_DETAILS_KEY, from_status, to_status

JSON: Final = "application/json"

_HTTP_STATUS: Final = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
# Where HTTP has a better word than the gRPC code's. The edge knows these as well (edge_envoy/envoy.yaml.j2).
_HTTP_STATUS_OF_REASON: Final = {
    **{reason.value: 402 for reason in PAYMENT_REQUIRED},
    Reason.METHOD_NOT_FOUND.value: 404,
    Reason.REQUEST_TOO_LARGE.value: 413,
}
_DEFECT: Final = (
    "The server failed in a way that you can't mend. Repeat the call; if it fails again, report x-request-id."
)


def http_status_of_reason(reason: Reason) -> int:
    """Returns the HTTP status of a reason."""
    return _HTTP_STATUS_OF_REASON.get(reason.value, _HTTP_STATUS[CODES[reason]])


def document_of(message: Message) -> Any:
    """Returns a message as JSON has it: names of the contract, every plain field, 64 bits as strings, enums as names."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def encoded(document: Any) -> bytes:
    """Returns a document as compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def refused(status: status_pb2.Status, http_status: int | None = None) -> Response:
    """Returns the answer for a refusal; `http_status` replaces the usual one."""
    retry = error_details_pb2.RetryInfo()
    headers = {"cache-control": "no-store"}
    for detail in status.details:
        if detail.Unpack(retry):
            # Whole seconds, never too early.
            headers["retry-after"] = str(retry.retry_delay.seconds + (retry.retry_delay.nanos > 0))
    return Response(encoded(document_of(status)), http_status or http_status_of(status), headers, JSON)


def http_status_of(status: status_pb2.Status) -> int:
    """Returns the HTTP status of a refusal."""
    return _HTTP_STATUS_OF_REASON.get(reason_of(status), _HTTP_STATUS.get(Code(status.code), 500))


def reason_of(status: status_pb2.Status) -> str:
    """Returns the name of a refusal's reason, or "" when it has none."""
    info = error_details_pb2.ErrorInfo()
    any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


def status_of(error: grpc.aio.AioRpcError, area: str) -> status_pb2.Status:
    """Returns the Status that a failed call carries, or the one that fits a failure of the connection."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return to_status(_refusal_of_code(Code(error.code().value[0]), f"svc_{area}"))


def refusal_of(error: grpc.aio.AioRpcError, area: str) -> ServiceError:
    """Returns the refusal that a failed call carries, as `status_of` has it."""
    return from_status(status_of(error, area)) or ServiceError(Reason.INTERNAL, _DEFECT)


def _refusal_of_code(code: Code, service: str) -> ServiceError:
    """Returns a refusal for a code without details, as gRPC itself gives it: its words tell of addresses, so they stay here."""
    if code is Code.DEADLINE_EXCEEDED:
        return ServiceError(
            Reason.DEADLINE_TOO_SHORT, "The call's deadline passed before it was done. Repeat it with a longer one."
        )
    if code in (Code.UNAVAILABLE, Code.CANCELLED):
        return dependency_unavailable(
            service, f"{service} doesn't answer. Repeat the call in a moment, a creating one with the same request id."
        )
    if code is Code.RESOURCE_EXHAUSTED:
        return ServiceError(Reason.REQUEST_TOO_LARGE, "The request or its headers are larger than a service takes.")
    return ServiceError(Reason.INTERNAL, _DEFECT)


def defect() -> status_pb2.Status:
    """Returns the refusal that tells nothing of what failed inside."""
    return to_status(ServiceError(Reason.INTERNAL, _DEFECT))
