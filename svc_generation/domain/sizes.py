"""How large a picture becomes that is made from another one. Sides are pixels."""

from dataclasses import dataclass
from typing import Final

_MULTIPLE_PX: Final = 8
"""The VAEs of all families work on blocks of 8 x 8 pixels."""
_SMALLEST_SIDE_PX: Final = 64
_LARGEST_SIDE_PX: Final = 4096
"""The contract's bounds of a picture's sides."""

LARGEST_UPSCALED_SIDE_PX: Final = 8192
LARGEST_UPSCALED_PIXELS: Final = 40_000_000
"""The contract's bounds of an upscaled picture; as many pixels as a source may have, so that it can be one."""


@dataclass(frozen=True, slots=True)
class Size:
    """Holds the sides of a picture."""

    width_px: int
    height_px: int

    @property
    def longest_px(self) -> int:
        """The longer side."""
        return max(self.width_px, self.height_px)

    @property
    def pixels(self) -> int:
        """The area."""
        return self.width_px * self.height_px

    def times(self, factor: int) -> "Size":
        """Returns the size after an upscaling by a factor."""
        return Size(self.width_px * factor, self.height_px * factor)


def fitted(source: Size, largest_side_px: int) -> Size:
    """Returns the size of a picture that is made from a source when the request names none.

    It is the source's own, made smaller with its proportions kept when a side exceeds the limit, then rounded down to
    whole blocks.
    """
    limit = min(largest_side_px, _LARGEST_SIDE_PX)
    longest = max(source.longest_px, limit)

    def side(px: int) -> int:
        return max(_SMALLEST_SIDE_PX, px * limit // longest // _MULTIPLE_PX * _MULTIPLE_PX)

    return Size(side(source.width_px), side(source.height_px))
