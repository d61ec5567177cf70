"""What can go wrong, as exceptions that carry what the platform says about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from pingvas.common.v1.error_reason_pb2 import ErrorReason
from pingvas.generation.v1.job_pb2 import Job

_DOMAIN: Final = "pingvas.studio"
_STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
# What the platform asks to be repeated by itself. A full queue says when to come back as well, but that is for people to
# decide: it may be many minutes.
_REPEATABLE: Final = frozenset({"RATE_LIMITED", "OVERLOADED", "TOO_MANY_STREAMS"})
# A token that was refused for one of these is worth renewing; a wrong password is not.
_STALE_TOKEN: Final = frozenset({"TOKEN_EXPIRED", "TOKEN_INVALID", ""})

Detail = TypeVar("Detail", bound=Message)


class PingvasError(Exception):
    """The root of everything that this package raises on purpose."""


class UnreachableError(PingvasError):
    """No answer came, or an answer that isn't this platform's."""

    def __init__(self, message: str, *, code: grpc.StatusCode, details: str = "") -> None:
        """Takes what happened, the code that gRPC gave it, and the words that came with it."""
        super().__init__(message)
        self.code = code
        self.details = details or message


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that breaks a rule of the contract."""

    field: str
    description: str


class RefusedError(PingvasError):
    """The platform refused a call.

    `reason` is a name of `pingvas.common.v1.ErrorReason` without its prefix, for example "INSUFFICIENT_CREDITS". Its
    comment in the contract says what to do and what `metadata` holds.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        violations: tuple[Violation, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        """Takes the parts of the answer; a refusal that somebody on the way made has no reason."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata)
        self.violations = violations
        self.retry_after = retry_after


class AuthenticationError(RefusedError):
    """The credential is missing, expired, or wrong."""


class ForbiddenError(RefusedError):
    """The caller is known, but this isn't for it: a larger tier or another scope is needed."""


class NotFoundError(RefusedError):
    """The caller has no such thing."""


class InvalidRequestError(RefusedError):
    """A field is wrong; `violations` names each."""


class LimitError(RefusedError):
    """Too much at once; `retry_after` says when to try again."""


class InsufficientCreditsError(RefusedError):
    """The balance doesn't cover the price; `metadata` has both."""


class JobEndedError(PingvasError):
    """A job ended without pictures."""

    def __init__(self, message: str, job: Job) -> None:
        """Takes what happened and the job as it ended."""
        super().__init__(message)
        self.job = job


class JobFailedError(JobEndedError):
    """A job failed, and nothing was charged; `job.failure` says why."""

    def __init__(self, job: Job) -> None:
        """Takes the job as it ended."""
        self.reason = ErrorReason.Name(job.failure.reason).removeprefix("ERROR_REASON_")
        super().__init__(f"the job {job.job_id} failed ({self.reason}): {job.failure.message}", job)


class JobCancelledError(JobEndedError):
    """A job was cancelled; `job.credits_used` is what had run."""

    def __init__(self, job: Job) -> None:
        """Takes the job as it ended."""
        super().__init__(f"the job {job.job_id} was cancelled", job)


_BY_CODE: Final = {
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitError,
}


class FailedCall(Protocol):
    """What gRPC raises, from its event loop or without one."""

    def code(self) -> grpc.StatusCode:
        """Returns the code."""

    def details(self) -> str | None:
        """Returns the words that came with it."""

    def trailing_metadata(self) -> Any:
        """Returns the metadata that came with it, as pairs."""


def error_of(error: FailedCall, address: str) -> RefusedError | UnreachableError:
    """Returns what a failed call means."""
    code = error.code()
    status = _status(error)
    info = _detail(status, error_details_pb2.ErrorInfo())
    if info is None or info.domain != _DOMAIN:
        first_line = (error.details() or "no details").splitlines()[0]
        if code in _BY_CODE:
            return _BY_CODE[code](first_line, code=code)
        return UnreachableError(f"{address} answered {code.name}: {first_line}", code=code, details=first_line)
    kind = InsufficientCreditsError if info.reason == "INSUFFICIENT_CREDITS" else _BY_CODE.get(code, RefusedError)
    retry = _detail(status, error_details_pb2.RetryInfo())
    bad_request = _detail(status, error_details_pb2.BadRequest()) or error_details_pb2.BadRequest()
    return kind(
        status.message,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=tuple(Violation(each.field, each.description) for each in bad_request.field_violations),
        retry_after=None if retry is None else retry.retry_delay.ToTimedelta(),
    )


def is_repeatable(error: RefusedError | UnreachableError) -> bool:
    """Returns whether the same call may succeed in a moment, and is safe to repeat."""
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    return isinstance(error, RefusedError) and error.reason in _REPEATABLE


def wants_another_token(error: RefusedError | UnreachableError) -> bool:
    """Returns whether a call was refused for its token, and not for a password in it."""
    return isinstance(error, AuthenticationError) and error.reason in _STALE_TOKEN


def _status(error: FailedCall) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _detail(status: status_pb2.Status, into: Detail) -> Detail | None:
    for detail in status.details:
        if detail.Unpack(into):
            return into
    return None
