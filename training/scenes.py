"""What a drawing shows: the values that the drawer, the captions and the classifier share.

Owns the vocabulary (shapes, colours, lands, times), the random choice of a scene, and which combinations are held out
from training. Leaves how a scene looks to `drawing` and how people speak of it to `captions`.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Shape(StrEnum):
    """A flat shape."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    HEART = "heart"
    RING = "ring"
    DIAMOND = "diamond"


class Colour(StrEnum):
    """A named colour, of an object or of a background."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BROWN = "brown"
    BLACK = "black"
    WHITE = "white"
    GRAY = "gray"
    CYAN = "cyan"


class Size(StrEnum):
    """How large an object is; medium is the size of an object of which nothing is said."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Place(StrEnum):
    """Where an object is in the picture."""

    CENTRE = "centre"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


class Land(StrEnum):
    """A kind of landscape."""

    MOUNTAINS = "mountains"
    HILLS = "hills"
    SEA = "sea"
    DESERT = "desert"
    FOREST = "forest"
    CITY = "city"


class Daytime(StrEnum):
    """The time of day, which sets the light of a landscape."""

    DAY = "day"
    SUNSET = "sunset"
    NIGHT = "night"
    DAWN = "dawn"


class SkyThing(StrEnum):
    """Something in the sky of a landscape."""

    SUN = "sun"
    MOON = "moon"
    STARS = "stars"
    CLOUDS = "clouds"


class Feature(StrEnum):
    """Something in the foreground of a landscape."""

    LAKE = "lake"
    HOUSE = "house"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Item:
    """An object of a scene."""

    shape: Shape
    colour: Colour
    size: Size
    place: Place


@dataclass(frozen=True, slots=True)
class ObjectScene:
    """One object, or two that stand side by side or one above the other; of two, the left or upper one is first."""

    background: Colour
    items: tuple[Item, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class LandScene:
    """A landscape. The order of sky and features is that of their enums."""

    land: Land
    daytime: Daytime
    sky: tuple[SkyThing, ...]
    features: tuple[Feature, ...]
    seed: int


Scene = ObjectScene | LandScene

# What would look odd is left out: a lake in the sea, a cottage between towers, one more tree in a forest.
FEATURES_OF: Final = {
    Land.MOUNTAINS: (Feature.LAKE, Feature.HOUSE, Feature.TREE),
    Land.HILLS: (Feature.LAKE, Feature.HOUSE, Feature.TREE),
    Land.SEA: (Feature.HOUSE, Feature.TREE),
    Land.DESERT: (Feature.LAKE, Feature.HOUSE, Feature.TREE),
    Land.FOREST: (Feature.LAKE, Feature.HOUSE),
    Land.CITY: (Feature.LAKE, Feature.TREE),
}
# The probability of each thing in the sky at each time.
_SKY_ODDS: Final = {
    Daytime.DAY: ((SkyThing.SUN, 0.55), (SkyThing.CLOUDS, 0.5)),
    Daytime.SUNSET: ((SkyThing.SUN, 0.7), (SkyThing.CLOUDS, 0.4)),
    Daytime.NIGHT: ((SkyThing.MOON, 0.6), (SkyThing.STARS, 0.6), (SkyThing.CLOUDS, 0.2)),
    Daytime.DAWN: ((SkyThing.SUN, 0.5), (SkyThing.CLOUDS, 0.4)),
}
_SINGLE_SHARE: Final = 0.38
_PAIR_SHARE: Final = 0.30
_HELD_OUT_TENTHS: Final = 1
_SEED_LIMIT: Final = 2**31


def random_scene(rng: random.Random) -> Scene:
    """Returns any scene, held out or not."""
    kind = rng.random()
    if kind < _SINGLE_SHARE:
        return random_single(rng)
    if kind < _SINGLE_SHARE + _PAIR_SHARE:
        return random_pair(rng)
    return random_land(rng)


def random_training_scene(rng: random.Random, draw_scene: Callable[[random.Random], Scene] = random_scene) -> Scene:
    """Returns a scene that is not held out, of those that draw_scene makes."""
    while True:
        scene = draw_scene(rng)
        if not is_held_out(scene):
            return scene


def random_single(rng: random.Random) -> ObjectScene:
    """Returns a scene of one object: mostly in the centre, else at one of the four sides and then not large."""
    background, colour = rng.sample(list(Colour), 2)
    place = Place.CENTRE if rng.random() < 0.6 else rng.choice(list(Place)[1:])
    sizes = list(Size) if place is Place.CENTRE else [Size.SMALL, Size.MEDIUM]
    item = Item(rng.choice(list(Shape)), colour, rng.choice(sizes), place)
    return ObjectScene(background, (item,), rng.randrange(_SEED_LIMIT))


def random_pair(rng: random.Random) -> ObjectScene:
    """Returns a scene of two different objects: two in three stand side by side, the others above each other."""
    background, first_colour, second_colour = rng.sample(list(Colour), 3)
    places = (Place.LEFT, Place.RIGHT) if rng.random() < 2 / 3 else (Place.TOP, Place.BOTTOM)
    # Sizes are mostly left alone: people name them rarely for two objects.
    sizes = rng.choices(list(Size), weights=(1, 4, 1), k=2)
    items = tuple(
        Item(rng.choice(list(Shape)), colour, size, place)
        for colour, size, place in zip((first_colour, second_colour), sizes, places, strict=True)
    )
    return ObjectScene(background, items, rng.randrange(_SEED_LIMIT))


def random_land(rng: random.Random) -> LandScene:
    """Returns a landscape."""
    land = rng.choice(list(Land))
    daytime = rng.choice(list(Daytime))
    sky = tuple(thing for thing, odds in _SKY_ODDS[daytime] if rng.random() < odds)
    count = rng.choices((0, 1, 2), weights=(40, 45, 15))[0]
    chosen = rng.sample(FEATURES_OF[land], count)
    features = tuple(feature for feature in Feature if feature in chosen)
    return LandScene(land, daytime, sky, features, rng.randrange(_SEED_LIMIT))


def is_held_out(scene: Scene) -> bool:
    """Tells whether a scene's combination belongs to the tenth that training never sees.

    The combination is shape, colour and background of one object; shapes and colours of two, in their order; land,
    time and features of a landscape.
    """
    return any(_tenth(key) < _HELD_OUT_TENTHS for key in _combinations(scene))


def _combinations(scene: Scene) -> list[tuple[str, ...]]:
    if isinstance(scene, LandScene):
        return [(scene.land, scene.daytime, *scene.features)]
    if len(scene.items) == 1:
        return [(scene.items[0].shape, scene.items[0].colour, scene.background)]
    return [tuple(word for item in scene.items for word in (item.shape, item.colour))]


def _tenth(key: tuple[str, ...]) -> int:
    # Python's own hash differs from process to process.
    return hashlib.sha256("|".join(key).encode()).digest()[0] % 10
