"""What a refused call means to the person at the keyboard: what happened and which command helps."""

from collections.abc import Mapping

import grpc
from google.rpc import status_pb2

from studio.cli.failures import CommandError, ExitCode
from svc_common.errors import Reason, ServiceError
from svc_common.status import STATUS_DETAILS_KEY, from_status

_LOG_IN = "Log in again with `pingvas login EMAIL`."
_TRY_AGAIN = "Nothing was changed, or the repeat is safe: try again in a moment."

_ADVICE: Mapping[Reason, str] = {
    Reason.INTERNAL: "Try again; if it stays, report the error id {error_id} to the operator of this deployment.",
    Reason.INVALID_FIELD: "Correct what is named below.",
    Reason.TIER_LIMIT_EXCEEDED: "The tier {tier} allows {limit}: ask for less, or upgrade.",
    Reason.PAGE_TOKEN_INVALID: "Start the list again from its beginning.",
    Reason.CREDENTIALS_MISSING: "Log in with `pingvas login EMAIL`.",
    Reason.TOKEN_INVALID: _LOG_IN,
    Reason.TOKEN_EXPIRED: _LOG_IN,
    Reason.REFRESH_TOKEN_INVALID: _LOG_IN,
    Reason.REFRESH_TOKEN_REUSED: _LOG_IN,
    Reason.LOGIN_FAILED: "Check both, or register with `pingvas register EMAIL`.",
    Reason.EMAIL_TAKEN: "Log in with `pingvas login EMAIL`, or register another address.",
    Reason.USER_NOT_FOUND: "Check the address, or register it with `pingvas register EMAIL`.",
    Reason.OVERLOADED: "Try again in a moment.",
    Reason.DEPENDENCY_UNAVAILABLE: _TRY_AGAIN,
    Reason.DEADLINE_TOO_SHORT: _TRY_AGAIN,
    Reason.MODEL_NOT_FOUND: "Leave --model out to use the default model.",
    Reason.MODEL_NOT_IN_TIER: "It needs the tier {minimum_tier}: choose another model, or upgrade.",
    Reason.INSUFFICIENT_CREDITS: "You have {balance} credits and it costs {price}: ask for less, or get more credits "
    "(on a local stack: `pingvas admin grant EMAIL CREDITS`).",
    Reason.QUEUE_FULL: "The tier {tier} lets {limit} jobs wait: cancel one with `pingvas jobs cancel JOB_ID`.",
    Reason.JOB_NOT_FOUND: "`pingvas jobs list` shows your jobs.",
    Reason.JOB_ALREADY_ENDED: "There is nothing left to cancel.",
    Reason.IMAGE_NOT_FOUND: "`pingvas images list` shows your pictures.",
    Reason.OPERATION_UNSUPPORTED: "`pingvas models` shows which models can do it.",
    Reason.LORA_INCOMPATIBLE: "Leave the LoRA out, or choose a model of its family with --model.",
    Reason.SOURCE_NOT_FOUND: "`pingvas images list` shows your pictures; a file is uploaded when you name it.",
    Reason.SOURCE_INVALID: "Use a PNG, JPEG or WebP picture of one frame, at most 40 megapixels and 32 MiB.",
    Reason.RATE_LIMITED: "Try again in a moment.",
    Reason.PROMPT_NOTATION_UNSUPPORTED: "Change what is named below.",
    Reason.TOO_MANY_UPLOADS: "Wait until one of them expires, a day after it was made.",
}
_UNREACHABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def service_error(error: grpc.RpcError) -> ServiceError | None:
    """Returns what the platform said about a refused call, or None when somebody on the way refused it."""
    trailers = error.trailing_metadata() or ()
    for trailer in trailers:
        if trailer.key == STATUS_DETAILS_KEY and isinstance(trailer.value, bytes):
            return from_status(status_pb2.Status.FromString(trailer.value))
    return None


def command_error(error: grpc.RpcError, endpoint: str) -> CommandError:
    """Returns the failure of a command whose call was refused."""
    known = service_error(error)
    if known is not None:
        return _from_the_platform(known)
    code = error.code()
    if code in _UNREACHABLE_CODES:
        return CommandError(
            f"no answer from {endpoint} ({_first_line(error.details())})",
            advice="See whether it runs (`pingvas status` for the local stack) and whether --endpoint is right.",
            exit_code=ExitCode.UNREACHABLE,
        )
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return CommandError(f"{endpoint} does not accept this log-in ({_first_line(error.details())})", advice=_LOG_IN)
    return CommandError(
        f"{endpoint} answered {code.name}: {_first_line(error.details())}",
        advice="See whether --endpoint names a deployment of Pingvas Studio of this version.",
    )


def is_transient(error: grpc.RpcError) -> bool:
    """Returns whether the same call may succeed in a moment."""
    return bool(error.code() is grpc.StatusCode.UNAVAILABLE)


def _from_the_platform(error: ServiceError) -> CommandError:
    details = "\n".join(f"{violation.field}: {violation.description}" for violation in error.violations)
    unreachable = error.reason is Reason.DEPENDENCY_UNAVAILABLE
    # The message lists the fields again, which are shown below it.
    happened = "the request is not valid" if error.reason is Reason.INVALID_FIELD and details else error.message
    return CommandError(
        happened,
        advice=_advice(error),
        exit_code=ExitCode.UNREACHABLE if unreachable else ExitCode.REFUSED,
        details=details,
    )


def _advice(error: ServiceError) -> str:
    if error.retry_after is not None:
        return f"Try again in {error.retry_after.total_seconds():.0f} s."
    template = _ADVICE.get(error.reason)
    if template is None:
        return f"The reason is {error.reason}."
    try:
        return template.format(**error.metadata)
    except KeyError:
        # A server of another release sent other metadata; its message alone must do.
        return f"The reason is {error.reason}."


def _first_line(text: str | None) -> str:
    return (text or "no details").splitlines()[0]
