"""Models as the pipeline has them: in host memory as read from disk, and on the device ready to render.

Owns what is made once for each loaded model (the preview map, pipelines of other operations, LoRAs). Leaves when models
come and go to `residency`, and what differs between families to `families`.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpu_worker.families import family_named
from gpu_worker.families.family import DrawingFamily, Family
from gpu_worker.families.latent_rgb import LatentRgb
from gpu_worker.families.loading import UPSCALER_FOLDER, weights_bytes
from gpu_worker.families.loras import LoraAdapters
from gpu_worker.families.placement import align, copy_to, pin
from gpu_worker.model_files import ModelSpec, verify_files
from gpu_worker.rendering import Operation
from gpu_worker.super_resolution import SuperResolution, load_super_resolution


@dataclass(frozen=True, slots=True)
class HostModel:
    """A model in host memory."""

    spec: ModelSpec
    family: Family
    pipe: Any
    folder: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device, ready to render. For the render thread."""

    family: Family
    pipe: Any
    dtype: torch.dtype
    scheduler_config: Any
    """Of the model's own scheduler, kept because each render puts another one into its pipeline."""
    latent_rgb: LatentRgb | None
    adapters: LoraAdapters
    super_resolution: SuperResolution | None
    pipes: dict[Operation, Any] = field(default_factory=dict)

    def pipe_for(self, operation: Operation) -> Any:
        """Returns the pipeline of an operation, made of the parts of the one that was loaded."""
        if not isinstance(self.family, DrawingFamily):
            return self.pipe
        if operation not in self.pipes:
            self.pipes[operation] = self.family.pipe_for(self.pipe, operation)
        return self.pipes[operation]


def load_model(spec: ModelSpec, models_dir: Path, device: torch.device) -> HostModel:
    """Loads a model into host memory, pinned if it is for a GPU, else aligned for the processor.

    Raises:
        ModelFilesError: its files are absent or not what the specification says.
        UnsupportedRequestError: its family is unknown.

    """
    family = family_named(spec.family)
    folder = spec.folder(models_dir)
    verify_files(folder, spec.files)
    pipe = family.load(folder, family.dtype(device))
    if device.type == "cuda":
        pin(pipe)
    else:
        align(pipe)
    return HostModel(spec, family, pipe, folder, weights_bytes(pipe))


def place_model(
    host: HostModel, device: torch.device, models_dir: Path, loading_lock: AbstractContextManager[Any]
) -> LoadedModel:
    """Brings a model to its device; where that is the processor itself, nothing is copied."""
    pipe = host.pipe if device.type == "cpu" else copy_to(host.pipe, device)
    upscaler = host.folder / UPSCALER_FOLDER
    with torch.inference_mode():
        latent_rgb = host.family.latent_rgb(pipe)
    return LoadedModel(
        family=host.family,
        pipe=pipe,
        dtype=host.family.dtype(device),
        scheduler_config=pipe.scheduler.config,
        latent_rgb=latent_rgb,
        adapters=LoraAdapters(pipe, host.spec.family, models_dir, loading_lock),
        super_resolution=load_super_resolution(upscaler, device) if upscaler.is_dir() else None,
    )
