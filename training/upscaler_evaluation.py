"""Measures the upscaler against the bicubic filter, on drawings held out from training and on other pictures.

Owns the measured pictures and the figures. Both enlarge the same small picture to whole levels, as a user gets them;
the unit of every figure is the decibel of PSNR, the mean over pictures.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gpu_worker.render.interface import Pixels
from gpu_worker.render.super_resolution import FACTORS, SuperResolution
from training.drawing import draw
from training.scenes import is_held_out, random_scene
from training.upscaler_pairs import TEXTURES, Shrink, Softness, make_small, random_texture

_SMALL_PX: Final = 256
_SEED: Final = 20_000
_SOFT: Final = Softness(blur_px=0.6, noise=0.004)
_Enlarge = Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True)
class Comparison:
    """PSNR in dB of enlarged pictures against the true large ones."""

    upscaler_db: float
    bicubic_db: float

    @property
    def gain_db(self) -> float:
        """How much better the upscaler is."""
        return self.upscaler_db - self.bicubic_db


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures; keys name the factor and how the picture was made small, or what it shows."""

    drawing_count: int
    texture_count: int
    """Of each kind."""
    drawings: dict[str, Comparison]
    """Made small by averaging, by the bicubic filter, and by averaging with blur and noise."""
    others: dict[str, Comparison]
    """Pictures that are no drawings, made small by averaging."""


def evaluate(upscaler: SuperResolution, drawing_count: int, texture_count: int) -> Evaluation:
    """Measures on held-out drawings of 256 pixels enlarged to 512 and 1024, and on other pictures of that size."""
    drawings: dict[str, Comparison] = {}
    for factor in FACTORS:
        large = list(islice(_held_out_drawings(factor * _SMALL_PX), drawing_count))
        for name, shrink, softness in (
            ("area", Shrink.AREA, Softness()),
            ("bicubic", Shrink.BICUBIC, Softness()),
            ("soft", Shrink.AREA, _SOFT),
        ):
            small = [_small(picture, factor, shrink, softness) for picture in large]
            drawings[f"x{factor} {name}"] = _comparison(upscaler, small, large, factor)
    return Evaluation(drawing_count, texture_count, drawings, _others(upscaler, texture_count))


def mean_psnr_db(pictures: list[Pixels], wanted: list[Pixels]) -> float:
    """Returns the mean of the pictures' PSNR in dB."""
    errors = [
        np.square(picture.astype(np.float64) - goal).mean() for picture, goal in zip(pictures, wanted, strict=True)
    ]
    # A tenth of a level of error on average is as good as none, and keeps the mean finite.
    return float(np.mean([10 * np.log10(255**2 / max(error, 0.01)) for error in errors]))


def enlarge_bicubic(pixels: Pixels, factor: int) -> Pixels:
    """Returns a picture enlarged by Pillow's bicubic filter."""
    height, width, _ = pixels.shape
    image = Image.fromarray(pixels).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _comparison(upscaler: SuperResolution, small: list[Pixels], large: list[Pixels], factor: int) -> Comparison:
    by_network = mean_psnr_db([upscaler.upscale(picture, factor) for picture in small], large)
    by_filter = mean_psnr_db([enlarge_bicubic(picture, factor) for picture in small], large)
    return Comparison(round(by_network, 2), round(by_filter, 2))


def _others(upscaler: SuperResolution, texture_count: int) -> dict[str, Comparison]:
    rng = np.random.default_rng(_SEED)
    comparisons = {}
    for factor in FACTORS:
        side = factor * _SMALL_PX
        pictures = {kind: [random_texture(rng, side, kind) for _ in range(texture_count)] for kind in TEXTURES}
        for name, large in {**pictures, "rings": [_rings(side)], "text": [_text(side)]}.items():
            small = [_small(picture, factor, Shrink.AREA, Softness()) for picture in large]
            comparisons[f"x{factor} {name}"] = _comparison(upscaler, small, large, factor)
    return comparisons


def _held_out_drawings(side_px: int) -> Iterator[Pixels]:
    rng = random.Random(_SEED)
    while True:
        scene = random_scene(rng)
        if is_held_out(scene):
            yield draw(scene, side_px)


def _small(large: Pixels, factor: int, shrink: Shrink, softness: Softness) -> Pixels:
    batch = torch.from_numpy(large.copy()).permute(2, 0, 1)[None].float() / 255
    small = make_small(batch, factor, shrink, softness, torch.Generator().manual_seed(_SEED))
    finished: NDArray[np.uint8] = (small[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(finished)


def _rings(side: int) -> Pixels:
    """Returns a zone plate: every frequency in every direction, none of which training has shown."""
    axis = np.linspace(-1, 1, side)
    radius = np.hypot(axis[:, None], axis[None, :])
    waves = 127.5 + 127.5 * np.cos(np.pi * side / 8 * radius**2)
    return np.repeat(waves.round().astype(np.uint8)[..., None], 3, axis=2)


def _text(side: int) -> Pixels:
    image = Image.new("RGB", (side, side), (236, 230, 214))
    pen = ImageDraw.Draw(image)
    for line in range(16):
        pen.text(
            (side / 32, line * side / 16), "The quick brown fox jumps over", fill=(30, 40, 70), font_size=side / 20
        )
    return np.asarray(image)
