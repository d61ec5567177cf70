"""Refusals as OpenAI's API has them: `{"error": {"message", "type", "code", "param"}}`, and what its clients may repeat."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Response

from edge_http.answers import JSON, encoded, http_status_of_reason
from svc_common.errors import Reason, ServiceError

# What clients look for by name; other reasons are told in our own names.
_CODES: Final[Mapping[Reason, str]] = {
    Reason.CREDENTIALS_MISSING: "invalid_api_key",
    Reason.TOKEN_INVALID: "invalid_api_key",
    Reason.TOKEN_EXPIRED: "invalid_api_key",
    Reason.API_KEY_INVALID: "invalid_api_key",
    Reason.MODEL_NOT_FOUND: "model_not_found",
    Reason.INSUFFICIENT_CREDITS: "insufficient_quota",
    Reason.CONTENT_REJECTED: "moderation_blocked",
    Reason.RATE_LIMITED: "rate_limit_exceeded",
    Reason.QUEUE_FULL: "rate_limit_exceeded",
    Reason.OVERLOADED: "rate_limit_exceeded",
    Reason.INVALID_FIELD: "invalid_value",
    Reason.REQUEST_MALFORMED: "invalid_request",
    Reason.METHOD_NOT_FOUND: "unknown_url",
}
# Where OpenAI has another status for the same thing, or its clients would repeat a call in vain.
_STATUSES: Final[Mapping[Reason, int]] = {
    Reason.INSUFFICIENT_CREDITS: 429,
    Reason.OUT_OF_MEMORY: 400,
    Reason.WORKER_LOST: 500,
}
_TYPES: Final[Mapping[int, str]] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_SERVER: Final = 500
_CONFLICT: Final = 409
# The last part of a field's path -> the parameter that it came from.
_PARAMETERS: Final[Mapping[str, str]] = {
    "width_px": "size",
    "height_px": "size",
    "image_count": "n",
    "model_id": "model",
    "step_count": "steps",
    "source": "image",
    "image_id": "image",
    "upload_id": "image",
}


def refused(error: ServiceError) -> Response:
    """Returns the answer for a refusal."""
    status = status_of(error)
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(int(error.retry_after.total_seconds()) + 1)
    # Clients repeat 409 and 429 by themselves; these stay what they are.
    if status == _CONFLICT or error.reason is Reason.INSUFFICIENT_CREDITS:
        headers["x-should-retry"] = "false"
    return Response(encoded(document_of(error)), status, headers, JSON)


def document_of(error: ServiceError) -> dict[str, Any]:
    """Returns the body for a refusal; in a stream it is the last event."""
    code = _CODES.get(error.reason, error.reason.value.lower())
    kind = _TYPES.get(status_of(error), "server_error" if status_of(error) >= _SERVER else "invalid_request_error")
    if error.reason is Reason.INSUFFICIENT_CREDITS:
        kind = code
    return {"error": {"message": error.message, "type": kind, "code": code, "param": _parameter(error)}}


def status_of(error: ServiceError) -> int:
    """Returns the HTTP status of a refusal."""
    return _STATUSES.get(error.reason) or http_status_of_reason(error.reason)


def _parameter(error: ServiceError) -> str | None:
    """Returns the parameter at fault, if one is."""
    if error.reason in (Reason.MODEL_NOT_FOUND, Reason.MODEL_NOT_IN_TIER, Reason.OPERATION_UNSUPPORTED):
        return "model"
    paths = [each.field for each in error.violations] or [error.metadata.get("field", "")]
    parts = paths[0].split(".")
    if "mask" in parts:
        return "mask"
    name = next((part for part in reversed(parts) if part), None)
    return _PARAMETERS.get(name, name) if name else None
