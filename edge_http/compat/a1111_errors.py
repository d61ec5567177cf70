"""Refusals as AUTOMATIC1111's API has them: 422 with a list of faults for fields, and otherwise a document of four texts."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Response

from edge_http.answers import JSON, encoded, http_status_of_reason
from svc_common.errors import Reason, ServiceError

_UNPROCESSABLE: Final = 422
_UNAUTHENTICATED: Final = 401
# A name of a field of ours -> the field that it came from. Those of theirs are told as they are.
_FIELDS: Final[Mapping[str, str]] = {
    "width_px": "width",
    "height_px": "height",
    "image_count": "batch_size",
    "step_count": "steps",
    "guidance_scale": "cfg_scale",
    "scheduler": "sampler_name",
    "strength": "denoising_strength",
    "model_id": "sd_model_checkpoint",
    "mask_feather_px": "mask_blur",
    "scale_factor": "upscaling_resize",
    "loras": "prompt",
}
# Fields of ours that hold a picture or name one.
_PICTURES: Final = frozenset({"image_id", "upload_id", "source", "picture", "init_images"})
_REASON_FIELDS: Final[Mapping[Reason, str]] = {
    Reason.LORA_INCOMPATIBLE: "prompt",
    Reason.PROMPT_NOTATION_UNSUPPORTED: "prompt",
}
# Of a field: told by its name. The others are told in words only.
_OF_FIELDS: Final = frozenset(
    {Reason.INVALID_FIELD, Reason.TIER_LIMIT_EXCEEDED, Reason.SOURCE_INVALID, *_REASON_FIELDS}
)


def refused(error: ServiceError, picture: str = "init_images") -> Response:
    """Returns the answer for a refusal; `picture` is the field that a request has its picture in."""
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(int(error.retry_after.total_seconds()) + 1)
    if error.reason in _OF_FIELDS:
        return Response(encoded({"detail": _faults(error, picture)}), _UNPROCESSABLE, headers, JSON)
    status = http_status_of_reason(error.reason)
    if status == _UNAUTHENTICATED:
        headers["www-authenticate"] = "Basic"
    document = {"error": error.reason.value, "detail": error.message, "body": "", "errors": error.message}
    return Response(encoded(document), status, headers, JSON)


def _faults(error: ServiceError, picture: str) -> list[dict[str, Any]]:
    """Returns a fault for each field, as FastAPI has them."""
    found = [(_field(each.field, picture), each.description) for each in error.violations]
    if not found:
        path = error.metadata.get("field", "")
        found = [(_field(path, picture) if path else _REASON_FIELDS.get(error.reason, picture), error.message)]
    return [{"loc": ["body", field], "msg": words, "type": "value_error"} for field, words in found]


def _field(path: str, picture: str) -> str:
    """Returns the field of theirs that a path of ours came from."""
    parts = [part.partition("[")[0] for part in path.split(".")]
    if "mask" in parts:
        return "mask"
    if "loras" in parts:
        return "prompt"
    if not _PICTURES.isdisjoint(parts):
        return picture
    return next((_FIELDS.get(part, part) for part in reversed(parts) if part), "")
