"""What a request of AUTOMATIC1111's API asks for. What is absent or unknown there is left to the model, or has no effect.

A value that can't be had is refused, and so is what would make another picture than the one that was asked for; settings of
effects that aren't here are taken, and told in the answer.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from pingvas.generation.v1 import generation_service_pb2, job_pb2

from edge_http.compat.a1111_samplers import has_own_spacing, scheduler_of
from edge_http.compat.fields import INT32_MAX, INT64_MAX, flag, integer, number, text
from svc_common.decoding import MAX_BYTES
from svc_common.errors import invalid_field

DEFAULT_MODEL: Final = "default"
"""Stands for the platform's default model: which that is, the bridge doesn't know."""
CHECKPOINT: Final = "sd_model_checkpoint"
SCALES: Final = (2, 4)
_NO_UPSCALER: Final = frozenset({"", "none"})
# "name [hash]", as their titles are.
_TITLE: Final = re.compile(r"(.*?)(?: \[[0-9a-fA-F]+\])?")
_DATA_URL: Final = re.compile(r"data:image/[\w.+-]+;base64,")
_LONGEST: Final = 4 * -(-MAX_BYTES // 3)
# Settings without effect here, and the values of theirs that have none there either.
_WITHOUT_EFFECT: Final[Mapping[str, tuple[object, ...]]] = {
    "restore_faces": (None, False),
    "tiling": (None, False),
    "styles": (None, []),
    "subseed_strength": (None, 0),
    "refiner_checkpoint": (None, "", "None"),
}
_WITHOUT_EFFECT_ON_PICTURES: Final[Mapping[str, tuple[object, ...]]] = {
    "resize_mode": (None, 0, 1),
    "inpainting_fill": (None, 1),
    "inpaint_full_res": (None, False),
}


def text_to_image(fields: Mapping[str, Any], chosen: str) -> generation_service_pb2.CreateJobRequest:
    """Returns the job that a request for a new picture asks for; `chosen` is the model where it names none.

    Raises:
        ServiceError: INVALID_FIELD. Ranges are judged by the contract.
    """
    operation = job_pb2.TextToImage(**_common(fields, chosen))
    return generation_service_pb2.CreateJobRequest(text_to_image=operation)


def image_to_image(
    fields: Mapping[str, Any], chosen: str, source_id: str, mask_id: str | None
) -> generation_service_pb2.CreateJobRequest:
    """Returns the job that a request with a picture asks for: inpainting with a mask, and without one image-to-image.

    Raises:
        ServiceError: INVALID_FIELD. Ranges are judged by the contract.
    """
    source = job_pb2.ImageSource(upload_id=source_id)
    strength = number(fields, "denoising_strength")
    common = {**_common(fields, chosen), **({} if strength is None else {"strength": strength})}
    if mask_id is None:
        return generation_service_pb2.CreateJobRequest(image_to_image=job_pb2.ImageToImage(**common, source=source))
    # Theirs is the sigma of a blur, which softens about two of it to each side of the edge.
    blur = integer(fields, "mask_blur", INT32_MAX // 2)
    feather: dict[str, Any] = {} if blur is None else {"mask_feather_px": 2 * blur}
    mask = job_pb2.ImageSource(upload_id=mask_id)
    return generation_service_pb2.CreateJobRequest(
        inpaint=job_pb2.Inpaint(**common, **feather, source=source, mask=mask)
    )


def upscale(fields: Mapping[str, Any], source_id: str) -> generation_service_pb2.CreateJobRequest:
    """Returns the job that a request for a larger picture asks for."""
    source = job_pb2.ImageSource(upload_id=source_id)
    operation = job_pb2.Upscale(model_id=upscaler_of(fields), scale_factor=scale_of(fields), source=source)
    return generation_service_pb2.CreateJobRequest(upscale=operation)


def upscaler_of(fields: Mapping[str, Any]) -> str:
    """Returns the model that makes a picture larger.

    Raises:
        ServiceError: INVALID_FIELD, for none, which would give the picture back as it is.
    """
    name = text(fields, "upscaler_1")
    if name.lower() in _NO_UPSCALER:
        raise invalid_field("upscaler_1", "name one of /sdapi/v1/upscalers")
    return name


def scale_of(fields: Mapping[str, Any]) -> int:
    """Returns how many times as large a picture becomes.

    Raises:
        ServiceError: INVALID_FIELD, for a factor that isn't here.
    """
    if integer(fields, "resize_mode", INT32_MAX):
        raise invalid_field("resize_mode", "must be 0: pictures are made larger by a factor, not to a size")
    factor = number(fields, "upscaling_resize")
    if factor is None:
        return SCALES[0]
    if factor not in SCALES:
        raise invalid_field("upscaling_resize", "must be 2 or 4")
    return int(factor)


def model_of(name: str) -> str:
    """Returns the id of a model by the name or the title that they know it by; empty for the default one."""
    found = _TITLE.fullmatch(name.strip())
    plain = found[1] if found else name
    return "" if plain.lower() == DEFAULT_MODEL else plain


def source_of(fields: Mapping[str, Any]) -> bytes:
    """Returns the picture to begin with.

    Raises:
        ServiceError: INVALID_FIELD, for none, several, or one that isn't base64.
    """
    sources = fields.get("init_images")
    if not isinstance(sources, list) or len(sources) != 1:
        raise invalid_field("init_images", "must be a list of one picture")
    return picture_of(sources[0], "init_images")


def picture_of(value: object, field: str) -> bytes:
    """Returns the bytes of a picture in base64, which may be a `data:` address.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    if not isinstance(value, str) or not value:
        raise invalid_field(field, "must be a picture in base64")
    if value.startswith(("http://", "https://")):
        raise invalid_field(field, "addresses aren't fetched; send the picture in base64")
    head = _DATA_URL.match(value)
    encoded = value[head.end() :] if head else value
    if len(encoded) > _LONGEST:
        raise invalid_field(field, f"must be at most {MAX_BYTES:,} bytes")
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_field(field, "isn't base64") from error


def ignored_in(fields: Mapping[str, Any]) -> list[str]:
    """Returns which settings of a request have no effect here, though they would have one there."""
    tables = (_WITHOUT_EFFECT, _WITHOUT_EFFECT_ON_PICTURES if "init_images" in fields else {})
    found = [name for table in tables for name, plain in table.items() if fields.get(name) not in plain]
    if not has_own_spacing(_sampler(fields)[1], text(fields, "scheduler")):
        found.append("scheduler")
    for group in ("alwayson_scripts", "override_settings"):
        inner = fields.get(group)
        found += [f"{group}.{name}"[:200] for name in inner if name != CHECKPOINT] if isinstance(inner, dict) else []
    return found[:100]


def _common(fields: Mapping[str, Any], chosen: str) -> dict[str, Any]:
    """Returns the fields that all drawing operations have."""
    if flag(fields, "enable_hr"):
        words = "there is no second pass here; send the picture to /sdapi/v1/extra-single-image to have it larger"
        raise invalid_field("enable_hr", words)
    if text(fields, "script_name").lower() not in ("", "none"):
        raise invalid_field("script_name", "there are no scripts here")
    field, sampler = _sampler(fields)
    common: dict[str, Any] = {
        "prompt": text(fields, "prompt"),
        "negative_prompt": text(fields, "negative_prompt"),
        "model_id": _checkpoint(fields, chosen),
        "width_px": integer(fields, "width", INT32_MAX) or 0,
        "height_px": integer(fields, "height", INT32_MAX) or 0,
        "step_count": integer(fields, "steps", INT32_MAX) or 0,
        "image_count": min(_count(fields, "batch_size") * _count(fields, "n_iter"), INT32_MAX),
        "scheduler": scheduler_of(sampler, field),
    }
    seed = integer(fields, "seed", INT64_MAX)
    # Theirs is drawn for -1.
    optional = {"seed": None if seed == -1 else seed, "guidance_scale": number(fields, "cfg_scale")}
    return {**common, **{name: value for name, value in optional.items() if value is not None}}


def _checkpoint(fields: Mapping[str, Any], chosen: str) -> str:
    overrides = fields.get("override_settings") or {}
    if not isinstance(overrides, dict):
        raise invalid_field("override_settings", "must be an object")
    return model_of(text(overrides, CHECKPOINT)) if overrides.get(CHECKPOINT) else chosen


def _sampler(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the field that names the sampler, and the name; `sampler_index` is the older one."""
    field = "sampler_name" if fields.get("sampler_name") else "sampler_index"
    return field, text(fields, field)


def _count(fields: Mapping[str, Any], name: str) -> int:
    count = integer(fields, name, INT32_MAX)
    if count is not None and count < 1:
        raise invalid_field(name, "must be at least 1")
    return count or 1
