"""What a request of OpenAI's Images API asks for, read from JSON or from a form, in which every value is text.

Fields that mean nothing here (`user`, `moderation`, `style`, `quality`, `input_fidelity`) are taken and have no effect, and
so are unknown ones, as there. Of ours `seed`, `negative_prompt`, `steps`, `guidance_scale` and `strength` may come along.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pingvas.generation.v1 import generation_service_pb2, job_pb2

from edge_http.compat.fields import INT32_MAX, INT64_MAX, choice, flag, integer, number, text
from svc_common.errors import invalid_field

FORMATS: Final = ("png", "jpeg", "webp")
_ALIAS: Final = re.compile(r"(gpt-image|dall-e)-[\w.\-]+")
# What clients know by heart; each is the default model.
ALIASES: Final = (
    *("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
    *("dall-e-2", "dall-e-3"),
)
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")
_MOST_PARTIAL_IMAGES: Final = 3
_BEST: Final = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the pictures are to come."""

    as_url: bool
    streams: bool
    partial_images: int
    file_format: str
    quality: int


def wanted_of(fields: Mapping[str, Any]) -> Wanted:
    """Returns how the pictures are to come.

    Raises:
        ServiceError: INVALID_FIELD, for a value that isn't one of the parameter's.
    """
    if fields.get("background") == "transparent":
        raise invalid_field("background", "pictures are opaque; leave it out, or send auto or opaque")
    as_url = choice(fields, "response_format", ("b64_json", "url")) == "url"
    file_format = choice(fields, "output_format", FORMATS)
    return Wanted(
        as_url=as_url,
        streams=flag(fields, "stream"),
        partial_images=integer(fields, "partial_images", _MOST_PARTIAL_IMAGES) or 0,
        # An address leads to the picture as it is kept.
        file_format="png" if as_url else file_format,
        quality=_BEST if (quality := integer(fields, "output_compression", _BEST)) is None else quality,
    )


def text_to_image(fields: Mapping[str, Any]) -> generation_service_pb2.CreateJobRequest:
    """Returns the job that a request for a new picture asks for; its values are judged by the contract.

    Raises:
        ServiceError: INVALID_FIELD, for a value of another type.
    """
    return generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(**_common(fields)))


def edit(fields: Mapping[str, Any], source_id: str, mask_id: str | None) -> generation_service_pb2.CreateJobRequest:
    """Returns the job that a request for an edit asks for: inpainting with a mask, and without one image-to-image.

    Raises:
        ServiceError: INVALID_FIELD, for a value of another type.
    """
    source = job_pb2.ImageSource(upload_id=source_id)
    strength = number(fields, "strength")
    common = {**_common(fields), **({} if strength is None else {"strength": strength})}
    if mask_id is None:
        return generation_service_pb2.CreateJobRequest(image_to_image=job_pb2.ImageToImage(**common, source=source))
    mask = job_pb2.ImageSource(upload_id=mask_id)
    return generation_service_pb2.CreateJobRequest(inpaint=job_pb2.Inpaint(**common, source=source, mask=mask))


def is_alias(model: str) -> bool:
    """Returns whether a name is one of OpenAI's, which stands for the default model."""
    return _ALIAS.fullmatch(model) is not None


def content_of(fields: Mapping[str, Any]) -> bytes:
    """Returns the same bytes for the same fields, in whatever order they came."""
    return json.dumps(dict(fields), sort_keys=True, ensure_ascii=True, default=str).encode("ascii")


def _common(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that all operations have; what is absent is left to the contract."""
    width, height = _size(fields)
    model = text(fields, "model")
    common: dict[str, Any] = {
        "prompt": text(fields, "prompt"),
        "negative_prompt": text(fields, "negative_prompt"),
        "model_id": "" if is_alias(model) else model,
        "width_px": width,
        "height_px": height,
        "step_count": integer(fields, "steps", INT32_MAX) or 0,
        "image_count": 1 if (count := integer(fields, "n", INT32_MAX)) is None else count,
    }
    if common["image_count"] == 0:
        raise invalid_field("n", "must be at least 1")
    optional = {"seed": integer(fields, "seed", INT64_MAX), "guidance_scale": number(fields, "guidance_scale")}
    return {**common, **{name: value for name, value in optional.items() if value is not None}}


def _size(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Returns width and height, 0 for the model's own."""
    size = text(fields, "size")
    if size in ("", "auto"):
        return 0, 0
    found = _SIZE.fullmatch(size)
    if found is None or "0" in found.groups():
        raise invalid_field("size", "must be auto, or a width and a height such as 1024x768")
    return int(found[1]), int(found[2])
