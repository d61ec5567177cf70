"""The one way to fail: one exception, for one of the contract's closed list of reasons.

Knows neither gRPC nor protobuf, so that domain code may raise these errors. Turning them into google.rpc.Status and back is
left to the server's and the client's interceptors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from pingvas.vocabulary import CODES, Code, Reason

__all__ = [
    "CODES",
    "ERROR_DOMAIN",
    "PAYMENT_REQUIRED",
    "Code",
    "FieldViolation",
    "Reason",
    "ServiceError",
    "deadline_too_short",
    "dependency_unavailable",
    "invalid_field",
]

ERROR_DOMAIN: Final = "pingvas.studio"

PAYMENT_REQUIRED: Final = frozenset({Reason.INSUFFICIENT_CREDITS, Reason.PAYMENT_OVERDUE})
"""Reasons that are answered 402 over HTTP, for which gRPC has no code."""


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


def deadline_too_short(path: str) -> ServiceError:
    """Returns the error of a call that has no time left."""
    return ServiceError(
        Reason.DEADLINE_TOO_SHORT,
        "The call's deadline left no time to do its work. Repeat it with a longer one.",
        metadata={"method": path},
    )
