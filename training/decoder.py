"""Trains the decoder alone for a while longer, on the latents that the denoiser was trained on.

The encoder stays as it is, so that the denoiser needs no other training. With less noise than in the common training,
edges become sharper: by then the denoiser is good, and the decoder has less to forgive.
"""

import random
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from training import replicas
from training.autoencoder import picture_loss, preview, to_tensor
from training.drawing import draw
from training.group_norm import use_fast_group_norm
from training.latents import AUTOENCODER, load_latents, training_scene
from training.loop import CHECKPOINT_SECONDS, Average, Budget, Reporter, Run, choose_device, descend, place

CHECKPOINT: Final = "decoder.pt"
_PEAK_RATE: Final = 4e-4
_EMA_DECAY: Final = 0.995
_BATCH: Final = 4
_NOISE: Final = 0.1


class _Decoder(nn.Module):
    """The part of an autoencoder that makes pictures of latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv: Any = vae.post_quant_conv
        self.decoder: Any = vae.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        pictures: torch.Tensor = self.decoder(self.post_quant_conv(latents))
        return pictures


def train(work_dir: Path, budget: Budget) -> None:
    """Trains until the budget is spent, then puts the decoder into the autoencoder of work_dir."""
    device = choose_device()
    vae = AutoencoderKL.from_pretrained(work_dir / AUTOENCODER)
    decoder = _Decoder(vae)
    place(decoder, device)
    average = Average(decoder, _EMA_DECAY)
    if device.type == "cpu":
        use_fast_group_norm(decoder)
    run = Run(decoder, average, torch.optim.Adam(decoder.parameters()), budget)
    run.resume(work_dir / CHECKPOINT, device)
    rng = random.Random(f"decoder {budget.step}/{replicas.rank()}")
    latents, reporter, saved = load_latents(work_dir), Reporter(budget), time.monotonic()
    while budget.share < 1.0:
        chosen = [rng.randrange(len(latents)) for _ in range(_BATCH // replicas.count())]
        loss = _step(run, np.stack([latents[index] for index in chosen]), chosen, device)
        budget.tick()
        reporter.add(len(chosen), loss=loss)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            saved = time.monotonic()
            run.save(work_dir / CHECKPOINT)
    run.save(work_dir / CHECKPOINT)
    if replicas.rank() == 0:
        vae.post_quant_conv, vae.decoder = run.average.module.post_quant_conv, run.average.module.decoder
        vae.save_pretrained(work_dir / AUTOENCODER)
        preview(vae, work_dir / "autoencoder.png", device)


def _step(run: Run, stored: np.ndarray, indices: list[int], device: torch.device) -> float:
    latents = torch.from_numpy(stored.astype(np.float32)).to(device, memory_format=torch.channels_last)
    pictures = to_tensor(np.stack([draw(training_scene(index)) for index in indices])).to(device)
    # Of latents, whose deviation is 1.
    levels = torch.rand(len(latents), 1, 1, 1, device=device) * _NOISE
    with torch.autocast(device.type, torch.bfloat16):
        decoded = run.module(latents + levels * torch.randn_like(latents))
    loss = picture_loss(decoded.float(), pictures)
    descend(run, loss, _PEAK_RATE)
    return loss.item()
