"""Upscaling of pictures by 2 and 4 with a small convolutional network, tile by tile.

Owns the network, the reading of its folder, and the tiling. Leaves the network's training to `training.upscaler`, and
which model upscales with it to `families`.

The network adds details to a bicubic enlargement by 2; it is used twice for 4, which came out 1.7 dB better on drawings
than a head of its own for 4 after the same training. No convolution of it pads: a tile comes with as many pixels around
it as the network looks at, and beyond the picture its edge is repeated. So each pixel of the result is computed from
the same numbers wherever the tiles lie, and there are no seams.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone gives it
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gpu_worker.models.files import ModelFilesError
from gpu_worker.render.interface import Pixels

PASS_FACTOR: Final = 2
FACTORS: Final = (PASS_FACTOR, PASS_FACTOR**2)
CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "model.safetensors"
ARCHITECTURE: Final = "residual-pixel-shuffle"
# Activations of a tile of 128 pixels take up to 10 MB each when it is enlarged by 4; the pixels around it, which are
# computed more than once, cost less than a third.
_TILE_PX: Final = 128
# A folder is data of others: without limits, its config could ask for any amount of memory.
_MAX_WIDTH: Final = 256
_MAX_BLOCK_COUNT: Final = 64


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The size of a network."""

    width: int
    """Channels between two convolutions."""
    block_count: int
    """Residual blocks of two convolutions."""

    @property
    def margin_px(self) -> int:
        """Pixels on each side of a pixel that decide what it becomes: one for each convolution of 3 x 3; even."""
        return 2 * self.block_count + 2


class SuperResolutionNetwork(torch.nn.Module):
    """Residual blocks without padding and a pixel shuffle, which enlarge by 2."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.entry = torch.nn.Conv2d(3, shape.width, 3)
        self.blocks = torch.nn.ModuleList(_Block(shape.width) for _ in range(shape.block_count))
        self.head = torch.nn.Conv2d(shape.width, 3 * PASS_FACTOR**2, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Enlarges what is inside of the margin by PASS_FACTOR.

        Args:
            pixels: (n, 3, height + 2 margin_px, width + 2 margin_px), between 0 and 1.

        Returns:
            (n, 3, 2 height, 2 width), around 0 to 1 and not clipped.

        """
        features = self.entry(pixels - 0.5)
        for block in self.blocks:
            features = block(features)
        details = F.pixel_shuffle(self.head(features), PASS_FACTOR)
        return _bicubic_inside(pixels, self.shape.margin_px) + details


class _Block(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(width, width, 3)
        self.second = torch.nn.Conv2d(width, width, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        kept = features[:, :, 2:-2, 2:-2]
        changed: torch.Tensor = self.second(F.relu(self.first(features)))
        return kept + changed


class SuperResolution:
    """A loaded network; every call may come from another thread, but only from one at a time.

    Attributes:
        network: in single precision, on its device.

    """

    def __init__(self, network: SuperResolutionNetwork, device: torch.device) -> None:
        # Single precision on every device: the network is small, and a result that depends on the device's rounding
        # would show where a tile ends.
        self.network = network.to(device, torch.float32).eval()
        self._device = device

    @property
    def size_bytes(self) -> int:
        """Device memory of the weights, in bytes."""
        return sum(weight.numel() * weight.element_size() for weight in self.network.parameters())

    def upscale(
        self,
        pixels: Pixels,
        factor: int,
        *,
        on_tile: Callable[[int, int], None] | None = None,
        tile_px: int = _TILE_PX,
    ) -> Pixels:
        """Returns a picture with both sides multiplied by the factor.

        Besides the result, memory is taken for one tile, whatever the picture's size.

        Args:
            pixels: a picture of any size from 1 x 1.
            factor: 2 or 4.
            on_tile: called after each tile with the tiles done and their number; what it raises ends the upscaling.
            tile_px: the largest side of a tile, in pixels of the given picture.

        Raises:
            ValueError: the factor is another one, or pixels is no picture.

        """
        if factor not in FACTORS:
            raise ValueError(f"the factor must be one of {FACTORS}, not {factor}")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:  # noqa: PLR2004
            raise ValueError(f"expected RGB of uint8, not {pixels.dtype} of shape {pixels.shape}")
        height, width, _ = pixels.shape
        # The second pass looks at margin_px of pixels of half the size.
        margin_px = self.network.shape.margin_px * (factor - 1) * PASS_FACTOR // factor
        result = np.empty((height * factor, width * factor, 3), np.uint8)
        tiles = list(product(_spans(height, tile_px), _spans(width, tile_px)))
        for done, (rows, columns) in enumerate(tiles, start=1):
            tile = _with_margin(pixels, rows, columns, margin_px)
            result[_scaled(rows, factor), _scaled(columns, factor)] = self._enlarged(tile, factor)
            if on_tile is not None:
                on_tile(done, len(tiles))
        return result

    def _enlarged(self, pixels: Pixels, factor: int) -> Pixels:
        with torch.inference_mode():
            # Channels are last in memory already; permute only says so.
            batch = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None].float() / 255
            for _ in range(FACTORS.index(factor) + 1):
                batch = self.network(batch).clamp(0, 1)
            finished: Pixels = (batch[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        return finished


def load_super_resolution(folder: Path, device: torch.device) -> SuperResolution:
    """Loads a network from its folder of a config and safetensors onto a device.

    Raises:
        ModelFilesError: a file is absent, broken, or does not fit to the other.

    """
    shape = _read_shape(folder / CONFIG_NAME)
    try:
        weights = load_file(folder / WEIGHTS_NAME)
        network = SuperResolutionNetwork(shape)
        network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelFilesError(f"{folder / WEIGHTS_NAME} holds no weights of the upscaler: {error}") from error
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise ModelFilesError(f"{folder / WEIGHTS_NAME} holds numbers that are not finite")
    return SuperResolution(network, device)


def save_super_resolution(network: SuperResolutionNetwork, folder: Path) -> None:
    """Writes a network as load_super_resolution reads it, with weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architecture": ARCHITECTURE, "factor": PASS_FACTOR, **asdict(network.shape)}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    weights = {name: weight.detach().cpu().half().contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def _bicubic_inside(pixels: torch.Tensor, margin_px: int) -> torch.Tensor:
    # The filter looks two pixels far, so of the margin all but those can go before it.
    spare = margin_px - 2
    inside = pixels[:, :, spare:-spare, spare:-spare]
    # "antialias" changes nothing for an enlargement but the cubic's parameter: to -0.5, as in Pillow and elsewhere.
    enlarged = F.interpolate(inside, scale_factor=PASS_FACTOR, mode="bicubic", align_corners=False, antialias=True)
    rim = 2 * PASS_FACTOR
    return enlarged[:, :, rim:-rim, rim:-rim]


def _read_shape(path: Path) -> NetworkShape:
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        shape = NetworkShape(width=config["width"], block_count=config["block_count"])
        described = (config["architecture"], config["factor"])
        allowed = shape.width in range(1, _MAX_WIDTH + 1) and shape.block_count in range(1, _MAX_BLOCK_COUNT + 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{path} is not a readable config: {error}") from error
    if described != (ARCHITECTURE, PASS_FACTOR) or not allowed:
        raise ModelFilesError(f"{path} describes a network that this worker does not have")
    return shape


def _spans(length: int, tile_px: int) -> Iterator[slice]:
    return (slice(start, min(start + tile_px, length)) for start in range(0, length, tile_px))


def _scaled(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)


def _with_margin(pixels: Pixels, rows: slice, columns: slice, margin_px: int) -> Pixels:
    """Cuts out a tile with the pixels around it; beyond the picture, its edge is repeated."""
    around_rows, around_columns = (
        np.arange(span.start - margin_px, span.stop + margin_px).clip(0, length - 1)
        for span, length in zip((rows, columns), pixels.shape[:2], strict=True)
    )
    tile: Pixels = pixels[around_rows[:, None], around_columns]
    return tile
