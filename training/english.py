"""The phrases of English captions.

A template is filled with parts that are made first; what training never sees stands in the `held_out` half of each
pair of lists.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from training.scenes import Colour, Daytime, Feature, Item, Land, LandScene, ObjectScene, Place, Shape, Size, SkyThing


@dataclass(frozen=True, slots=True)
class Wordings:
    """Templates: those of training and those of the evaluation."""

    trained: Sequence[str]
    held_out: Sequence[str]

    def choose(self, rng: random.Random, *, held_out: bool) -> str:
        """Returns one of the templates."""
        return rng.choice(self.held_out if held_out else self.trained)


COLOURS: Final[Mapping[Colour, Sequence[str]]] = {
    **{colour: (colour.value,) for colour in Colour},
    Colour.PURPLE: ("purple", "purple", "violet"),
    Colour.GRAY: ("gray", "grey"),
    Colour.CYAN: ("cyan", "cyan", "turquoise", "light blue"),
}
SHAPES: Final[Mapping[Shape, Sequence[str]]] = {
    **{shape: (shape.value,) for shape in Shape},
    Shape.CIRCLE: ("circle", "circle", "disc"),
    Shape.RING: ("ring", "ring", "hoop"),
    Shape.DIAMOND: ("diamond", "diamond", "rhombus"),
}
SIZES: Final = {Size.SMALL: ("small", "little", "tiny"), Size.LARGE: ("large", "big", "huge")}
_PLACES: Final = {
    Place.CENTRE: ("in the middle", "in the centre", "in the center"),
    Place.LEFT: ("on the left", "on the left side", "at the left"),
    Place.RIGHT: ("on the right", "on the right side", "at the right"),
    Place.TOP: ("at the top", "in the upper part", "near the top"),
    Place.BOTTOM: ("at the bottom", "in the lower part", "near the bottom"),
}
_LEADS: Final = Wordings(
    (
        *("",) * 9,
        "a picture of ",
        "an image of ",
        "a drawing of ",
        "draw ",
        "please draw ",
        "show me ",
        "an illustration of ",
        "generate ",
        "I want ",
        "make ",
        "a simple picture of ",
    ),
    ("", "a poster of ", "paint ", "give me ", "I would like ", "a graphic of "),
)
_TAILS: Final = Wordings(
    (
        *("",) * 20,
        ", flat illustration",
        ", minimalist",
        ", 4k",
        ", simple",
        ", vector art",
        ", beautiful",
        ", high quality",
        ", clean design",
        ", flat style",
        ", best quality",
        ", detailed",
        ", masterpiece",
        ", colourful",
    ),
    ("", "", ", flat illustration, 4k", ", beautiful, minimalist"),
)
_SINGLE: Final = Wordings(
    (
        *("{object}{place} on {a_background} background",) * 3,
        "{object} on {a_background} background{place}",
        "{object}{place} against {a_background} background",
        "{object}{place} with {a_background} background",
        "{object}{place} in front of {a_background} background",
        "{object}{place} on {background}",
        "on {a_background} background, {object}{place}",
        "{background} background, {bare}{place_tag}",
        "{bare}{place_tag}, {background} background",
        "{colour} {shape}{size_tag}{place_tag}, {background} background",
        "{background} background, {colour} {shape}{size_tag}{place_tag}",
        "there is {object}{place} on {a_background} background",
        "{a_background} background and {object}{place}",
        "{bare} on {background}{place}",
        "{object}{place}, the background is {background}",
    ),
    (
        "{a_background} background with {object}{place}",
        "{object}{place} before {a_background} background",
        "{object}{place} and {a_background} background behind it",
        "{bare}{place} on {a_background} background",
        "on {background}, {object}{place}",
    ),
)
_SINGLE_ALONE: Final = (
    "{object}{place}",
    "{object}",
    "{bare}{place_tag}",
    "{colour} {shape}{size_tag}",
    "one {bare}{place}",
)
_BACKGROUND: Final = Wordings(
    (
        *("{pair} on {a_background} background",) * 3,
        "{pair}, {background} background",
        "{background} background, {pair}",
        "{pair} against {a_background} background",
        "{pair} with {a_background} background",
        "{pair} on {background}",
        "on {a_background} background, {pair}",
        "on {a_background} background there is {pair}",
    ),
    (
        "{pair} in front of {a_background} background",
        "{a_background} background with {pair}",
        "on {background}, {pair}",
    ),
)
_BESIDE: Final = Wordings(
    (
        "{first} to the left of {second}",
        "{first} to the left of {second}",
        "{first} left of {second}",
        "{first} on the left of {second}",
        "{second} to the right of {first}",
        "{second} to the right of {first}",
        "{second} right of {first}",
        "{first} on the left and {second} on the right",
        "{first} on the left, {second} on the right",
        "{second} on the right and {first} on the left",
        "on the left {first}, on the right {second}",
        "left: {first_bare}, right: {second_bare}",
        "{first_bare} left, {second_bare} right",
        "on the right {second} and on the left {first}",
        "at the right {second}, at the left {first}",
        "right: {second_bare}, left: {first_bare}",
    ),
    (
        "{first} on the left side and {second} on the right side",
        "{first} on the left with {second} on the right",
        "{second} on the right of {first}",
        "on the right {second}, on the left {first}",
    ),
)
_STACKED: Final = Wordings(
    (
        "{first} above {second}",
        "{first} above {second}",
        "{first} over {second}",
        "{second} below {first}",
        "{second} below {first}",
        "{second} under {first}",
        "{first} at the top and {second} at the bottom",
        "{first} at the top, {second} at the bottom",
        "{second} at the bottom and {first} at the top",
        "top: {first_bare}, bottom: {second_bare}",
        "{first} with {second} underneath",
        "{second} beneath {first}",
        "at the bottom {second}, at the top {first}",
    ),
    (
        "{first} on top and {second} below",
        "{second} at the bottom with {first} above it",
        "{second} underneath {first}",
    ),
)
# Who is first is left open.
_TOGETHER: Final = (
    "{first} and {second}",
    "{first} next to {second}",
    "{first} beside {second}",
    "{first} with {second}",
)
_LANDS: Final = {
    Land.MOUNTAINS: (
        "mountains",
        "mountains",
        "a mountain range",
        "snowy mountains",
        "a mountain landscape",
        "mountain peaks",
    ),
    Land.HILLS: ("hills", "hills", "rolling hills", "gentle hills", "grassy hills", "a hilly landscape"),
    Land.SEA: ("the sea", "the sea", "the ocean", "a calm sea", "a seascape", "the open sea"),
    Land.DESERT: ("a desert", "a desert", "the desert", "sand dunes", "a desert landscape"),
    Land.FOREST: ("a forest", "a forest", "the forest", "a pine forest", "the woods"),
    Land.CITY: ("a city", "a city skyline", "the city", "skyscrapers", "a skyline", "a city with tall buildings"),
}
_TIMES: Final = {
    Daytime.DAY: ("during the day", "by day", "at noon", "in daylight", "in the daytime", "at day"),
    Daytime.SUNSET: ("at sunset", "at sunset", "in the evening", "at dusk", "during sunset"),
    Daytime.NIGHT: ("at night", "at night", "by night", "in the night", "at midnight"),
    Daytime.DAWN: ("at dawn", "at dawn", "at daybreak", "at sunrise", "in the early morning"),
}
_TIME_NOUNS: Final = {
    Daytime.DAY: ("daytime", "day", "daylight"),
    Daytime.SUNSET: ("sunset", "dusk", "evening"),
    Daytime.NIGHT: ("night", "nighttime"),
    Daytime.DAWN: ("dawn", "sunrise", "early morning"),
}
_THINGS: Final[Mapping[SkyThing | Feature, Sequence[str]]] = {
    SkyThing.SUN: ("the sun", "a sun", "a bright sun"),
    SkyThing.MOON: ("the moon", "a moon", "a full moon"),
    SkyThing.STARS: ("stars", "a starry sky", "many stars"),
    SkyThing.CLOUDS: ("clouds", "some clouds", "a cloudy sky"),
    Feature.LAKE: ("a lake", "a lake", "a pond"),
    Feature.HOUSE: ("a house", "a house", "a small house", "a cottage"),
    Feature.TREE: ("a tree", "a tree", "a green tree"),
}
_LAND: Final = Wordings(
    (
        *("{land} {time}{things}",) * 4,
        "{time}, {land}{things}",
        "{land}{things} {time}",
        "{land}{things}, {noun}",
        "{noun}, {land}{thing_tags}",
        "{land}, {noun}{thing_tags}",
        "{noun} over {land}{things}",
        "a {noun} landscape, {land}{things}",
        "a landscape of {land} {time}{things}",
        "{noun} in {land}{things}",
    ),
    (
        "a view of {land} {time}{things}",
        "a scene of {land}{things}, {time}",
        "{time} in {land}{things}",
        "a landscape with {land} {time}{things}",
        "{land}{thing_tags}, {time}",
    ),
)
_LAND_ALONE: Final = ("{land}{things}", "a landscape with {land}{things}", "{land}{thing_tags}", "{land}")
# How often a thing is named at all. An unnamed background is white more often than not, an unnamed time is day.
_BACKGROUND_ODDS: Final = 0.92
_WHITE_BACKGROUND_ODDS: Final = 0.5
_SIZE_ODDS: Final = 0.85
_PLACE_ODDS: Final = 0.9
_CENTRE_ODDS: Final = 0.12
_ORDER_ODDS: Final = 0.85
_TIME_ODDS: Final = 0.93
_DAY_ODDS: Final = 0.6
_THING_ODDS: Final = 0.8


def say_single(scene: ObjectScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a scene of one object."""
    item = scene.items[0]
    odds = _CENTRE_ODDS if item.place is Place.CENTRE else _PLACE_ODDS
    place = (
        rng.choice(_PLACES[item.place]) if rng.random() < odds or (held_out and item.place is not Place.CENTRE) else ""
    )
    bare, size = _bare(item, rng), _size(item, rng)
    colour, shape = rng.choice(COLOURS[item.colour]), rng.choice(SHAPES[item.shape])
    template = _SINGLE.choose(rng, held_out=held_out)
    if not held_out and not _names_background(scene, rng):
        template = rng.choice(_SINGLE_ALONE)
    background = rng.choice(COLOURS[scene.background])
    text = template.format(
        object=_with_article(bare),
        bare=bare,
        colour=colour,
        shape=shape,
        size_tag=f", {size}" if size else "",
        place=f" {place}" if place else "",
        place_tag=f", {place}" if place else "",
        background=background,
        a_background=_with_article(background),
    )
    return _finish(text, rng, held_out=held_out)


def say_pair(scene: ObjectScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a scene of two objects."""
    first, second = (_bare(item, rng) for item in scene.items)
    relation = _BESIDE if scene.items[0].place is Place.LEFT else _STACKED
    template = relation.choose(rng, held_out=held_out)
    if not held_out and rng.random() > _ORDER_ODDS:
        template = rng.choice(_TOGETHER)
        if rng.random() < 0.5:
            first, second = second, first
    pair = template.format(
        first=_with_article(first), second=_with_article(second), first_bare=first, second_bare=second
    )
    if held_out or _names_background(scene, rng):
        background = rng.choice(COLOURS[scene.background])
        template = _BACKGROUND.choose(rng, held_out=held_out)
        pair = template.format(pair=pair, background=background, a_background=_with_article(background))
    return _finish(pair, rng, held_out=held_out)


def say_land(scene: LandScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a landscape."""
    things: tuple[SkyThing | Feature, ...] = (*scene.sky, *scene.features)
    named = [
        rng.choice(_THINGS[thing])
        for thing in things
        if rng.random() < _THING_ODDS or (held_out and isinstance(thing, Feature))
    ]
    rng.shuffle(named)
    odds = _DAY_ODDS if scene.daytime is Daytime.DAY else _TIME_ODDS
    template = _LAND.choose(rng, held_out=held_out)
    if not held_out and rng.random() > odds:
        template = rng.choice(_LAND_ALONE)
    listed = " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))
    text = template.format(
        land=rng.choice(_LANDS[scene.land]),
        time=rng.choice(_TIMES[scene.daytime]),
        noun=rng.choice(_TIME_NOUNS[scene.daytime]),
        things=f" {rng.choice(('with', 'with', 'and'))} {listed}" if named else "",
        thing_tags="".join(f", {thing}" for thing in named),
    )
    return _finish(text, rng, held_out=held_out)


def _names_background(scene: ObjectScene, rng: random.Random) -> bool:
    return rng.random() < (_WHITE_BACKGROUND_ODDS if scene.background is Colour.WHITE else _BACKGROUND_ODDS)


def _size(item: Item, rng: random.Random) -> str:
    return rng.choice(SIZES[item.size]) if item.size in SIZES and rng.random() < _SIZE_ODDS else ""


def _bare(item: Item, rng: random.Random) -> str:
    words = (_size(item, rng), rng.choice(COLOURS[item.colour]), rng.choice(SHAPES[item.shape]))
    return " ".join(filter(None, words))


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _finish(text: str, rng: random.Random, *, held_out: bool) -> str:
    whole = _LEADS.choose(rng, held_out=held_out) + text + _TAILS.choose(rng, held_out=held_out)
    return f"{whole}." if rng.random() < 0.1 else whole
