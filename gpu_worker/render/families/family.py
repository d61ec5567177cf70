"""What a family of models is: the knowledge that `pipeline` needs to load and to run any model of it.

A family holds no weights, only knowledge; one instance serves all models. Owns what most families share. Leaves the
loop over images, progress and cancellation to `render_run`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from PIL import Image
from pingvas.vocabulary import Operation

from gpu_worker.render.families import sources
from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.families.latent_rgb import LatentRgb
from gpu_worker.render.families.loading import load_pipeline, same_parts
from gpu_worker.render.interface import Mask, Pixels, RenderSpec

# A decoder's last block works on twice its narrowest width at the size of the picture, and a residual layer holds
# three such tensors at once: its input, what the convolution makes of it, and their sum.
_LIVE_TENSORS: Final = 3
_FLOAT32_BYTES: Final = 4


def steps_that_run(spec: RenderSpec) -> int:
    """Returns the denoising steps of one image: on a source, the share `strength` of all, rounded down, at least 1."""
    if spec.operation in {Operation.IMAGE_TO_IMAGE, Operation.INPAINT}:
        return max(1, min(int(spec.step_count * spec.strength), spec.step_count))
    return spec.step_count


class Family(ABC):
    """A family of models."""

    operations: ClassVar[frozenset[Operation]]
    schedulers: ClassVar[tuple[str, ...]]
    """The first is the default."""
    gpu_dtype: ClassVar[torch.dtype] = torch.float16
    has_loras: ClassVar[bool] = True

    @abstractmethod
    def load(self, folder: Path, dtype: torch.dtype) -> Any:
        """Loads a model into host memory as its diffusers pipeline; raises CheckpointError for a folder of no model."""

    @abstractmethod
    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts of a spec into arguments of the pipeline."""

    def guided(self, spec: RenderSpec) -> bool:
        """Tells whether the negative prompt matters."""
        return spec.guidance_scale > 1

    def dtype(self, device: torch.device) -> torch.dtype:
        """Returns the type of the weights: half precision is faster on a GPU, a CPU computes it by way of float32."""
        return self.gpu_dtype if device.type == "cuda" else torch.float32

    def latent_rgb(self, pipe: Any) -> LatentRgb | None:
        """Fits the preview map to a loaded model's decoder; None for a family without previews."""
        vae = pipe.vae
        dtype, needs_float32 = vae.dtype, vae.dtype == torch.float16 and vae.config.force_upcast

        def decode(latents: torch.Tensor) -> torch.Tensor:
            shifted = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0)
            picture: torch.Tensor = vae.decode(shifted, return_dict=False)[0]
            return picture

        try:
            if needs_float32:
                vae.to(torch.float32)
            return LatentRgb.fit(decode, channels=vae.config.latent_channels, device=vae.device, dtype=vae.dtype)
        finally:
            if needs_float32:
                vae.to(dtype)

    def activation_bytes(self, pipe: Any, width_px: int, height_px: int) -> int:
        """Estimates the memory in bytes that one picture takes beside the weights: decoding it is the largest part.

        In float32, which some decoders need; twice too much for the others.
        """
        channels = 2 * pipe.vae.config.block_out_channels[0]
        return int(width_px * height_px * channels * _FLOAT32_BYTES * _LIVE_TENSORS)

    def reset(self, pipe: Any, dtype: torch.dtype) -> None:
        """Brings a pipeline back to how it was loaded, whatever an error interrupted: decoders are cast to float32."""
        if pipe.vae.dtype != dtype:
            pipe.vae.to(dtype)


class DrawingFamily(Family):
    """A family of models that draw from prompts, alone or on a source."""

    pipelines: ClassVar[Mapping[Operation, Any]]
    """The class of diffusers for each operation, and with them which operations there are."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """What those classes need beside a model's parts."""
    size_multiple_px: ClassVar[int] = 8
    latent_scale: ClassVar[int] = 8
    """Pixels of a picture for each cell of latents, along each side."""
    source_gives_size: ClassVar[bool] = True
    """Whether the pipeline for image-to-image takes its size from the source instead of arguments."""
    strength_margin: ClassVar[float] = 0.25
    """Added to the steps that are to run, for diffusers' rounding of `steps * strength` to arrive at them."""

    def load(self, folder: Path, dtype: torch.dtype) -> Any:
        """Loads a model into host memory as its text-to-image pipeline; raises CheckpointError."""
        return load_pipeline(self.pipelines[Operation.TEXT_TO_IMAGE], folder, dtype, **self.settings)

    def pipe_for(self, pipe: Any, operation: Operation) -> Any:
        """Returns the pipeline of an operation on the parts of a loaded text-to-image pipeline."""
        pipeline_class = self.pipelines[operation]
        return pipe if type(pipe) is pipeline_class else same_parts(pipeline_class, pipe, **self.settings)

    def arguments(self, spec: RenderSpec) -> dict[str, Any]:
        """Returns what all images of a spec pass to the pipeline of its operation, but embeddings."""
        width, height = (side + -side % self.size_multiple_px for side in (spec.width_px, spec.height_px))
        arguments: dict[str, Any] = {
            "num_inference_steps": spec.step_count,
            "guidance_scale": self.guidance_scale(spec),
            "width": width,
            "height": height,
        }
        if spec.operation is Operation.TEXT_TO_IMAGE:
            return arguments
        arguments |= {"image": self._canvas(prepared_source(spec)), "strength": self._strength(spec)}
        if spec.operation is Operation.INPAINT:
            mask = sources.pad_to_multiple(prepared_mask(spec), self.size_multiple_px)
            arguments["mask_image"] = Image.fromarray(sources.repainted_blocks(mask, self.latent_scale))
        elif self.source_gives_size:
            del arguments["width"], arguments["height"]
        return arguments

    def guidance_scale(self, spec: RenderSpec) -> float:
        """Returns the guidance as the pipeline wants it."""
        return spec.guidance_scale

    def latent_grid(self, pipe: Any, latents: torch.Tensor, spec: RenderSpec) -> torch.Tensor:  # noqa: ARG002 - of others
        """Returns latents as the denoiser has them in the shape of a picture: (n, channels, height, width)."""
        return latents

    def _canvas(self, source: Pixels) -> Image.Image:
        return Image.fromarray(sources.pad_to_multiple(source, self.size_multiple_px))

    def _strength(self, spec: RenderSpec) -> float:
        steps = steps_that_run(spec)
        if steps == spec.step_count:
            return 1.0
        return (steps + self.strength_margin) / spec.step_count


def prepared_source(spec: RenderSpec) -> Pixels:
    """Returns the source of a spec at the size of its result; the spec must have one."""
    if spec.source is None:
        raise ValueError(f"{spec.operation} needs a source")
    return sources.cover(spec.source, spec.width_px, spec.height_px)


def prepared_mask(spec: RenderSpec) -> Mask:
    """Returns the softened mask of a spec at the size of its result; the spec must have one."""
    if spec.mask is None:
        raise ValueError(f"{spec.operation} needs a mask")
    mask = sources.cover(spec.mask, spec.width_px, spec.height_px)
    return sources.feather(np.ascontiguousarray(mask), spec.mask_feather_px)
