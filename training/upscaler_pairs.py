"""Pictures for the upscaler, each large and small: what it learns from and what it is measured on.

Owns the choice of pictures (drawings, and textures so that it does no harm to other pictures) and how a small picture
comes from a large one. Leaves the learning to `upscaler`.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone gives it
from numpy.typing import NDArray

from training.drawing import draw
from training.scenes import random_training_scene

CROP_PX: Final = 56
"""Side of a small picture in training; the large one's is as many times larger as the factor says."""
_SIDES_PX: Final = tuple(range(4 * CROP_PX, 512 + 1, 32))
# With a fifth, soft stripes were taken for blurred edges and came out 4 dB worse than from the bicubic filter.
_TEXTURE_SHARE: Final = 0.5
POOL_SIZE: Final = 96
# Most of a drawing is flat, where bicubic is perfect already: of so many crops, the liveliest is taken.
_CROP_CANDIDATES: Final = 3


class Shrink(StrEnum):
    """How a large picture was made small."""

    AREA = "area"
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


@dataclass(frozen=True, slots=True)
class Softness:
    """What happened to a small picture besides: an autoencoder softens, and a camera or a codec adds noise."""

    blur_px: float = 0.0
    """Standard deviation of a Gaussian, in pixels of the small picture."""
    noise: float = 0.0
    """Standard deviation, the range of a picture being 1."""


class Pictures:
    """A pool of large pictures in which an old one is replaced each time that crops are taken."""

    def __init__(self, seed: int, pool_size: int = POOL_SIZE) -> None:
        self._scenes = random.Random(seed)
        self._rng = np.random.default_rng(seed)
        self._pool = [self._picture() for _ in range(pool_size)]

    def pairs(self, batch_size: int, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns small and large pictures, float32 (batch_size, 3, side, side) between 0 and 1."""
        self._pool[self._rng.integers(len(self._pool))] = self._picture()
        crops = np.stack([self._crop(CROP_PX * factor) for _ in range(batch_size)])
        large = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        shrink = list(Shrink)[self._rng.integers(len(Shrink))]
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**31)))
        return make_small(large, factor, shrink, self._softness(), generator), large

    def _picture(self) -> NDArray[np.uint8]:
        side = int(self._rng.choice(_SIDES_PX))
        if self._rng.random() < _TEXTURE_SHARE:
            return random_texture(self._rng, side)
        return draw(random_training_scene(self._scenes), side)

    def _crop(self, side: int) -> NDArray[np.uint8]:
        picture = self._pool[self._rng.integers(len(self._pool))]
        corners = self._rng.integers(0, len(picture) - side + 1, (_CROP_CANDIDATES, 2))
        candidates = [picture[y : y + side, x : x + side] for y, x in corners]
        liveliest = max(candidates, key=lambda crop: crop[::4, ::4].std(axis=(0, 1)).sum())
        turned = np.rot90(liveliest, int(self._rng.integers(4)))
        # Other colours than the palette's dozen: what is learnt is edges, not red on blue.
        return np.ascontiguousarray(turned[:, :, self._rng.permutation(3)])

    def _softness(self) -> Softness:
        blur_px = self._rng.uniform(0.2, 0.7) if self._rng.random() < 0.25 else 0.0
        noise = self._rng.uniform(0.0, 0.008) if self._rng.random() < 0.15 else 0.0
        return Softness(blur_px, noise)


def make_small(
    large: torch.Tensor, factor: int, shrink: Shrink, softness: Softness, generator: torch.Generator
) -> torch.Tensor:
    """Returns pictures (n, 3, height, width) with both sides divided by the factor, at the 256 levels of a file."""
    if shrink is Shrink.AREA:
        small = F.avg_pool2d(large, factor)
    else:
        small = F.interpolate(large, scale_factor=1 / factor, mode=shrink.value, align_corners=False, antialias=True)
    if softness.blur_px:
        small = _blur(small, softness.blur_px)
    if softness.noise:
        small = small + softness.noise * torch.randn(small.shape, generator=generator)
    return (small.clamp(0, 1) * 255).round() / 255


def random_texture(rng: np.random.Generator, side: int, kind: str | None = None) -> NDArray[np.uint8]:
    """Returns a picture (side, side, 3) that no drawing looks like, of one of the kinds in TEXTURES or any."""
    name = kind or tuple(TEXTURES)[rng.integers(len(TEXTURES))]
    texture = TEXTURES[name](rng, side)
    low, high = np.sort(rng.uniform(0, 255, (2, 3)), axis=0)
    picture: NDArray[np.uint8] = (low + texture * (high - low)).round().astype(np.uint8)
    return picture


def _gradient(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = _grid(side)
    angles = rng.uniform(0, 2 * np.pi, 3)
    slopes = np.cos(angles) * x[..., None] + np.sin(angles) * y[..., None]
    return _stretched(slopes + rng.uniform(-0.5, 0.5, 3) * (x * y)[..., None])


def _noise(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Returns noise whose spectrum falls with the frequency to a random power: 0 is static, 2 is clouds."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((3, side, side))) / frequency ** rng.uniform(0.4, 2.0)
    return _stretched(np.fft.irfft2(spectrum, (side, side)).transpose(1, 2, 0))


def _stripes(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    y, x = _grid(side)
    angle = rng.uniform(0, np.pi)
    turns = (np.cos(angle) * x + np.sin(angle) * y) * side / rng.uniform(8, 48)
    waves = np.sin(2 * np.pi * turns + rng.uniform(0, 2 * np.pi))
    steepness = rng.uniform(1, 12)
    return _stretched(np.repeat(np.tanh(steepness * waves)[..., None], 3, axis=2))


def _grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = np.linspace(0, 1, side)
    return axis[:, None], axis[None, :]


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
    stretched: NDArray[np.float64] = (values - low) / np.maximum(high - low, 1e-9)
    return stretched


def _blur(pictures: torch.Tensor, sigma_px: float) -> torch.Tensor:
    # Five taps hold 99 % of a Gaussian up to a standard deviation of one pixel.
    taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / sigma_px) ** 2)
    taps = (taps / taps.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(pictures, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, taps, groups=3), taps.transpose(2, 3), groups=3)


TEXTURES: Final = {"gradient": _gradient, "noise": _noise, "stripes": _stripes}
"""The kinds of textures."""
