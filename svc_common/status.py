"""Carries ServiceError over the wire: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest, and back."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from svc_common.errors import ERROR_DOMAIN, FieldViolation, Reason, ServiceError

# The metadata key under which gRPC carries the serialised status, on every platform.
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

M = TypeVar("M", bound=Message)

_REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}


def to_status(error: ServiceError) -> status_pb2.Status:
    """Returns the error as callers receive it."""
    status = status_pb2.Status(code=int(error.code), message=error.message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=ERROR_DOMAIN, metadata=error.metadata)
    )
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in error.violations
        ]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    return status


def from_status(status: status_pb2.Status) -> ServiceError | None:
    """Returns the error that a status of this platform carries, or None when another program or an unknown release made it."""
    info = _unpack(status, error_details_pb2.ErrorInfo())
    if info is None or info.domain != ERROR_DOMAIN or info.reason not in _REASONS:
        return None
    retry = _unpack(status, error_details_pb2.RetryInfo())
    bad_request = _unpack(status, error_details_pb2.BadRequest()) or error_details_pb2.BadRequest()
    return ServiceError(
        _REASONS[info.reason],
        status.message,
        metadata=dict(info.metadata),
        retry_after=_timedelta(retry) if retry is not None else None,
        violations=[FieldViolation(each.field, each.description) for each in bad_request.field_violations],
    )


def _timedelta(retry: error_details_pb2.RetryInfo) -> timedelta:
    return timedelta(seconds=retry.retry_delay.seconds, microseconds=retry.retry_delay.nanos / 1000)


def _unpack(status: status_pb2.Status, into: M) -> M | None:
    for detail in status.details:
        if detail.Unpack(into):
            return into
    return None
