"""What a mask means: which pixels it repaints, and whether it repaints anything. The contract states it (Inpaint.mask).

The gallery refuses by it before a job is charged, and the worker paints by it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HALF: Final = 128
_FULL: Final = 255
_NEAR: Final = 16
"""By how much a sample may miss black, white or the colour of a brush: what JPEG and a profile do to them."""
_MOST: Final = 0.95
"""Which share of the visible pixels has to be black or white for a mask: its edges may be softened."""
_WHOLE: Final = 250
"""From where on a pixel counts as white when a mask is all white."""


def repainted_by(image: Image.Image) -> NDArray[np.uint8]:
    """Returns how much of each pixel is repainted, 0 to 255.

    Without transparency it is the luminance. With it, what is visible tells: black and white are a mask on a transparent
    layer, which is kept; one other colour is a brush, whose strokes are repainted; anything else is a picture, which is
    repainted where it was erased.
    """
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    layer = image.convert("RGBA")
    alpha = np.asarray(layer.getchannel("A"))
    if int(alpha.min()) == _FULL:
        return np.asarray(layer.convert("L"))
    visible = np.asarray(layer.convert("RGB"))[alpha >= _HALF]
    if visible.size == 0 or _is_black_and_white(visible):
        black = Image.new("RGBA", layer.size, (0, 0, 0, _FULL))
        return np.asarray(Image.alpha_composite(black, layer).convert("L"))
    return alpha if _is_of_one_colour(visible) else _FULL - alpha


def fault_of(mask: NDArray[np.uint8]) -> str | None:
    """Tells why a mask is no use: "mask_empty" repaints no pixel by half or more, "mask_full" repaints every one wholly."""
    if int(mask.max()) < _HALF:
        return "mask_empty"
    return "mask_full" if int(mask.min()) >= _WHOLE else None


def _is_black_and_white(visible: NDArray[np.uint8]) -> bool:
    black = (visible <= _NEAR).all(axis=1)
    white = (visible >= _FULL - _NEAR).all(axis=1)
    return float((black | white).mean()) >= _MOST


def _is_of_one_colour(visible: NDArray[np.uint8]) -> bool:
    spread = visible.max(axis=0).astype(int) - visible.min(axis=0)
    return int(spread.max()) <= _NEAR
