"""What a job asks of the true pipeline, and short ways to run it."""

from typing import Any

import numpy as np
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families import FAMILIES
from gpu_worker.render.interface import Pixels, RenderSpec, StepReport
from gpu_worker.render.pipeline import DiffusersPipeline

DRAWING_FAMILIES = ("tiny", "sd15", "sdxl", "flux", "zimage")
UPSCALER_FAMILIES = ("tiny", "sd_x2", "sd_x4")


def render_spec(model: ModelSpec, **changes: Any) -> RenderSpec:
    """Returns a small job for a model, with a source and a mask if its operation needs them."""
    operation = changes.get("operation", Operation.TEXT_TO_IMAGE)
    values: dict[str, Any] = {
        "model": model,
        "prompt": "a red fox in the snow",
        "negative_prompt": "blue",
        "width_px": 64,
        "height_px": 64,
        "step_count": 3,
        "guidance_scale": 4.0,
        "seed": 11,
        "image_count": 1,
        "scheduler": FAMILIES[model.family].schedulers[0],
    }
    if operation is not Operation.TEXT_TO_IMAGE:
        values["source"] = photograph(48, 48) if operation is Operation.UPSCALE else photograph(70, 90)
    if operation is Operation.INPAINT:
        values["mask"] = square_mask(70, 90)
    return RenderSpec(**values | changes)


def draw(pipeline: DiffusersPipeline, spec: RenderSpec) -> Pixels:
    """Renders the first picture of a job."""
    return pipeline.render(spec, ignore, never).images[0].pixels


def ignore(_report: StepReport) -> None:
    """Takes progress and does nothing with it."""


def never() -> bool:
    """Doesn't stop."""
    return False


def photograph(height: int, width: int) -> Pixels:
    """Returns a picture with soft and hard edges and some grain, nowhere black."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / 9), np.cos(columns / 7), np.sin((rows + columns) / 5)], axis=-1)
    picture = 128 + 70 * waves
    picture[height // 3 : height // 2, width // 4 : width // 2] = (220, 60, 40)
    picture += np.random.default_rng(5).normal(0, 4, picture.shape)
    return picture.clip(1, 255).astype(np.uint8)


def square_mask(height: int, width: int) -> Pixels:
    """Returns a mask that repaints a square in the middle."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
    return mask
