"""Models as the pipeline has them: in host memory as read from disk, and on the device ready to render.

Owns what is made once for each loaded model (the preview map, pipelines of other operations, LoRAs). Leaves when models
come and go to `residency`, and what differs between families to `families`.
"""

import contextlib
import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pingvas.vocabulary import Operation

from gpu_worker.models.checkpoint_files.fitting import DRAWING, drawing_operations
from gpu_worker.models.checkpoint_files.header import CheckpointError
from gpu_worker.models.checkpoint_files.survey import survey
from gpu_worker.models.files import ModelFilesError, ModelSpec, ModelUnusableError, verify_files
from gpu_worker.render.families import family_named
from gpu_worker.render.families.family import DrawingFamily, Family
from gpu_worker.render.families.latent_rgb import LatentRgb
from gpu_worker.render.families.loading import UPSCALER_FOLDER, refuse_broken_numbers, weights_bytes
from gpu_worker.render.families.loras import LoraAdapters
from gpu_worker.render.families.memory import is_out_of_memory
from gpu_worker.render.families.placement import align, copy_to, pin
from gpu_worker.render.super_resolution import SuperResolution, load_super_resolution


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

    spec: ModelSpec
    family: Family
    pipe: Any
    dtype: torch.dtype
    scheduler_config: Any
    """Of the model's own scheduler, kept because each render puts another one into its pipeline."""
    latent_rgb: LatentRgb | None
    adapters: LoraAdapters
    super_resolution: SuperResolution | None
    pipes: dict[Operation, Any] = field(default_factory=dict)
    proven: set[Operation] = field(default_factory=set)
    """Operations that have made a valid picture: what fails afterwards isn't the model's fault."""

    @property
    def operations(self) -> frozenset[Operation]:
        """What the model can do: of what its family does, that which the inputs of its denoiser allow."""
        if not isinstance(self.family, DrawingFamily):
            return self.family.operations
        parts = self.pipe.components
        denoiser = parts.get("transformer") or parts["unet"]
        channels, latent = denoiser.config.in_channels, self.pipe.vae.config.latent_channels
        impossible = DRAWING - drawing_operations(self.spec.family, channels, latent)
        return frozenset(operation for operation in self.family.operations if operation not in impossible)

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
        ModelUnusableError: they are what it says, but no model.
        UnsupportedRequestError: its family is unknown.

    """
    family = family_named(spec.family)
    folder = spec.folder(models_dir)
    verify_files(folder, spec.files)
    with blaming(spec):
        survey(folder, spec.family)
        pipe = family.load(folder, family.dtype(device))
    if device.type == "cuda":
        pin(pipe)
    else:
        align(pipe)
    return HostModel(spec, family, pipe, folder, weights_bytes(pipe))


def place_model(
    host: HostModel, device: torch.device, models_dir: Path, loading_lock: AbstractContextManager[Any]
) -> LoadedModel:
    """Brings a model to its device; where that is the processor itself, nothing is copied.

    Raises ModelUnusableError when its decoder or its upscaler can't be used, or a number in it isn't finite.
    """
    pipe = host.pipe if device.type == "cpu" else copy_to(host.pipe, device)
    with blaming(host.spec), torch.inference_mode():
        refuse_broken_numbers(pipe)
        latent_rgb = host.family.latent_rgb(pipe)
        super_resolution = _super_resolution(host.folder / UPSCALER_FOLDER, device)
    return LoadedModel(
        spec=host.spec,
        family=host.family,
        pipe=pipe,
        dtype=host.family.dtype(device),
        scheduler_config=pipe.scheduler.config,
        latent_rgb=latent_rgb,
        adapters=LoraAdapters(pipe, host.spec.family, models_dir, loading_lock),
        super_resolution=super_resolution,
    )


@contextlib.contextmanager
def blaming(spec: ModelSpec) -> Iterator[None]:
    """A context in which whatever fails is the model's fault, but for memory, disks and devices.

    Raises ModelUnusableError, or ModelFilesError for files that can't be read.
    """
    try:
        yield
    except (ModelUnusableError, ModelFilesError):
        raise
    except CheckpointError as error:
        raise ModelUnusableError(spec.model_id, str(error)) from error
    except Exception as error:
        if is_of_the_machine(error):
            raise
        if isinstance(error, OSError) and error.errno not in {None, errno.ENOENT}:
            raise ModelFilesError(f"the files of {spec.model_id} can't be read: {error.strerror}") from error
        raise ModelUnusableError(spec.model_id, f"{type(error).__name__}: {error}") from error


def is_of_the_machine(error: Exception) -> bool:
    """Tells whether an error is of the memory or the device, and not of what was computed."""
    return is_out_of_memory(error) or isinstance(error, torch.AcceleratorError)


def _super_resolution(folder: Path, device: torch.device) -> SuperResolution | None:
    if not folder.is_dir():
        return None
    try:
        return load_super_resolution(folder, device)
    except ModelFilesError as error:
        raise CheckpointError(str(error)) from error
