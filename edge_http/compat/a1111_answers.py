"""What AUTOMATIC1111's API tells of a job: while it goes on, and in `info` and `infotexts` when it is done."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pingvas.generation.v1 import job_pb2, recipe_pb2

from edge_http.compat.a1111_requests import DEFAULT_MODEL
from edge_http.compat.a1111_samplers import OWN, name_of
from edge_http.compat.jobs import Begun

_VERSION: Final = "Pingvas Studio"
_TIME: Final = "%Y%m%d%H%M%S"
# Of a job that a worker hasn't begun: what is 0 is idle to their clients.
_LEAST_PROGRESS: Final = 0.01
NOTHING_RECALLED: Final[dict[str, Any]] = {"info": "", "items": {}, "parameters": {}}
# What is given back of a request: programs send more along, their user's password among it. Pictures stay out.
_TOLD: Final = (
    *("prompt", "negative_prompt", "styles", "seed", "subseed", "subseed_strength", "sampler_name", "sampler_index"),
    *("scheduler", "batch_size", "n_iter", "steps", "cfg_scale", "width", "height", "restore_faces", "tiling"),
    *(
        "denoising_strength",
        "mask_blur",
        "inpainting_mask_invert",
        "inpainting_fill",
        "inpaint_full_res",
        "resize_mode",
    ),
    *("enable_hr", "script_name", "send_images", "save_images", "override_settings"),
)

Drawing = job_pb2.TextToImage | job_pb2.ImageToImage | job_pb2.Inpaint


def drawing_of(holder: job_pb2.Job | recipe_pb2.Recipe) -> Drawing | None:
    """Returns the operation that draws from a prompt, or None for one that doesn't."""
    kind = holder.WhichOneof("operation")
    if kind not in ("text_to_image", "image_to_image", "inpaint"):
        return None
    found: Drawing = getattr(holder, kind)
    return found


def progress(open_jobs: list[Begun], current_image: str | None) -> dict[str, Any]:
    """Returns how far the oldest of a caller's open jobs is; without one, that there is nothing to do."""
    first = open_jobs[0] if open_jobs else None
    done = first.progress if first else None
    state: dict[str, Any] = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": first.request.url.path.rpartition("/")[2] if first else "",
        "job_count": len(open_jobs),
        "job_timestamp": datetime.now(UTC).strftime(_TIME),
        "job_no": 0,
        "sampling_step": done.step if done else 0,
        "sampling_steps": done.step_count if done else 0,
    }
    waits = first.queued if first else None
    return {
        "progress": 0.0 if first is None else max(_LEAST_PROGRESS, (done.percent if done else 0) / 100),
        "eta_relative": done.seconds_left if done else waits.estimated_wait_seconds if waits else 0.0,
        "state": state,
        "current_image": current_image,
        "textinfo": f"Waiting, {waits.position} before it" if waits else None,
    }


def parameters(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what was asked for, as far as this API has it."""
    return {name: fields[name] for name in _TOLD if name in fields}


def info(fields: Mapping[str, Any], drawn: Drawing, images: list[job_pb2.JobImage], ignored: list[str]) -> str:
    """Returns what became of a request, as JSON in a text."""
    seeds = [image.seed for image in images]
    # As it was written: in the job its LoRAs stand elsewhere.
    prompt, negative = str(fields.get("prompt") or ""), drawn.negative_prompt
    count = len(images)
    strength = _strength(drawn)
    document = {
        "prompt": prompt,
        "all_prompts": [prompt] * count,
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": images[0].width_px,
        "height": images[0].height_px,
        "sampler_name": name_of(drawn.scheduler),
        "cfg_scale": drawn.guidance_scale,
        "steps": drawn.step_count,
        "batch_size": count,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": drawn.model_id,
        "sd_model_hash": "",
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [_infotext(prompt, drawn, image.seed, image.width_px, image.height_px) for image in images],
        "styles": [],
        "job_timestamp": datetime.now(UTC).strftime(_TIME),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": _VERSION,
        # Ours: settings that had no effect.
        "ignored": ignored,
    }
    return json.dumps(document, ensure_ascii=False)


def recalled(recipe: recipe_pb2.Recipe) -> dict[str, Any]:
    """Returns what a picture's notes tell."""
    drawn = drawing_of(recipe)
    if drawn is None:
        return NOTHING_RECALLED
    seed = drawn.seed if drawn.HasField("seed") else None
    known = dict(_settings(drawn, seed, drawn.width_px, drawn.height_px))
    told = {"Prompt": drawn.prompt, "Negative prompt": drawn.negative_prompt, **known}
    if "Size" in told:
        width, _, height = told.pop("Size").partition("x")
        told |= {"Size-1": width, "Size-2": height}
    text = _infotext(drawn.prompt, drawn, seed, drawn.width_px, drawn.height_px)
    return {"info": text, "items": {"parameters": text}, "parameters": told}


def _infotext(prompt: str, drawn: Drawing, seed: int | None, width_px: int, height_px: int) -> str:
    settings = _settings(drawn, seed, width_px, height_px)
    line = ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items())
    negative = f"Negative prompt: {drawn.negative_prompt}\n" if drawn.negative_prompt else ""
    return f"{prompt}\n{negative}{line}"


def _settings(drawn: Drawing, seed: int | None, width_px: int, height_px: int) -> dict[str, str]:
    """Returns the settings that are known, in their order."""
    guidance = f"{drawn.guidance_scale:g}" if drawn.HasField("guidance_scale") else ""
    strength = _strength(drawn)
    found = {
        "Steps": str(drawn.step_count or ""),
        "Sampler": name_of(drawn.scheduler),
        "Schedule type": OWN if drawn.scheduler else "",
        "CFG scale": guidance,
        "Seed": "" if seed is None else str(seed),
        "Size": f"{width_px}x{height_px}" if width_px and height_px else "",
        "Model": drawn.model_id or DEFAULT_MODEL,
        "Denoising strength": "" if strength is None else f"{strength:g}",
        "Version": _VERSION,
    }
    return {name: value for name, value in found.items() if value}


def _strength(drawn: Drawing) -> float | None:
    """Returns how much of a source may change. Told by the name: an answer's class isn't the generated one."""
    has_one = "strength" in drawn.DESCRIPTOR.fields_by_name and drawn.HasField("strength")  # type: ignore[arg-type]
    return float(getattr(drawn, "strength")) if has_one else None  # noqa: B009 - a prompt alone has none


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",:\n") else value
