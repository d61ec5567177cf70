"""Renders prompts with an exported model, as its users do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from training.loop import choose_device

STEPS: Final = 20
GUIDANCE: Final = 3.0


def load_model(folder: Path) -> StableDiffusionPipeline:
    """Returns the pipeline of a model's folder, in single precision."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(choose_device())


def render(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], guidance: float = GUIDANCE
) -> list[np.ndarray]:
    """Returns a picture, (256, 256, 3) of bytes, for each prompt."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    images = pipeline(
        list(prompts), num_inference_steps=STEPS, guidance_scale=guidance, generator=generators, output_type="np"
    ).images
    return list((images * 255).round().astype(np.uint8))
