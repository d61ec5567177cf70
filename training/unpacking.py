"""Makes of a shipped model what `refine` begins with, for whoever has the model but not its checkpoints."""

from pathlib import Path

import torch

from training import denoiser, text
from training.latents import AUTOENCODER
from training.rendering import load_model


def unpack(folder: Path, work_dir: Path) -> None:
    """Writes tokenizer, autoencoder, and the averaged text encoder and denoiser into work_dir; no optimizer's state."""
    pipeline = load_model(folder)
    pipeline.tokenizer.save_pretrained(work_dir / text.TOKENIZER)
    pipeline.vae.save_pretrained(work_dir / AUTOENCODER)
    encoder = {f"text_encoder.{name}": value for name, value in pipeline.text_encoder.state_dict().items()}
    unet = {f"unet.{name}": value for name, value in pipeline.unet.state_dict().items()}
    torch.save({"average": encoder}, work_dir / text.CHECKPOINT)
    torch.save({"average": encoder | unet}, work_dir / denoiser.CHECKPOINT)
