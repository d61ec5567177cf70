"""Draws what stands in the foreground of a landscape: a lake, a house, a tree, and the plants of some lands."""

from collections.abc import Sequence
from typing import Final

from training.painter import Light, Painter, Point, Rgb, mix
from training.scenes import Feature, Land

_LEFT_X: Final = 0.25
_RIGHT_X: Final = 0.75
_DARK: Final[Rgb] = (20, 16, 40)


def draw_feature(painter: Painter, light: Light, feature: Feature, land: Land, *, on_left: bool) -> None:
    """Draws a feature in the left or right half of the foreground; a lake lies across it."""
    x = (_LEFT_X if on_left else _RIGHT_X) + painter.rng.uniform(-0.05, 0.05)
    if feature is Feature.LAKE:
        _draw_lake(painter, light)
        return
    if land is Land.SEA:
        # Something to stand on: a green headland that runs out of the picture.
        ground = light.on((92, 150, 84))
        painter.ellipse((x, 1.02), 0.3, 0.16, mix(ground, _DARK, 0.12))
        painter.ellipse((x, 1.04), 0.3, 0.165, ground)
    if feature is Feature.HOUSE:
        _draw_house(painter, light, (x, 0.9))
    else:
        _draw_tree(painter, light, (x, 0.91))


def draw_pine(painter: Painter, foot: Point, height: float, colour: Rgb) -> None:
    """Draws a pine of three tiers on its foot."""
    x, y = foot
    for share, width in ((0.0, 0.3), (0.28, 0.235), (0.55, 0.165)):
        tier = y - height * share
        painter.polygon(((x, tier - 0.46 * height), (x + width * height, tier), (x - width * height, tier)), colour)


def draw_cactus(painter: Painter, light: Light, foot: Point, height: float) -> None:
    """Draws a cactus with two arms on its foot."""
    colour = light.on((60, 132, 76))
    (x, y), half = foot, 0.09 * height
    _bar(painter, (x - half, x + half), (y - height, y), colour)
    for side, low, high in ((-1, 0.38, 0.74), (1, 0.5, 0.86)):
        far = x + side * 0.3 * height
        near, end = sorted((x, far))
        painter.rectangle(near, y - height * (low + 0.13), end, y - height * low, colour)
        _bar(painter, (far - 0.75 * half, far + 0.75 * half), (y - height * high, y - height * low), colour)


def _bar(painter: Painter, across: Sequence[float], down: Sequence[float], colour: Rgb) -> None:
    """Fills an upright bar with a round top."""
    (left, right), (top, bottom) = across, down
    painter.rectangle(left, top, right, bottom, colour)
    painter.ellipse(((left + right) / 2, top), (right - left) / 2, (right - left) / 2, colour)


def _draw_lake(painter: Painter, light: Light) -> None:
    water = mix(mix(light.sky[1], light.sky[2], 0.4), light.on((40, 120, 180)), 0.42)
    centre = (0.5 + painter.rng.uniform(-0.06, 0.06), 0.9)
    painter.ellipse((centre[0], centre[1] - 0.008), 0.37, 0.078, mix(water, _DARK, 0.3))
    painter.ellipse(centre, 0.365, 0.073, water)
    bright = mix(water, light.sky[2], 0.6)
    for offset, drop in ((-0.14, -0.02), (0.1, 0.012), (-0.02, 0.042)):
        painter.ellipse((centre[0] + offset, centre[1] + drop), 0.09, 0.006, bright)


def _draw_house(painter: Painter, light: Light, foot: Point) -> None:
    (x, y), half, wall_height = foot, 0.098, 0.125
    wall, roof = light.on((244, 232, 212)), light.on((184, 66, 54))
    painter.rectangle(x - half, y - wall_height, x + half, y, wall)
    painter.polygon(((x, y - 0.225), (x + half + 0.03, y - wall_height), (x - half - 0.03, y - wall_height)), roof)
    painter.rectangle(x - 0.068, y - 0.08, x - 0.018, y, light.on((112, 70, 46)))
    painter.rectangle(x + 0.018, y - 0.088, x + 0.07, y - 0.04, light.window)


def _draw_tree(painter: Painter, light: Light, foot: Point) -> None:
    x, y = foot
    painter.rectangle(x - 0.019, y - 0.15, x + 0.019, y, light.on((104, 68, 44)))
    leaves = light.on((48, 128, 62))
    for offset, lift, radius in ((-0.06, 0.17, 0.068), (0.06, 0.17, 0.068), (0.0, 0.24, 0.085)):
        painter.ellipse((x + offset, y - lift), radius, radius, leaves)
    painter.ellipse((x - 0.022, y - 0.262), 0.042, 0.036, mix(leaves, light.sky[2], 0.16))
