"""FLUX.1 and Z-Image: transformers on patches of 2 x 2 latents, trained on straight flows from noise to picture.

Their text encoders (T5, Qwen) read a prompt as language, every output depends on every word, and the denoiser attends
to them jointly with the picture. Scaling outputs doesn't weigh words there, so the notation of weights is understood
but only taken out.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import (
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
    ZImageImg2ImgPipeline,
    ZImageInpaintPipeline,
    ZImagePipeline,
)
from pingvas.vocabulary import Operation

from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.families.family import DrawingFamily
from gpu_worker.render.families.schedulers import FLOW_SCHEDULERS
from gpu_worker.render.interface import RenderSpec
from svc_common.prompts import plain_text


class FlowFamily(DrawingFamily):
    """What both have in common."""

    schedulers: ClassVar[tuple[str, ...]] = FLOW_SCHEDULERS
    # Their activations leave the range of float16.
    gpu_dtype: ClassVar[torch.dtype] = torch.bfloat16
    size_multiple_px: ClassVar[int] = 16
    source_gives_size: ClassVar[bool] = False
    # Their pipelines round the steps that are skipped down, not those that run.
    strength_margin: ClassVar[float] = -0.25


class Flux(FlowFamily):
    """FLUX.1, dev and schnell. Guidance is an input of its own; there is no negative prompt."""

    pipelines: ClassVar[Mapping[Operation, Any]] = {
        Operation.TEXT_TO_IMAGE: FluxPipeline,
        Operation.IMAGE_TO_IMAGE: FluxImg2ImgPipeline,
        Operation.INPAINT: FluxInpaintPipeline,
    }
    operations: ClassVar[frozenset[Operation]] = frozenset(pipelines)

    def guided(self, spec: RenderSpec) -> bool:  # noqa: ARG002 - no spec has it
        """Tells that the negative prompt doesn't matter."""
        return False

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompt with T5, and with CLIP for the pooled embedding."""
        # What the two models were trained with: schnell, which has no input for guidance, with half as many.
        length = 512 if pipe.transformer.config.guidance_embeds else 256
        embeds, pooled, _ = pipe.encode_prompt(plain_text(spec.prompt), device=pipe.device, max_sequence_length=length)
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def latent_grid(self, pipe: Any, latents: torch.Tensor, spec: RenderSpec) -> torch.Tensor:
        """Returns packed latents (n, patches, 4 channels) in the shape of a picture: (n, channels, height, width)."""
        width, height = (side + -side % self.size_multiple_px for side in (spec.width_px, spec.height_px))
        grid: torch.Tensor = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)  # noqa: SLF001
        return grid


class ZImage(FlowFamily):
    """Z-Image. The distilled Turbo runs without guidance: at most 1, as half the work."""

    pipelines: ClassVar[Mapping[Operation, Any]] = {
        Operation.TEXT_TO_IMAGE: ZImagePipeline,
        Operation.IMAGE_TO_IMAGE: ZImageImg2ImgPipeline,
        Operation.INPAINT: ZImageInpaintPipeline,
    }
    operations: ClassVar[frozenset[Operation]] = frozenset(pipelines)

    def guidance_scale(self, spec: RenderSpec) -> float:
        """Returns the guidance as the pipeline wants it: off is 0 there, not 1."""
        return spec.guidance_scale if self.guided(spec) else 0.0

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts with Qwen into lists of embeddings of their own lengths."""
        guided = self.guided(spec)
        embeds, negative_embeds = pipe.encode_prompt(
            plain_text(spec.prompt),
            device=pipe.device,
            do_classifier_free_guidance=guided,
            negative_prompt=plain_text(spec.negative_prompt),
        )
        return {"prompt_embeds": embeds, "negative_prompt_embeds": negative_embeds if guided else None}
