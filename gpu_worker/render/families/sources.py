"""Pictures that a job begins with: brought to the size of the result, their masks softened, and put back at the end.

Knows numpy and Pillow only. Leaves checking and decoding what people uploaded to `inputs`.
"""

from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from gpu_worker.render.interface import Mask, Pixels

# Across the edge of a mask blurred with standard deviation s, the weight goes from 10 % to 90 % within 2.56 s (twice
# the 90th percentile of the normal distribution): that is the width that people see.
_WIDTHS_PER_SIGMA: Final = 2.56
_HALF: Final = 128
_FULL: Final = 255


def cover(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """Returns a picture or a mask scaled to cover a size, and cut around its middle; the same array if it fits."""
    height, width = pixels.shape[:2]
    if (width, height) == (width_px, height_px):
        return pixels
    scale = max(width_px / width, height_px / height)
    # The box to keep, in pixels of the source: one resampling crops and scales, without rounding in between.
    box_width, box_height = min(width, width_px / scale), min(height, height_px / scale)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    resized = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.LANCZOS, box)
    return np.asarray(resized)


def pad_to_multiple(pixels: Pixels, multiple_px: int) -> Pixels:
    """Returns a picture or a mask whose sides are multiples of multiple_px, its last row and column repeated."""
    padding = [(0, -side % multiple_px) for side in pixels.shape[:2]]
    rest = [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, padding + rest, mode="edge")


def feather(mask: Mask, feather_px: int) -> Mask:
    """Returns a mask whose edges go from kept to repainted within feather_px pixels."""
    if feather_px == 0:
        return mask
    blurred = Image.fromarray(mask).filter(ImageFilter.GaussianBlur(feather_px / _WIDTHS_PER_SIGMA))
    return np.asarray(blurred)


def repainted_blocks(mask: Mask, block_px: int) -> Mask:
    """Returns a mask of 0 and 255 that is white in every block with a pixel that is repainted at least by half.

    Diffusers looks at one pixel of each block of 8 x 8 when it brings a mask to the size of latents: a thin line
    between those pixels would be lost. The sides must be multiples of block_px.
    """
    height, width = mask.shape
    blocks = mask.reshape(height // block_px, block_px, width // block_px, block_px).max(axis=(1, 3))
    white = np.where(blocks >= _HALF, np.uint8(_FULL), np.uint8(0))
    return white.repeat(block_px, axis=0).repeat(block_px, axis=1)


def composite(repainted: Pixels, source: Pixels, mask: Mask) -> Pixels:
    """Returns the repainted picture where the mask is 255, exactly the source where it is 0, and a blend between."""
    weight = mask.astype(np.uint32)[..., None]
    blend = repainted * weight + source * (_FULL - weight) + _FULL // 2
    return (blend // _FULL).astype(np.uint8)
