"""How large a picture becomes that is made from another one. Sides are pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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


@dataclass(frozen=True, slots=True)
class SizePreset:
    """The size of a place where pictures are shown."""

    place: Size

    @property
    def size(self) -> Size:
        """The size of a picture for it: its own, rounded up to whole blocks, from which it may be cropped."""
        return Size(_rounded_up(self.place.width_px), _rounded_up(self.place.height_px))


SIZE_PRESETS: Final[Mapping[str, SizePreset]] = MappingProxyType(
    {
        "square": SizePreset(Size(1024, 1024)),
        "landscape": SizePreset(Size(1024, 576)),
        "portrait": SizePreset(Size(576, 1024)),
        "photo": SizePreset(Size(1024, 768)),
        "instagram": SizePreset(Size(1080, 1080)),
        "story": SizePreset(Size(1080, 1920)),
        "facebook-cover": SizePreset(Size(820, 312)),
        "youtube-thumbnail": SizePreset(Size(1280, 720)),
        "x-header": SizePreset(Size(1500, 500)),
        "blog": SizePreset(Size(1200, 630)),
    }
)
"""The sizes that have a name, which the contract lists too."""


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


def _rounded_up(px: int) -> int:
    return -(-px // _MULTIPLE_PX) * _MULTIPLE_PX
