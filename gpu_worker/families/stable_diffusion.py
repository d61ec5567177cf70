"""Stable Diffusion 1.x and everything built of its classes: CLIP, a U-Net with cross-attention, a VAE of 4 channels.

A family says how to load a model, which schedulers it has, and how a spec becomes the arguments of its diffusers
pipeline. Leaves the loop over images, progress and cancellation to `pipeline`, which is the same for all families.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from gpu_worker.families.latent_rgb import LatentRgb
from gpu_worker.families.schedulers import SCHEDULER_NAMES
from gpu_worker.rendering import RenderSpec


@dataclass(frozen=True, slots=True)
class StableDiffusion:
    """The family; it holds no weights, only knowledge."""

    schedulers: tuple[str, ...] = SCHEDULER_NAMES

    def load(self, folder: Path, device: torch.device) -> StableDiffusionPipeline:
        """Loads a diffusers folder onto a device: never pickles, never code of the model's, never the network.

        The class is named here and not taken from the folder's model_index.json, which is data of others.
        """
        # Half precision is twice as fast on a GPU; CPUs compute it by way of float32 and lose.
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        pipe = StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)

    def latent_rgb(self, pipe: StableDiffusionPipeline) -> LatentRgb:
        """Fits the preview map to a loaded model's decoder."""
        vae = pipe.vae

        def decode(latents: torch.Tensor) -> torch.Tensor:
            picture: torch.Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
            return picture

        return LatentRgb.fit(decode, channels=vae.config.latent_channels, device=vae.device, dtype=vae.dtype)

    def arguments(self, pipe: StableDiffusionPipeline, spec: RenderSpec) -> dict[str, Any]:
        """Returns the arguments that all images of a spec share, the prompt encoded once for all of them."""
        guided = spec.guidance_scale > 1
        prompt, negative_prompt = pipe.encode_prompt(
            spec.prompt,
            device=pipe.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
            negative_prompt=spec.negative_prompt,
        )
        return {
            "prompt_embeds": prompt,
            "negative_prompt_embeds": negative_prompt if guided else None,
            "width": spec.width_px,
            "height": spec.height_px,
            "num_inference_steps": spec.step_count,
            "guidance_scale": spec.guidance_scale,
        }
