"""Paints smooth gradients, polygons and round things on a picture, in shares of its side.

Owns the arithmetic of colours and light. Knows nothing of what is painted.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Point = tuple[float, float]
WHITE: Final[Rgb] = (255, 255, 255)
_GLOW_PX: Final = 256


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a time of day: what it makes of the sky and of the colours under it."""

    sky: tuple[Rgb, Rgb, Rgb]
    """The colours at the top, in the middle and at the horizon."""
    haze: Rgb
    """What far things fade into."""
    shade: Rgb
    shade_share: float
    """How much of a near thing's colour the shade replaces."""
    disc: Rgb
    """The sun or the moon."""
    cloud: Rgb
    window: Rgb

    def on(self, colour: Rgb, distance: float = 0.0) -> Rgb:
        """Returns how a colour looks in this light from a distance between 0 (near) and 1 (lost in the haze)."""
        return mix(mix(colour, self.shade, self.shade_share), self.haze, distance)


class Painter:
    """A square picture and the pens for it; every length is a share of its side."""

    def __init__(self, side: int, rng: random.Random) -> None:
        self.image = Image.new("RGB", (side, side))
        self.rng = rng
        self._side = side
        self._pen = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Rgb) -> None:
        """Fills a polygon."""
        self._pen.polygon([(x * self._side, y * self._side) for x, y in points], fill=colour)

    def ellipse(self, centre: Point, radius_x: float, radius_y: float, colour: Rgb) -> None:
        """Fills an ellipse."""
        (x, y), side = centre, self._side
        self._pen.ellipse(
            ((x - radius_x) * side, (y - radius_y) * side, (x + radius_x) * side, (y + radius_y) * side), fill=colour
        )

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Rgb) -> None:
        """Fills a rectangle."""
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), colour)

    def silhouette(self, heights: Sequence[float], colour: Rgb) -> None:
        """Fills everything below a line given by its heights at equal steps from the left to the right edge."""
        last = len(heights) - 1
        line = [(index / last, height) for index, height in enumerate(heights)]
        self.polygon([*line, (1.0, 1.01), (0.0, 1.01)], colour)

    def gradient(self, top: float, bottom: float, colours: Sequence[Rgb]) -> None:
        """Fills the whole width between two heights with colours at equal steps."""
        first, end = round(top * self._side), round(bottom * self._side)
        stops = np.linspace(0.0, 1.0, len(colours))
        rows = np.linspace(0.0, 1.0, end - first)
        channels = [np.interp(rows, stops, [colour[channel] for colour in colours]) for channel in range(3)]
        column = np.stack(channels, axis=-1).round().astype(np.uint8)[:, None, :]
        strip = Image.fromarray(np.ascontiguousarray(np.broadcast_to(column, (end - first, self._side, 3))))
        self.image.paste(strip, (0, first))

    def glow(self, centre: Point, radius: float, colour: Rgb, strength: float) -> None:
        """Adds a round light that fades to nothing at the radius; a strength of 1 covers the centre."""
        size = round(2 * radius * self._side)
        mask = _falloff().resize((size, size)).point([round(strength * level) for level in range(256)])
        corner = (round((centre[0] - radius) * self._side), round((centre[1] - radius) * self._side))
        self.image.paste(colour, (*corner, corner[0] + size, corner[1] + size), mask)


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Returns a colour between two: share 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


@cache
def _falloff() -> Image.Image:
    axis = np.linspace(-1.0, 1.0, _GLOW_PX)
    distance = np.minimum(np.hypot(axis[:, None], axis[None, :]), 1.0)
    return Image.fromarray((255 * (1 - distance) ** 2).astype(np.uint8))
