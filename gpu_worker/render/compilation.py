"""Compiles denoisers by region: the kinds of block that a network repeats, each once for all its repetitions.

That takes seconds where the whole network takes minutes, and gains nearly as much. What was compiled is kept in a folder
beside the models, so that the next start reads it instead. Owns no model.
"""

import os
from pathlib import Path
from typing import Any, Final

import torch

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families.family import DrawingFamily
from gpu_worker.render.families.schedulers import make_scheduler
from gpu_worker.render.interface import RenderSpec
from gpu_worker.render.loaded_model import LoadedModel

CACHE_FOLDER: Final = ".compiled"
# Of one kind of block: each width of a U-Net, guided and unguided batches, and those again with LoRAs.
_VARIANTS: Final = 64
_REHEARSAL_SIDE_PX: Final = 512
_REHEARSAL_STEPS: Final = 2


def keep_compiled_in(models_dir: Path) -> None:
    """Sets where compiled code is kept, for all of the process; to be called before anything is compiled."""
    # Whether anybody has named a folder can't be told: torch writes its own choice there when it is imported.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(models_dir / CACHE_FOLDER)


def compile_blocks(pipe: Any, backend: str) -> None:
    """Marks the repeated blocks of a pipeline's denoiser to be compiled when they are first run.

    For all sizes of pictures at once: a size of its own each would compile as many times as users have ideas.
    """
    # Beyond the limit blocks would run uncompiled, without a word.
    torch._dynamo.config.recompile_limit = _VARIANTS  # noqa: SLF001 - the documented place of this setting
    denoiser = pipe.components.get("transformer") or pipe.components["unet"]
    denoiser.compile_repeated_blocks(backend=backend, dynamic=True)


def rehearse(model: LoadedModel, spec: ModelSpec) -> None:
    """Runs a few steps with guidance and without, so that no job waits for the compiler or pays for it."""
    family = model.family
    assert isinstance(family, DrawingFamily)  # noqa: S101 - for mypy: others are not compiled
    for guidance_scale in (2.0, 1.0):
        rehearsal = RenderSpec(
            model=spec,
            prompt="",
            negative_prompt="",
            width_px=_REHEARSAL_SIDE_PX,
            height_px=_REHEARSAL_SIDE_PX,
            step_count=_REHEARSAL_STEPS,
            guidance_scale=guidance_scale,
            seed=0,
            image_count=1,
            scheduler=family.schedulers[0],
        )
        model.pipe.scheduler = make_scheduler(rehearsal.scheduler, model.scheduler_config, _REHEARSAL_STEPS)
        model.pipe(**family.arguments(rehearsal), **family.encode(model.pipe, rehearsal), output_type="latent")
