"""Previews without the VAE: a linear map from the channels of latents to red, green and blue.

The map is fitted to each model's own decoder when it is loaded, so that there is no table of published numbers to keep
for each family, and a model with a decoder of its own gets colours of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

from gpu_worker.render.interface import InvalidOutputError, Pixels

MAX_SIDE = 128
"""Latents of larger pictures are averaged down to this many cells: no preview is larger."""
# 8 pictures of 16 x 16 cells: 2,048 equations for the 5 unknowns of each colour, at the cost of two pictures of 256 px.
_SAMPLES = 8
_CELLS = 16
# Shapes of a half, a quarter and an eighth of the picture, and grain: decoders answer to what is around a cell as much
# as to the cell, and their normalization takes away a colour that is everywhere.
_OCTAVES = ((2, 1.0), (4, 0.7), (8, 0.5), (_CELLS, 0.3))
_SEED = 20_090


@dataclass(frozen=True, slots=True)
class LatentRgb:
    """colour = latents @ weight + bias, with colours from -1 to 1."""

    weight: torch.Tensor
    """Of shape (latent channels, 3), on the device of the latents."""
    bias: torch.Tensor

    @classmethod
    def fit(
        cls, decode: Callable[[torch.Tensor], torch.Tensor], *, channels: int, device: torch.device, dtype: torch.dtype
    ) -> Self:
        """Fits the map by least squares to what a VAE makes of random latents with shapes in them.

        Args:
            decode: latents as the denoiser has them (n, channels, h, w) to pictures (n, 3, 8h, 8w) from -1 to 1.
            channels: channels of the latents.
            device: where decode wants its latents.
            dtype: in which type decode wants its latents.

        Raises:
            InvalidOutputError: the decoder is broken.

        """
        latents = _random_shapes(channels)
        pictures = decode(latents.to(device, dtype)).float().cpu().clamp(-1, 1)
        if not torch.isfinite(pictures).all():
            raise InvalidOutputError("the decoder produces numbers that are not finite")
        colours = torch.nn.functional.adaptive_avg_pool2d(pictures, _CELLS).permute(0, 2, 3, 1).reshape(-1, 3)
        cells = latents.permute(0, 2, 3, 1).reshape(-1, channels)
        known = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
        solution = torch.linalg.lstsq(known, colours).solution
        return cls(solution[:-1].to(device), solution[-1].to(device))

    def pixels(self, latents: torch.Tensor) -> Pixels:
        """Returns the first of a batch of latents (n, channels, h, w) as an RGB picture of one pixel for each cell."""
        cells = latents[0].float()
        if max(cells.shape[1:]) > MAX_SIDE:
            factor = -(-max(cells.shape[1:]) // MAX_SIDE)
            cells = torch.nn.functional.avg_pool2d(cells, factor, ceil_mode=True)
        colours = torch.tensordot(cells, self.weight, dims=([0], [0])) + self.bias
        bytes_ = colours.add(1).mul(127.5).clamp(0, 255).to(torch.uint8)
        pixels: Pixels = bytes_.cpu().numpy()
        return pixels


def _random_shapes(channels: int) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(_SEED)
    latents = torch.zeros(_SAMPLES, channels, _CELLS, _CELLS)
    for side, amplitude in _OCTAVES:
        octave = torch.randn(_SAMPLES, channels, side, side, generator=generator)
        latents += amplitude * torch.nn.functional.interpolate(octave, size=(_CELLS, _CELLS), mode="bicubic")
    return latents
