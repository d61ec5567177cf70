"""What a render is: its values, its errors, and the Pipeline protocol.

Owns the border between the worker, which lives on the event loop, and a pipeline, which lives in one thread of its own.
Imports no torch, so the worker and its tests can speak of renders without paying for it. Leaves the rendering itself to
`pipeline`, the bytes of artifacts to `encode`, and what to do about an error to whoever called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec

Pixels: TypeAlias = NDArray[np.uint8]
"""An RGB picture: uint8 of shape (height, width, 3)."""
Mask: TypeAlias = NDArray[np.uint8]
"""How much of each pixel is repainted: uint8 of shape (height, width), 0 is kept and 255 is repainted."""


class RenderError(Exception):
    """A render that failed; the message is fit for the job's owner."""


class InvalidOutputError(RenderError):
    """The model produced non-finite numbers or nothing but black: such a picture is never delivered."""


class OutOfMemoryError(RenderError):
    """The device's memory did not suffice; what the attempt had taken is free again."""


class UnsupportedRequestError(RenderError):
    """The request names a family or a scheduler that this worker does not have."""


class RenderCancelledError(Exception):
    """A render that stopped because it was asked to: not a failure, and what ran so far is still to be paid.

    Attributes:
        gpu_seconds: device time used until the stop.
        completed_steps: denoising steps that ran, over all images.

    """

    def __init__(self, *, gpu_seconds: float, completed_steps: int) -> None:
        """Carries what ran until the stop."""
        super().__init__(f"cancelled after {completed_steps} steps and {gpu_seconds:.3f} GPU seconds")
        self.gpu_seconds = gpu_seconds
        self.completed_steps = completed_steps


class LoraMismatchError(RenderError):
    """A LoRA can't be applied to the job's model."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What a pipeline factory needs to know of its process."""

    models_dir: Path
    """Folder of models, laid out as `<model_id>/<revision>/`."""
    torch_threads: int = 1
    """Threads of one operation on the CPU; 0 leaves the choice to torch."""
    device: str = "auto"
    """A torch device, or "auto": CUDA where there is one, else the CPU."""
    resident_bytes: int | None = None
    """Bytes of models to keep loaded; None takes a share of the device's memory."""
    compile_backend: str | None = None
    """What torch.compile makes kernels of denoisers' blocks with; None leaves them uncompiled."""


@dataclass(frozen=True, slots=True)
class LoraUse:
    """A LoRA and how strongly it is applied."""

    model: ModelSpec
    weight: float


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """Everything that decides the pixels of a job, and nothing else."""

    model: ModelSpec
    prompt: str
    negative_prompt: str
    width_px: int
    """A multiple of 8, the scale of the VAE."""
    height_px: int
    """A multiple of 8, the scale of the VAE."""
    step_count: int
    guidance_scale: float
    """Classifier-free guidance; 1 and less run without it, at half the cost."""
    seed: int
    """Seed of the first image; image i uses `image_seed(seed, i)`."""
    image_count: int
    scheduler: str
    operation: Operation = Operation.TEXT_TO_IMAGE
    loras: tuple[LoraUse, ...] = ()
    source: Pixels | None = None
    """The picture to begin with, of any size: it is scaled to cover width and height and cut around its middle."""
    mask: Mask | None = None
    """Of the source's size."""
    strength: float = 1.0
    """Share of the steps that run on a source, above 0 and up to 1."""
    mask_feather_px: int = 0
    """Width in pixels to which the edge of the mask is softened."""
    scale_factor: int = 2
    """Of an upscaling, 2 or 4: width and height are the source's times it."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """Progress after one denoising step."""

    image_index: int
    step: int
    """Steps done over all images, from 1."""
    step_count: int
    """Steps of all images together."""
    seconds_left: float
    """Estimate from the steps measured so far."""
    preview: Pixels | None
    """The picture as it stands, at the latents' size; None between two previews."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """One finished picture and the seed that repeats it alone."""

    index: int
    seed: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class LoraCoverage:
    """How much of a LoRA's file the model has layers for."""

    model_id: str
    applied_modules: int
    total_modules: int


@dataclass(frozen=True, slots=True)
class RenderResult:
    """The pictures of a job, what they cost, and what they were made with."""

    images: tuple[RenderedImage, ...]
    gpu_seconds: float
    """Device time from the first operation to the last pixel; loading the model is not in it."""
    device: str
    library_versions: tuple[tuple[str, str], ...]
    loras: tuple[LoraCoverage, ...] = ()


class Pipeline(Protocol):
    """Renders one spec at a time, always called from one and the same thread."""

    @property
    def loaded_models(self) -> frozenset[str]:
        """Ids of the models that start without loading; safe to read from any thread."""

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        """Renders the images of a spec, blocking until they are done.

        Args:
            spec: what to render.
            on_step: called after each step, in the render's own thread; must return at once.
            should_stop: asked before and after each step; thread-safe.

        Raises:
            RenderCancelledError: should_stop said so.
            RenderError: the render failed for a reason that is known.
            ModelFilesError: the model's files are absent or not what its specification says.
            ModelUnusableError: the files are as specified, but no picture can be made with them.

        """

    def prefetch(self, model: ModelSpec) -> None:
        """Brings a model from disk into the host's memory, so that its first render starts sooner; a hint.

        Blocks, and is called from a thread that is not the render's, while a render may be running.

        Raises:
            ModelFilesError: as `render`.
            ModelUnusableError: as `render`.

        """


def image_seed(seed: int, index: int) -> int:
    """Returns the seed of one image of a job, which makes that image again as the only one of another job."""
    return seed + index
