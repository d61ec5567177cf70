"""Encodes drawings once, so that the denoiser's training neither draws nor encodes.

Owns the whitening of the latents, which is folded into the two 1 x 1 convolutions that an AutoencoderKL has around them:
afterwards each channel has mean 0 and deviation 1 and none follows another, which is what diffusion assumes.
"""

import random
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from training import replicas
from training.autoencoder import CHECKPOINT, LATENT_CHANNELS, new_autoencoder, preview, to_tensor
from training.drawing import draw
from training.loop import choose_device
from training.scenes import Scene, random_pair, random_training_scene

AUTOENCODER: Final = "autoencoder"
LATENT_SIDE: Final = 32
_FILE: Final = "latents.npy"
_BATCH: Final = 16
_WHITENING_PICTURES: Final = 800
# The latents behind these show two objects: of all that there is to learn, their combinations are by far the most.
_OF_ALL_KINDS: Final = 24_000


def training_scene(index: int) -> Scene:
    """Returns the scene of a latent: scenes are made again from their number rather than stored."""
    rng = random.Random(f"latent {index}")
    return random_training_scene(rng) if index < _OF_ALL_KINDS else random_training_scene(rng, random_pair)


def encode(work_dir: Path, picture_count: int) -> None:
    """Writes the whitened autoencoder and the latents of picture_count training scenes into work_dir.

    An autoencoder that is there without its checkpoint is one that was shipped: it is whitened already.
    """
    device = choose_device()
    has_checkpoint = (work_dir / CHECKPOINT).exists()
    if has_checkpoint:
        vae = whitened_autoencoder(work_dir / CHECKPOINT, device)
    else:
        vae = AutoencoderKL.from_pretrained(work_dir / AUTOENCODER).to(device, memory_format=torch.channels_last).eval()
    if has_checkpoint and replicas.rank() == 0:
        vae.save_pretrained(work_dir / AUTOENCODER)
        preview(vae, work_dir / "autoencoder.png", device)
    part = work_dir / f"latents-{replicas.rank()}.npy"
    _encode_part(vae, part, range(replicas.rank(), picture_count, replicas.count()), device)
    replicas.agree(0.0)


def join(work_dir: Path) -> None:
    """Makes one file of those that the replicas wrote, in the order of the scenes."""
    parts = [np.load(path) for path in sorted(work_dir.glob("latents-?.npy"))]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.float16)
    for index, part in enumerate(parts):
        whole[index :: len(parts)] = part
    np.save(work_dir / _FILE, whole)


def load_latents(work_dir: Path) -> NDArray[np.float16]:
    """Returns the latents, (pictures, 4, 32, 32), mapped from their file."""
    latents: NDArray[np.float16] = np.load(work_dir / _FILE, mmap_mode="r")
    return latents


@torch.no_grad()
def whitened_autoencoder(
    checkpoint: Path, device: torch.device, picture_count: int = _WHITENING_PICTURES
) -> AutoencoderKL:
    """Returns the averaged autoencoder of a checkpoint with the whitening folded in."""
    vae = new_autoencoder().to(device, memory_format=torch.channels_last).eval()
    vae.load_state_dict(torch.load(checkpoint, map_location=device, weights_only=True)["average"])
    rng = random.Random("whitening")
    latents = torch.cat(
        [
            _encode(vae, [random_training_scene(rng) for _ in range(_BATCH)], device)
            for _ in range(picture_count // _BATCH)
        ]
    )
    cells = latents.double().permute(1, 0, 2, 3).flatten(1)
    mean, covariance = cells.mean(1), torch.cov(cells)
    values, vectors = torch.linalg.eigh(covariance)
    # Of all whitenings the symmetric one, which stays nearest to what the autoencoder learnt.
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    colour = vectors @ torch.diag(values.sqrt()) @ vectors.T
    _fold(vae, mean, whiten, colour)
    return vae


def _fold(vae: AutoencoderKL, mean: torch.Tensor, whiten: torch.Tensor, colour: torch.Tensor) -> None:
    encode, decode = vae.quant_conv, vae.post_quant_conv
    weight = encode.weight[:LATENT_CHANNELS, :, 0, 0].double()
    bias = encode.bias[:LATENT_CHANNELS].double()
    encode.weight[:LATENT_CHANNELS] = (whiten @ weight).float()[:, :, None, None]
    encode.bias[:LATENT_CHANNELS] = (whiten @ (bias - mean)).float()
    weight = decode.weight[:, :, 0, 0].double()
    decode.bias += (weight @ mean).float()
    decode.weight[:] = (weight @ colour).float()[:, :, None, None]


@torch.no_grad()
def _encode(vae: AutoencoderKL, scenes: list[Scene], device: torch.device) -> torch.Tensor:
    pictures = to_tensor(np.stack([draw(scene) for scene in scenes]))
    pictures = pictures.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        features = vae.encoder(pictures)
    latents: torch.Tensor = vae.quant_conv(features.float())[:, :LATENT_CHANNELS].cpu()
    return latents


def _encode_part(vae: AutoencoderKL, path: Path, indices: range, device: torch.device) -> None:
    shape = (len(indices), LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    latents = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for start in range(0, len(indices), _BATCH):
        scenes = [training_scene(index) for index in indices[start : start + _BATCH]]
        latents[start : start + len(scenes)] = _encode(vae, scenes, device).half().numpy()
        if start % (_BATCH * 50) == 0 and replicas.rank() == 0:
            sys.stdout.write(f"encoded {start} of {len(indices)}\n")
            sys.stdout.flush()
    latents.flush()
