"""Stable Diffusion 1.x, XL, and the built-in model, which is made of the classes of 1.x.

CLIP, a U-Net with cross-attention, and a VAE of 4 channels. Prompts may be of any length and have weights.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from pingvas.vocabulary import Operation

from gpu_worker.render.families.clip_text import ClipEncoder, encode_pair
from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.families.family import DrawingFamily
from gpu_worker.render.families.schedulers import DIFFUSION_SCHEDULERS
from gpu_worker.render.interface import RenderSpec
from svc_common.prompts import parse_prompt


class StableDiffusion(DrawingFamily):
    """Stable Diffusion 1.x."""

    pipelines: ClassVar[Mapping[Operation, Any]] = {
        Operation.TEXT_TO_IMAGE: StableDiffusionPipeline,
        Operation.IMAGE_TO_IMAGE: StableDiffusionImg2ImgPipeline,
        Operation.INPAINT: StableDiffusionInpaintPipeline,
    }
    operations: ClassVar[frozenset[Operation]] = frozenset(pipelines)
    schedulers: ClassVar[tuple[str, ...]] = DIFFUSION_SCHEDULERS
    settings: ClassVar[Mapping[str, Any]] = {"safety_checker": None, "requires_safety_checker": False}

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts of a spec into arguments of the pipeline."""
        return encode_with_one_clip(pipe, spec, guided=self.guided(spec))


class BuiltIn(StableDiffusion):
    """The built-in model, which also upscales, with a small network of its own."""

    operations: ClassVar[frozenset[Operation]] = StableDiffusion.operations | {Operation.UPSCALE}


class StableDiffusionXL(DrawingFamily):
    """Stable Diffusion XL: two text encoders, whose outputs lie side by side, and pooled embeddings of the second."""

    pipelines: ClassVar[Mapping[Operation, Any]] = {
        Operation.TEXT_TO_IMAGE: StableDiffusionXLPipeline,
        Operation.IMAGE_TO_IMAGE: StableDiffusionXLImg2ImgPipeline,
        Operation.INPAINT: StableDiffusionXLInpaintPipeline,
    }
    operations: ClassVar[frozenset[Operation]] = frozenset(pipelines)
    schedulers: ClassVar[tuple[str, ...]] = DIFFUSION_SCHEDULERS
    # Diffusers would mark pictures on its own if a certain package happened to be installed.
    settings: ClassVar[Mapping[str, Any]] = {"add_watermarker": False}

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts of a spec with both text encoders into arguments of the pipeline."""
        guided = self.guided(spec)
        # XL was trained with zeros for "no prompt", and models say whether they were.
        zeros = not spec.negative_prompt and pipe.config.force_zeros_for_empty_prompt
        prompt = parse_prompt(spec.prompt)
        negative = parse_prompt(spec.negative_prompt) if guided and not zeros else None
        encoders = [
            ClipEncoder(pipe.tokenizer, pipe.text_encoder, _penultimate),
            ClipEncoder(pipe.tokenizer_2, pipe.text_encoder_2, _penultimate),
        ]
        pairs = [encode_pair(encoder, prompt, negative) for encoder in encoders]
        positives = [positive for positive, _ in pairs]
        embeds = torch.cat([hidden for hidden, _ in positives], dim=-1)
        pooled = positives[-1][1].text_embeds
        negatives = [pair for _, pair in pairs if pair is not None]
        if negatives:
            negative_embeds = torch.cat([hidden for hidden, _ in negatives], dim=-1)
            negative_pooled = negatives[-1][1].text_embeds
        else:
            negative_embeds, negative_pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
        return {
            "prompt_embeds": embeds,
            "negative_prompt_embeds": negative_embeds if guided else None,
            "pooled_prompt_embeds": pooled,
            "negative_pooled_prompt_embeds": negative_pooled if guided else None,
        }


def encode_with_one_clip(pipe: Any, spec: RenderSpec, *, guided: bool) -> Embeddings:
    """Encodes the prompts of a spec for a pipeline whose denoiser attends to CLIP's last hidden states."""
    encoder = ClipEncoder(pipe.tokenizer, pipe.text_encoder, _last)
    negative = parse_prompt(spec.negative_prompt) if guided else None
    positive_output, negative_output = encode_pair(encoder, parse_prompt(spec.prompt), negative)
    return {
        "prompt_embeds": positive_output[0],
        "negative_prompt_embeds": None if negative_output is None else negative_output[0],
    }


def _last(output: Any) -> torch.Tensor:
    states: torch.Tensor = output.last_hidden_state
    return states


def _penultimate(output: Any) -> torch.Tensor:
    states: torch.Tensor = output.hidden_states[-2]
    return states
