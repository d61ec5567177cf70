"""Writes the model as a normal diffusers folder of safetensors in half precision."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from gpu_worker.models.builtin import write_manifest
from training.denoiser import load_average, scheduler
from training.latents import AUTOENCODER
from training.text import TOKENIZER
from training.tokenizer import load_tokenizer


def build_pipeline(work_dir: Path) -> StableDiffusionPipeline:
    """Returns a pipeline of what training has made so far, in single precision."""
    tokenizer = load_tokenizer(work_dir / TOKENIZER)
    denoiser = load_average(work_dir, tokenizer)
    vae = AutoencoderKL.from_pretrained(work_dir / AUTOENCODER)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(work_dir: Path, folder: Path) -> None:
    """Writes the model as it is into a folder, whose upscaler stays as it is."""
    build_pipeline(work_dir).to(torch.float16).save_pretrained(folder, safe_serialization=True)
    _compute_in_single_precision(folder / "text_encoder" / "config.json")
    write_manifest(folder)
    for path in folder.rglob("*"):
        # safetensors writes for its owner alone.
        path.chmod(0o755 if path.is_dir() else 0o644)
    write_manifest(folder)


def _compute_in_single_precision(config_path: Path) -> None:
    # transformers notes the precision of the file as the one to compute in, diffusers computes in single precision
    # unless told otherwise: whoever loads the folder without naming a precision would get a pipeline of both, which
    # fails at its first step.
    config = json.loads(config_path.read_bytes())
    config["dtype"] = "float32"
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
