"""Draws a scene as a picture of 256 x 256 pixels.

Owns the palette and the flat shapes. Landscapes are in `landscape`. The same scene gives the same pixels.
"""

import math
import random
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.landscape import draw_land
from training.scenes import Colour, Item, LandScene, ObjectScene, Place, Scene, Shape, Size

SIDE_PX: Final = 256
# Pictures are drawn at twice their side and averaged down: that is what makes edges smooth.
_SCALE: Final = 2
# Far enough from each other that a small network and a small autoencoder keep them apart.
RGB: Final = {
    Colour.RED: (217, 38, 43),
    Colour.ORANGE: (247, 129, 23),
    Colour.YELLOW: (250, 214, 46),
    Colour.GREEN: (42, 157, 74),
    Colour.BLUE: (36, 88, 214),
    Colour.PURPLE: (124, 56, 182),
    Colour.PINK: (248, 156, 194),
    Colour.BROWN: (116, 70, 38),
    Colour.BLACK: (22, 22, 26),
    Colour.WHITE: (247, 247, 245),
    Colour.GRAY: (140, 143, 149),
    Colour.CYAN: (64, 202, 221),
}
_Point = tuple[float, float]
# Radii as shares of the picture's side: alone, and beside another object.
_RADIUS_ALONE: Final = {Size.SMALL: 0.13, Size.MEDIUM: 0.22, Size.LARGE: 0.35}
_RADIUS_PAIRED: Final = {Size.SMALL: 0.11, Size.MEDIUM: 0.165, Size.LARGE: 0.21}
_CENTRES: Final = {
    Place.CENTRE: (0.5, 0.5),
    Place.LEFT: (0.265, 0.5),
    Place.RIGHT: (0.735, 0.5),
    Place.TOP: (0.5, 0.265),
    Place.BOTTOM: (0.5, 0.735),
}
# How far a place and a radius may be off, so that the network learns "left" rather than one point.
_PLACE_JITTER: Final = 0.02
_RADIUS_JITTER: Final = 0.06
_TILT_RADIANS: Final = math.radians(4)
_RING_HOLE: Final = 0.56


def draw(scene: Scene, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Returns the picture of a scene, (side_px, side_px, 3) in RGB; everything in it scales with the side."""
    side = side_px * _SCALE
    image = draw_land(scene, side) if isinstance(scene, LandScene) else _draw_objects(scene, side)
    return np.asarray(image.reduce(_SCALE))


def _draw_objects(scene: ObjectScene, side: int) -> Image.Image:
    rng = random.Random(scene.seed)
    image = Image.new("RGB", (side, side), RGB[scene.background])
    radii = _RADIUS_ALONE if len(scene.items) == 1 else _RADIUS_PAIRED
    for item in scene.items:
        radius = radii[item.size] * (1 + rng.uniform(-_RADIUS_JITTER, _RADIUS_JITTER))
        _draw_item(image, item, scene.background, radius, rng)
    return image


def _draw_item(image: Image.Image, item: Item, background: Colour, radius: float, rng: random.Random) -> None:
    centre_x, centre_y = (share + rng.uniform(-_PLACE_JITTER, _PLACE_JITTER) for share in _CENTRES[item.place])
    tilt = rng.uniform(-_TILT_RADIANS, _TILT_RADIANS)
    pen = ImageDraw.Draw(image)

    def place(outline: tuple[_Point, ...], scale: float = 1.0) -> list[_Point]:
        cos, sin = math.cos(tilt) * radius * scale, math.sin(tilt) * radius * scale
        return [
            ((centre_x + x * cos - y * sin) * image.width, (centre_y + x * sin + y * cos) * image.width)
            for x, y in outline
        ]

    pen.polygon(place(_outline(item.shape)), fill=RGB[item.colour])
    if item.shape is Shape.RING:
        pen.polygon(place(_outline(item.shape), _RING_HOLE), fill=RGB[background])


@cache
def _outline(shape: Shape) -> tuple[_Point, ...]:
    """Returns a shape's outline around the origin, y down, about as large as the circle of radius 1."""
    match shape:
        case Shape.CIRCLE | Shape.RING:
            return _regular(96, 1.0)
        case Shape.SQUARE:
            return ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88))
        case Shape.TRIANGLE:
            return tuple((1.15 * x, 1.15 * y + 0.2) for x, y in _regular(3, 1.0))
        case Shape.STAR:
            tips, notches = _regular(5, 1.15), _regular(5, 0.48, turn=math.pi / 5)
            return tuple(point for pair in zip(tips, notches, strict=True) for point in pair)
        case Shape.HEART:
            return _heart(96)
        case Shape.DIAMOND:
            return ((0.0, -1.15), (0.74, 0.0), (0.0, 1.15), (-0.74, 0.0))


def _regular(count: int, radius: float, turn: float = 0.0) -> tuple[_Point, ...]:
    angles = (turn + 2 * math.pi * index / count for index in range(count))
    return tuple((radius * math.sin(angle), -radius * math.cos(angle)) for angle in angles)


def _heart(count: int) -> tuple[_Point, ...]:
    # The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, brought to the circle's size.
    points = []
    for index in range(count):
        t = 2 * math.pi * index / count
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((16 * math.sin(t) ** 3 / 15.5, -(y + 2.5) / 15.5))
    return tuple(points)
