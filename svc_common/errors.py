"""The one way to fail: one exception, one closed list of reasons, one table from reason to gRPC code.

Imports the standard library only, so that domain code may raise these errors. Turning them into google.rpc.Status and
back is left to the server's and the client's interceptors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

ERROR_DOMAIN: Final = "pingvas.studio"


class Code(IntEnum):
    """The canonical gRPC codes, with the numbers of google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(StrEnum):
    """Why a call was refused or a job failed; the values of pingvas.common.v1.ErrorReason without their prefix."""

    INTERNAL = "INTERNAL"
    INVALID_FIELD = "INVALID_FIELD"
    TIER_LIMIT_EXCEEDED = "TIER_LIMIT_EXCEEDED"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"  # noqa: S105 - no password
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - no password
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - no password
    CALLER_NOT_ALLOWED = "CALLER_NOT_ALLOWED"
    LOGIN_FAILED = "LOGIN_FAILED"
    REFRESH_TOKEN_INVALID = "REFRESH_TOKEN_INVALID"  # noqa: S105 - no password
    REFRESH_TOKEN_REUSED = "REFRESH_TOKEN_REUSED"  # noqa: S105 - no password
    EMAIL_TAKEN = "EMAIL_TAKEN"
    USER_NOT_FOUND = "USER_NOT_FOUND"
    OVERLOADED = "OVERLOADED"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    DEADLINE_TOO_SHORT = "DEADLINE_TOO_SHORT"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_NOT_IN_TIER = "MODEL_NOT_IN_TIER"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
    QUEUE_FULL = "QUEUE_FULL"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_ALREADY_ENDED = "JOB_ALREADY_ENDED"
    EVENT_ID_INVALID = "EVENT_ID_INVALID"
    JOB_NOT_RUNNABLE = "JOB_NOT_RUNNABLE"
    ATTEMPT_FENCED = "ATTEMPT_FENCED"
    ARTIFACT_MISSING = "ARTIFACT_MISSING"
    ARTIFACT_MISMATCH = "ARTIFACT_MISMATCH"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    GRANT_CONFLICT = "GRANT_CONFLICT"
    HOLD_CONFLICT = "HOLD_CONFLICT"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    HOLD_CLOSED = "HOLD_CLOSED"
    PIPELINE_FAILED = "PIPELINE_FAILED"
    INVALID_OUTPUT = "INVALID_OUTPUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    MODEL_LOAD_FAILED = "MODEL_LOAD_FAILED"
    WORKER_LOST = "WORKER_LOST"
    STORAGE_FAILED = "STORAGE_FAILED"
    JOB_EXPIRED = "JOB_EXPIRED"
    REQUEST_MALFORMED = "REQUEST_MALFORMED"
    METHOD_NOT_FOUND = "METHOD_NOT_FOUND"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    OPERATION_UNSUPPORTED = "OPERATION_UNSUPPORTED"
    LORA_INCOMPATIBLE = "LORA_INCOMPATIBLE"
    SOURCE_NOT_FOUND = "SOURCE_NOT_FOUND"
    SOURCE_INVALID = "SOURCE_INVALID"
    CONTENT_REJECTED = "CONTENT_REJECTED"
    MODEL_NOT_STORED = "MODEL_NOT_STORED"
    TOO_MANY_UPLOADS = "TOO_MANY_UPLOADS"
    RATE_LIMITED = "RATE_LIMITED"
    PROMPT_NOTATION_UNSUPPORTED = "PROMPT_NOTATION_UNSUPPORTED"


CODES: Final[Mapping[Reason, Code]] = MappingProxyType(
    {
        Reason.INTERNAL: Code.INTERNAL,
        Reason.INVALID_FIELD: Code.INVALID_ARGUMENT,
        Reason.TIER_LIMIT_EXCEEDED: Code.INVALID_ARGUMENT,
        Reason.PAGE_TOKEN_INVALID: Code.INVALID_ARGUMENT,
        Reason.CREDENTIALS_MISSING: Code.UNAUTHENTICATED,
        Reason.TOKEN_INVALID: Code.UNAUTHENTICATED,
        Reason.TOKEN_EXPIRED: Code.UNAUTHENTICATED,
        Reason.CALLER_NOT_ALLOWED: Code.PERMISSION_DENIED,
        Reason.LOGIN_FAILED: Code.UNAUTHENTICATED,
        Reason.REFRESH_TOKEN_INVALID: Code.UNAUTHENTICATED,
        Reason.REFRESH_TOKEN_REUSED: Code.UNAUTHENTICATED,
        Reason.EMAIL_TAKEN: Code.ALREADY_EXISTS,
        Reason.USER_NOT_FOUND: Code.NOT_FOUND,
        Reason.OVERLOADED: Code.RESOURCE_EXHAUSTED,
        Reason.DEPENDENCY_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.DEADLINE_TOO_SHORT: Code.DEADLINE_EXCEEDED,
        Reason.MODEL_NOT_FOUND: Code.NOT_FOUND,
        Reason.MODEL_NOT_IN_TIER: Code.PERMISSION_DENIED,
        Reason.INSUFFICIENT_CREDITS: Code.FAILED_PRECONDITION,
        Reason.QUEUE_FULL: Code.RESOURCE_EXHAUSTED,
        Reason.IDEMPOTENCY_KEY_REUSED: Code.ALREADY_EXISTS,
        Reason.JOB_NOT_FOUND: Code.NOT_FOUND,
        Reason.JOB_ALREADY_ENDED: Code.FAILED_PRECONDITION,
        Reason.EVENT_ID_INVALID: Code.INVALID_ARGUMENT,
        Reason.JOB_NOT_RUNNABLE: Code.FAILED_PRECONDITION,
        Reason.ATTEMPT_FENCED: Code.FAILED_PRECONDITION,
        Reason.ARTIFACT_MISSING: Code.FAILED_PRECONDITION,
        Reason.ARTIFACT_MISMATCH: Code.FAILED_PRECONDITION,
        Reason.IMAGE_NOT_FOUND: Code.NOT_FOUND,
        Reason.GRANT_CONFLICT: Code.ALREADY_EXISTS,
        Reason.HOLD_CONFLICT: Code.ALREADY_EXISTS,
        Reason.HOLD_NOT_FOUND: Code.NOT_FOUND,
        Reason.HOLD_CLOSED: Code.FAILED_PRECONDITION,
        Reason.PIPELINE_FAILED: Code.INTERNAL,
        Reason.INVALID_OUTPUT: Code.INTERNAL,
        Reason.OUT_OF_MEMORY: Code.RESOURCE_EXHAUSTED,
        Reason.MODEL_LOAD_FAILED: Code.INTERNAL,
        Reason.WORKER_LOST: Code.ABORTED,
        Reason.STORAGE_FAILED: Code.UNAVAILABLE,
        Reason.JOB_EXPIRED: Code.DEADLINE_EXCEEDED,
        Reason.REQUEST_MALFORMED: Code.INVALID_ARGUMENT,
        Reason.METHOD_NOT_FOUND: Code.UNIMPLEMENTED,
        Reason.REQUEST_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
        Reason.OPERATION_UNSUPPORTED: Code.FAILED_PRECONDITION,
        Reason.LORA_INCOMPATIBLE: Code.INVALID_ARGUMENT,
        Reason.SOURCE_NOT_FOUND: Code.NOT_FOUND,
        Reason.SOURCE_INVALID: Code.INVALID_ARGUMENT,
        Reason.CONTENT_REJECTED: Code.FAILED_PRECONDITION,
        Reason.MODEL_NOT_STORED: Code.FAILED_PRECONDITION,
        Reason.TOO_MANY_UPLOADS: Code.RESOURCE_EXHAUSTED,
        Reason.RATE_LIMITED: Code.RESOURCE_EXHAUSTED,
        Reason.PROMPT_NOTATION_UNSUPPORTED: Code.INVALID_ARGUMENT,
    }
)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks a rule; `field` is the path in the request, such as `text_to_image.width_px`."""

    field: str
    description: str


class ServiceError(Exception):
    """Refuses a call (or ends a job) for one of the known reasons.

    The message says what happened and what to do; it and the metadata reach the caller, so neither may hold a secret.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] = MappingProxyType({}),
        retry_after: timedelta | None = None,
        violations: Sequence[FieldViolation] = (),
    ) -> None:
        """Takes what the caller will see."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata)
        self.retry_after = retry_after
        self.violations = tuple(violations)

    @property
    def code(self) -> Code:
        """The gRPC code that belongs to the reason."""
        return CODES[self.reason]

    def __str__(self) -> str:
        """Returns the reason and the message, for logs."""
        return f"{self.reason}: {self.message}"


def invalid_field(field: str, description: str) -> ServiceError:
    """Returns the error for one field that breaks a rule which the contract can't state."""
    return ServiceError(
        Reason.INVALID_FIELD, f"{field}: {description}", violations=(FieldViolation(field, description),)
    )


def dependency_unavailable(dependency: str, message: str) -> ServiceError:
    """Returns the error for a part of the platform that doesn't answer."""
    return ServiceError(Reason.DEPENDENCY_UNAVAILABLE, message, metadata={"dependency": dependency})
