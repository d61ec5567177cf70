"""Draws landscapes: a sky, layered silhouettes that fade into its haze, and then what stands in the foreground.

Everything is flat areas and smooth gradients, without texture, because the autoencoder of the model is small. Owns the
light of the times of day, the skies and the lands; houses, trees and lakes are in `foreground`.
"""

import math
import random
from typing import Final

from PIL import Image

from training.foreground import draw_cactus, draw_feature, draw_pine
from training.painter import WHITE, Light, Painter, Point, Rgb, mix
from training.scenes import Daytime, Land, LandScene, SkyThing

_LIGHTS: Final = {
    Daytime.DAY: Light(
        sky=((58, 141, 222), (126, 190, 240), (214, 236, 250)),
        haze=(190, 217, 236),
        shade=WHITE,
        shade_share=0.0,
        disc=(255, 236, 150),
        cloud=WHITE,
        window=(204, 226, 240),
    ),
    Daytime.SUNSET: Light(
        sky=((72, 46, 118), (224, 86, 88), (255, 188, 94)),
        haze=(240, 128, 84),
        shade=(62, 20, 58),
        shade_share=0.52,
        disc=(255, 226, 130),
        cloud=(250, 150, 122),
        window=(255, 214, 130),
    ),
    Daytime.NIGHT: Light(
        sky=((9, 13, 38), (24, 34, 82), (52, 66, 124)),
        haze=(56, 70, 126),
        shade=(14, 20, 56),
        shade_share=0.62,
        disc=(250, 246, 220),
        cloud=(56, 66, 110),
        window=(255, 214, 112),
    ),
    Daytime.DAWN: Light(
        sky=((150, 168, 222), (242, 190, 208), (255, 232, 204)),
        haze=(246, 208, 206),
        shade=(206, 150, 182),
        shade_share=0.4,
        disc=(255, 248, 220),
        cloud=(255, 236, 236),
        window=(255, 240, 206),
    ),
}
_HORIZON: Final = {
    Land.MOUNTAINS: 0.66,
    Land.HILLS: 0.56,
    Land.SEA: 0.56,
    Land.DESERT: 0.56,
    Land.FOREST: 0.58,
    Land.CITY: 0.76,
}
_LINE_STEPS: Final = 96
_LOW_SUN: Final = (Daytime.SUNSET, Daytime.DAWN)


def draw_land(scene: LandScene, side: int) -> Image.Image:
    """Returns the picture of a landscape with the given side in pixels."""
    painter = Painter(side, random.Random(scene.seed))
    light = _LIGHTS[scene.daytime]
    horizon = _HORIZON[scene.land] + painter.rng.uniform(-0.02, 0.02)
    painter.gradient(0.0, horizon + 0.02, light.sky)
    painter.rectangle(0, horizon, 1, 1.01, light.haze)
    disc = _draw_sky(painter, scene, light, horizon)
    _LANDS[scene.land](painter, light, horizon, disc)
    left_first = painter.rng.random() < 0.5
    for index, feature in enumerate(scene.features):
        draw_feature(painter, light, feature, scene.land, on_left=(index == 0) == left_first)
    return painter.image


def _draw_sky(painter: Painter, scene: LandScene, light: Light, horizon: float) -> Point | None:
    """Draws what is in the sky and returns where the sun or the moon is, if any."""
    rng = painter.rng
    disc = None
    if SkyThing.STARS in scene.sky:
        _draw_stars(painter, horizon)
    if SkyThing.SUN in scene.sky:
        height = horizon - rng.uniform(0.1, 0.2) if scene.daytime in _LOW_SUN else rng.uniform(0.15, 0.25)
        disc = (rng.uniform(0.22, 0.78), height)
        painter.glow(disc, 0.3, light.disc, 0.75)
        painter.ellipse(disc, 0.075, 0.075, light.disc)
    if SkyThing.MOON in scene.sky:
        disc = (rng.uniform(0.2, 0.8), rng.uniform(0.14, 0.26))
        painter.glow(disc, 0.2, light.disc, 0.4)
        painter.ellipse(disc, 0.068, 0.068, light.disc)
    if SkyThing.CLOUDS in scene.sky:
        for centre_x in (rng.uniform(0.12, 0.32), rng.uniform(0.62, 0.88)):
            _draw_cloud(painter, light, (centre_x, rng.uniform(0.1, 0.3)))
    return disc


def _draw_stars(painter: Painter, horizon: float) -> None:
    # One star a cell keeps them apart, as a clear sky looks; drawn at random they would clot.
    columns, rows = 6, 4
    for cell in range(columns * rows):
        column, row = cell % columns, cell // columns
        x = (column + painter.rng.uniform(0.15, 0.85)) / columns
        y = (row + painter.rng.uniform(0.15, 0.85)) / rows * (horizon - 0.12)
        radius = painter.rng.uniform(0.006, 0.0095)
        painter.ellipse((x, y), radius, radius, (255, 252, 232))


def _draw_cloud(painter: Painter, light: Light, centre: Point) -> None:
    x, y = centre
    size = painter.rng.uniform(0.85, 1.2)
    for offset, lift, radius in ((-0.075, 0.008, 0.036), (-0.02, -0.012, 0.052), (0.045, -0.002, 0.042)):
        painter.ellipse((x + offset * size, y + lift * size), radius * size * 1.15, radius * size, light.cloud)
    painter.ellipse((x, y + 0.022 * size), 0.125 * size, 0.026 * size, light.cloud)


def _waves(rng: random.Random, base: float, height: float, count: float) -> list[float]:
    """Returns a soft line: two sines, the second of less than half the first's length."""
    turn, second = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    steps = [index / _LINE_STEPS for index in range(_LINE_STEPS + 1)]
    return [
        base
        - height * (0.7 * math.sin(turn + count * math.tau * x) + 0.3 * math.sin(second + 2.3 * count * math.tau * x))
        for x in steps
    ]


def _mountains(painter: Painter, light: Light, horizon: float, _disc: Point | None) -> None:
    rng = painter.rng
    _ridge(painter, light.on((84, 108, 148), 0.62), horizon - 0.02, 0.2, 5, None)
    snow = mix(light.on((250, 252, 255)), light.sky[2], 0.12)
    _ridge(painter, light.on((66, 86, 124), 0.22), horizon + 0.06, 0.38, 3, snow)
    painter.silhouette(_waves(rng, 0.74, 0.02, 0.8), light.on((64, 122, 84), 0.12))
    painter.silhouette(_waves(rng, 0.84, 0.025, 0.7), light.on((58, 134, 72)))


def _ridge(painter: Painter, colour: Rgb, base: float, height: float, count: int, snow: Rgb | None) -> None:
    rng = painter.rng
    for index in sorted(range(count), key=lambda _: rng.random()):
        x = (index + 0.5 + rng.uniform(-0.22, 0.22)) / count
        peak = height * rng.uniform(0.72, 1.0)
        reach = peak * rng.uniform(0.85, 1.05)
        painter.polygon(((x, base - peak), (x + reach, base + 0.02), (x - reach, base + 0.02)), colour)
        if snow is None:
            continue
        # The side away from the light is darker, which gives a flat triangle its body.
        dark = mix(colour, (20, 24, 50), 0.2)
        painter.polygon(((x, base - peak), (x + reach, base + 0.02), (x + 0.12 * reach, base + 0.02)), dark)
        cap, width = 0.34 * peak, 0.34 * reach
        top, rim = base - peak, base - peak + cap
        zigzag = ((x + 0.4 * width, rim - 0.3 * cap), (x, rim), (x - 0.45 * width, rim - 0.28 * cap))
        painter.polygon(((x, top), (x + width, rim), *zigzag, (x - width, rim)), snow)
    painter.rectangle(0, base, 1, 1.01, colour)


def _hills(painter: Painter, light: Light, horizon: float, _disc: Point | None) -> None:
    layers = (((128, 178, 120), 0.55), ((104, 176, 88), 0.28), ((84, 164, 72), 0.1), ((66, 146, 62), 0.0))
    for index, (colour, distance) in enumerate(layers):
        base = horizon + 0.03 + index * 0.115
        painter.silhouette(_waves(painter.rng, base, 0.055, 0.75), light.on(colour, distance))


def _sea(painter: Painter, light: Light, horizon: float, disc: Point | None) -> None:
    far, near = light.on((58, 150, 196), 0.25), light.on((18, 84, 150))
    painter.gradient(horizon, 1.0, (mix(far, light.sky[2], 0.2), mix(far, near, 0.6), near))
    if disc is not None:
        bright = mix(light.disc, far, 0.15)
        for index in range(6):
            width = 0.035 + 0.014 * index + painter.rng.uniform(-0.012, 0.012)
            painter.ellipse((disc[0], horizon + 0.025 + index * 0.055), width, 0.0085, bright)
    crest = mix(near, light.sky[2], 0.28)
    for index in range(5):
        y = horizon + 0.09 + index * 0.07
        painter.ellipse((painter.rng.uniform(0.1, 0.9), y), 0.075, 0.006, crest)


def _desert(painter: Painter, light: Light, horizon: float, _disc: Point | None) -> None:
    layers = (((236, 200, 140), 0.42), ((232, 184, 112), 0.16), ((224, 168, 92), 0.0))
    for index, (colour, distance) in enumerate(layers):
        line = _waves(painter.rng, horizon + 0.03 + index * 0.14, 0.06, 0.65)
        lit = light.on(colour, distance)
        painter.silhouette(line, lit)
        # The lee of the dune: from its crest down to the right.
        crest = min(range(16, 80), key=line.__getitem__)
        x, y, reach = crest / _LINE_STEPS, line[crest], painter.rng.uniform(0.3, 0.42)
        foot = [(step / _LINE_STEPS, line[step]) for step in range(crest, min(crest + 30, _LINE_STEPS))]
        painter.polygon(((x, y), *foot, (x + reach, 1.01), (x + 0.02, 1.01)), mix(lit, (96, 44, 30), 0.16))
        if index < 2:
            continue
        draw_cactus(painter, light, (painter.rng.uniform(0.12, 0.34), 0.9), 0.24)
        draw_cactus(painter, light, (painter.rng.uniform(0.66, 0.88), 0.8), 0.14)


def _forest(painter: Painter, light: Light, horizon: float, _disc: Point | None) -> None:
    rng = painter.rng
    rows = (((70, 128, 96), 0.5, 0.0, 0.2, 9), ((44, 110, 74), 0.22, 0.11, 0.29, 6), ((26, 86, 54), 0.0, 0.27, 0.4, 4))
    for colour, distance, drop, height, count in rows:
        seen = light.on(colour, distance)
        base = horizon + 0.08 + drop
        for index in range(count + 1):
            x = (index + rng.uniform(-0.2, 0.2)) / count
            draw_pine(painter, (x, base + 0.02), height * rng.uniform(0.8, 1.1), seen)
        painter.rectangle(0, base, 1, 1.01, seen)
    painter.silhouette(_waves(rng, horizon + 0.335, 0.015, 0.8), light.on((52, 116, 58)))


def _city(painter: Painter, light: Light, horizon: float, _disc: Point | None) -> None:
    _towers(painter, light.on((122, 138, 164), 0.5), None, horizon, 0.4, 8)
    _towers(painter, light.on((74, 88, 120), 0.12), light.window, horizon + 0.04, 0.46, 5)
    painter.rectangle(0, horizon + 0.04, 1, 1.01, light.on((92, 98, 112)))
    painter.rectangle(0, horizon + 0.065, 1, 1.01, light.on((70, 74, 86)))


def _towers(painter: Painter, wall: Rgb, window: Rgb | None, base: float, tallest: float, count: int) -> None:
    rng = painter.rng
    for index in range(count):
        width = rng.uniform(0.74, 0.94) / count
        left = (index + rng.uniform(0.0, 0.1)) / count
        top = base - tallest * rng.uniform(0.45, 1.0)
        painter.rectangle(left, top, left + width, base + 0.01, wall)
        if window is None:
            continue
        for column in range(3):
            x = left + width * (0.14 + 0.27 * column)
            for row in range(int((base - top - 0.03) / 0.058)):
                if rng.random() < 0.72:
                    y = top + 0.026 + 0.058 * row
                    painter.rectangle(x, y, x + 0.18 * width, y + 0.03, window)


_LANDS: Final = {
    Land.MOUNTAINS: _mountains,
    Land.HILLS: _hills,
    Land.SEA: _sea,
    Land.DESERT: _desert,
    Land.FOREST: _forest,
    Land.CITY: _city,
}
