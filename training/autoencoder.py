"""Trains the AutoencoderKL: pictures of 256 pixels to latents of 4 channels and 32 cells, and back.

Owns its layers, its loss, and the whitening of its latents. The picture's quality stands and falls with this part.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training import replicas
from training.autoencoder_start import start_as_averaging
from training.drawing import SIDE_PX, draw
from training.group_norm import use_fast_group_norm
from training.loop import (
    CHECKPOINT_SECONDS,
    Average,
    Budget,
    Reporter,
    Run,
    choose_device,
    descend,
    loader_processes,
    place,
)
from training.scenes import LandScene, Scene, random_land, random_scene, random_training_scene

CHECKPOINT: Final = "autoencoder.pt"
LATENT_CHANNELS: Final = 4
_PEAK_RATE: Final = 4e-4
_EMA_DECAY: Final = 0.998
# Crops show as many edges as whole pictures for a quarter of the work; whole pictures at the end, because group
# normalisation sees the whole picture when the model is used.
_CROP_PX: Final = 128
_CROP_BATCH: Final = 16
_WHOLE_FROM_SHARE: Final = 0.7
# Noise on the latents, as a share of each channel's deviation and up to this much: the decoder learns to forgive the
# small errors of the denoiser, and the encoder not to hide anything in decimals. Not from the first step on: then only
# lightness was ever learnt, because the faint beginnings of the other channels drowned.
_LATENT_NOISE: Final = 0.2
_NOISE_FROM_SHARE: Final = 0.3
_EDGE_WEIGHT: Final = 1.0
# Keeps latents from growing without end.
_SIZE_WEIGHT: Final = 1e-4
# Until here the first three channels are drawn towards the colours of the cells.
_GUIDE_UNTIL_SHARE: Final = 0.3
_LAND_SHARE: Final = 0.5
# What latent_dist.sample() adds is next to nothing: exp(-14 / 2) is a thousandth.
_LOG_VARIANCE: Final = -14.0
_PREVIEW_COUNT: Final = 12


def new_autoencoder() -> AutoencoderKL:
    """Returns an untrained autoencoder."""
    vae = AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        sample_size=SIDE_PX,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    start_as_averaging(vae)
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:].zero_()
        vae.quant_conv.bias[LATENT_CHANNELS:].fill_(_LOG_VARIANCE)
    return vae


class _Crops(IterableDataset[torch.Tensor]):
    """Batches of crops of drawings, (batch, 3, side, side) from -1 to 1."""

    def __init__(self, side: int, batch: int, seed: str) -> None:
        self._side, self._batch, self._seed = side, batch, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        rng = random.Random(f"{self._seed}/{worker.id if worker else 0}")
        while True:
            crops: list[np.ndarray] = []
            while len(crops) < self._batch:
                picture = draw(_random_picture(rng))
                # Two crops of each picture halve the time of drawing.
                crops.extend(self._crop(picture, rng) for _ in range(1 if self._side == SIDE_PX else 2))
            yield to_tensor(np.stack(crops))

    def _crop(self, picture: np.ndarray, rng: random.Random) -> np.ndarray:
        left, top = (rng.randrange(SIDE_PX - self._side + 1) for _ in range(2))
        return picture[top : top + self._side, left : left + self._side]


def _random_picture(rng: random.Random) -> Scene:
    while True:
        scene = random_training_scene(rng)
        # Landscapes have more to learn: of the rest, some are left out.
        if isinstance(scene, LandScene) or rng.random() < _LAND_SHARE:
            return scene


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Returns pictures, (batch, height, width, 3) of bytes, as (batch, 3, height, width) from -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Returns pictures, (batch, 3, height, width) from -1 to 1, as (batch, height, width, 3) of bytes."""
    scaled = pictures.float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def train(work_dir: Path, budget: Budget) -> None:
    """Trains until the budget is spent, going on from the checkpoint in work_dir where there is one."""
    device = choose_device()
    torch.manual_seed(0)  # the same first weights in every replica
    vae = new_autoencoder()
    place(vae, device)
    average = Average(vae, _EMA_DECAY)
    if device.type == "cpu":
        use_fast_group_norm(vae)
    run = Run(vae, average, torch.optim.Adam(vae.parameters(), betas=(0.9, 0.999)), budget)
    run.resume(work_dir / CHECKPOINT, device)
    torch.manual_seed(budget.step * replicas.count() + replicas.rank())
    reporter, saved = Reporter(budget), time.monotonic()
    while budget.share < 1.0:
        whole = budget.share >= _WHOLE_FROM_SHARE
        for pictures in _batches(device, whole, budget.step):
            losses = _step(run, pictures.to(device, memory_format=torch.channels_last))
            budget.tick()
            reporter.add(len(pictures), **losses)
            if replicas.rank() == 0 and time.monotonic() - saved > CHECKPOINT_SECONDS:
                saved = time.monotonic()
                run.save(work_dir / CHECKPOINT)
                preview(run.average.module, work_dir / "autoencoder.png", device)
            if budget.share >= 1.0 or (not whole and budget.share >= _WHOLE_FROM_SHARE):
                break
    run.save(work_dir / CHECKPOINT)
    if replicas.rank() == 0:
        preview(run.average.module, work_dir / "autoencoder.png", device)


def _batches(device: torch.device, whole: bool, seed: int) -> DataLoader[torch.Tensor]:
    side = SIDE_PX if whole else _CROP_PX
    batch = _CROP_BATCH * _CROP_PX**2 // side**2 // replicas.count()
    crops = _Crops(side, batch, f"{seed}/{replicas.rank()}")
    return DataLoader(crops, batch_size=None, num_workers=loader_processes(device))


def _step(run: Run, pictures: torch.Tensor) -> dict[str, float]:
    vae = run.module
    with torch.autocast(pictures.device.type, torch.bfloat16):
        latents = vae.quant_conv(vae.encoder(pictures))[:, :LATENT_CHANNELS].float()
        levels = torch.rand(len(latents), 1, 1, 1, device=latents.device) * _noise_level(run.budget.share)
        noise = torch.randn_like(latents) * latents.detach().std((0, 2, 3), keepdim=True) * levels
        decoded = vae.decode(latents + noise).sample
    decoded = decoded.float()
    colour = (decoded - pictures).abs().mean()
    edges = _edge_loss(decoded, pictures)
    guide = _guide_weight(run.budget.share) * _guide_loss(latents, pictures)
    descend(run, picture_loss(decoded, pictures) + guide + _SIZE_WEIGHT * latents.square().mean(), _PEAK_RATE)
    return {"colour": colour.item(), "edges": edges.item()}


def picture_loss(decoded: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Returns how far decoded pictures are from the true ones, in colours and in edges."""
    error = decoded - pictures
    return error.abs().mean() + error.square().mean() + _EDGE_WEIGHT * _edge_loss(decoded, pictures)


def _guide_loss(latents: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Returns how far the first three channels are from the picture made small.

    The channels start there (`autoencoder_start`), and this keeps them from being torn down by the first large steps.
    """
    small = nn.functional.avg_pool2d(pictures, pictures.shape[-1] // latents.shape[-1])
    return (latents[:, :3] - small).abs().mean()


def _guide_weight(share: float) -> float:
    """Returns the guide's weight at a share of the budget: it lets go by and by."""
    return max(1.0 - share / _GUIDE_UNTIL_SHARE, 0.0)


def _noise_level(share: float) -> float:
    """Returns the most noise at a share of the budget: it comes in over a tenth of the training."""
    return _LATENT_NOISE * min(max((share - _NOISE_FROM_SHARE) / 0.1, 0.0), 1.0)


def _edge_loss(decoded: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Returns how far neighbours differ otherwise than in the pictures: keeps edges sharp and flat areas flat."""
    error = decoded - pictures
    across, down = error[..., :, 1:] - error[..., :, :-1], error[..., 1:, :] - error[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


@torch.no_grad()
def preview(vae: Any, path: Path, device: torch.device) -> float:
    """Writes held-out pictures above what the autoencoder makes of them; returns the mean PSNR in decibels."""
    rng = random.Random("autoencoder preview")
    scenes = [random_scene(rng) for _ in range(_PREVIEW_COUNT // 2)] + [
        random_land(rng) for _ in range(_PREVIEW_COUNT // 2)
    ]
    originals = np.stack([draw(scene) for scene in scenes])
    decoded = to_bytes(reconstruct(vae, to_tensor(originals).to(device)))
    rows = [np.concatenate(list(half), axis=1) for half in (originals[:6], decoded[:6], originals[6:], decoded[6:])]
    Image.fromarray(np.concatenate(rows)).save(path)
    errors = np.square(originals.astype(np.float64) - decoded).mean(axis=(1, 2, 3))
    psnr = float(np.mean(10 * np.log10(255**2 / errors)))
    sys.stdout.write(f"preview {path}: PSNR {psnr:.2f} dB\n")
    sys.stdout.flush()
    return psnr


def reconstruct(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Returns pictures encoded and decoded again."""
    latents = vae.quant_conv(vae.encoder(pictures))[:, :LATENT_CHANNELS]
    decoded: torch.Tensor = vae.decode(latents).sample
    return decoded
