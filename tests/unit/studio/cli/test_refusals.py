"""How a refused call is told: by the platform's own reasons, and by whoever stood in the way."""

import datetime as dt

import grpc
import pytest
from pingvas_sdk.errors import error_of

from studio.cli.failures import CommandError, ExitCode
from studio.cli.refusals import command_error
from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_common.status import STATUS_DETAILS_KEY, to_status


class _Refusal(grpc.RpcError):
    """A refusal as the gRPC client raises it."""

    def __init__(self, code: grpc.StatusCode, details: str, error: ServiceError | None = None) -> None:
        self._code, self._details = code, details
        self._trailers = ((STATUS_DETAILS_KEY, to_status(error).SerializeToString()),) if error else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._trailers


def told_of(refusal: _Refusal, endpoint: str = "host") -> CommandError:
    return command_error(error_of(refusal, endpoint), endpoint)


def _refusal(error: ServiceError) -> _Refusal:
    return _Refusal(grpc.StatusCode[error.code.name], error.message, error)


def test_too_few_credits_are_told_with_both_amounts() -> None:
    error = ServiceError(
        Reason.INSUFFICIENT_CREDITS,
        "The balance does not cover the price.",
        metadata={"balance": "1.250", "price": "2.000"},
    )
    told = told_of(_refusal(error), "host")
    assert told.happened == "The balance does not cover the price."
    assert told.advice == (
        "You have 1.250 credits and it costs 2.000: ask for less, or get more credits "
        "(on a local stack: `pingvas admin grant EMAIL CREDITS`)."
    )
    assert told.exit_code == ExitCode.REFUSED


def test_invalid_fields_are_listed() -> None:
    violations = [
        FieldViolation("text_to_image.width_px", "must be a multiple of 8"),
        FieldViolation("x", "must not be"),
    ]
    told = told_of(
        _refusal(ServiceError(Reason.INVALID_FIELD, "Two fields are invalid.", violations=violations)), "host"
    )
    assert told.details.splitlines() == ["text_to_image.width_px: must be a multiple of 8", "x: must not be"]


def test_time_to_wait_is_told_when_the_server_gives_one() -> None:
    error = ServiceError(Reason.QUEUE_FULL, "Five jobs wait.", retry_after=dt.timedelta(seconds=12))
    assert told_of(_refusal(error), "host").advice == "Try again in 12 s."


def test_missing_part_of_the_platform_counts_as_unreachable() -> None:
    error = ServiceError(
        Reason.DEPENDENCY_UNAVAILABLE, "PostgreSQL does not answer.", metadata={"dependency": "postgresql"}
    )
    assert told_of(_refusal(error), "host").exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_advice_even_without_its_metadata(reason: Reason) -> None:
    told = told_of(_refusal(ServiceError(reason, "Something happened.")), "host")
    assert told.advice
    assert "{" not in told.advice


def test_silent_deployment_is_unreachable_and_named() -> None:
    told = told_of(_Refusal(grpc.StatusCode.UNAVAILABLE, "connection refused\nmore"), "10.0.0.5:8080")
    assert told.happened == "no answer from 10.0.0.5:8080 (connection refused)"
    assert told.exit_code == ExitCode.UNREACHABLE


def test_token_refused_by_the_edge_asks_to_log_in() -> None:
    told = told_of(_Refusal(grpc.StatusCode.UNAUTHENTICATED, "Jwt is expired"), "host")
    assert "pingvas login" in told.advice


def test_program_that_is_no_deployment_is_named() -> None:
    told = told_of(_Refusal(grpc.StatusCode.UNIMPLEMENTED, ""), "host:1234")
    assert told.happened.startswith("host:1234 answered UNIMPLEMENTED")
