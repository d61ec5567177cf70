"""Names the known field that an unknown one was probably meant to be."""

import difflib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

# What other image tools call the same thing (AUTOMATIC1111, ComfyUI, diffusers, OpenAI). Written here as data: their
# spelling is too far from ours for likeness to find it.
_NAMES_ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "batch_count": "image_count",
        "batch_size": "image_count",
        "cfg": "guidance_scale",
        "cfg_scale": "guidance_scale",
        "checkpoint": "model_id",
        "denoise": "strength",
        "denoising_strength": "strength",
        "height": "height_px",
        "init_image": "source",
        "init_images": "source",
        "mask_blur": "mask_feather_px",
        "mask_image": "mask",
        "model": "model_id",
        "n": "image_count",
        "n_iter": "image_count",
        "num_images": "image_count",
        "num_images_per_prompt": "image_count",
        "num_inference_steps": "step_count",
        "num_outputs": "image_count",
        "sampler": "scheduler",
        "sampler_index": "scheduler",
        "sampler_name": "scheduler",
        "sd_model_checkpoint": "model_id",
        "steps": "step_count",
        "upscaling_resize": "scale_factor",
        "width": "width_px",
    }
)


def nearest(name: str, known: Collection[str]) -> str | None:
    """Returns the known name that was probably meant, or None when none is like it."""
    elsewhere = _NAMES_ELSEWHERE.get(name.lower())
    if elsewhere in known:
        return elsewhere
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None
