"""Drawings show what their scenes say."""

import itertools
import random

import numpy as np
import pytest

from training.drawing import RGB, SIDE_PX, draw
from training.scenes import (
    Colour,
    Daytime,
    Feature,
    Item,
    Land,
    LandScene,
    ObjectScene,
    Place,
    Shape,
    Size,
    random_scene,
)


def alone(shape: Shape, size: Size = Size.MEDIUM, place: Place = Place.CENTRE, seed: int = 1) -> ObjectScene:
    return ObjectScene(Colour.BLUE, (Item(shape, Colour.RED, size, place),), seed)


def red(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - RGB[Colour.RED]).max(axis=2) < 8).nonzero()


def test_the_same_scene_gives_the_same_pixels() -> None:
    rng = random.Random(1)
    for _ in range(20):
        scene = random_scene(rng)
        assert (draw(scene) == draw(scene)).all()


def test_pictures_are_bytes_of_the_native_size() -> None:
    picture = draw(alone(Shape.STAR))
    assert (picture.shape, picture.dtype) == ((SIDE_PX, SIDE_PX, 3), np.uint8)


@pytest.mark.parametrize("shape", Shape)
def test_object_and_background_have_the_named_colours(shape: Shape) -> None:
    picture = draw(alone(shape))
    assert tuple(picture[2, 2]) == RGB[Colour.BLUE]
    rows, columns = red(picture)
    assert len(rows) > 1500
    assert abs(rows.mean() - SIDE_PX / 2) < 16
    assert abs(columns.mean() - SIDE_PX / 2) < 16


def test_a_ring_shows_the_background_in_its_middle() -> None:
    assert tuple(draw(alone(Shape.RING))[128, 128]) == RGB[Colour.BLUE]


def test_sizes_are_in_order() -> None:
    areas = [len(red(draw(alone(Shape.CIRCLE, size)))[0]) for size in Size]
    assert areas[0] * 1.5 < areas[1]
    assert areas[1] * 1.5 < areas[2]


@pytest.mark.parametrize(
    ("place", "axis", "sign"),
    [(Place.LEFT, 1, -1), (Place.RIGHT, 1, 1), (Place.TOP, 0, -1), (Place.BOTTOM, 0, 1)],
)
def test_an_object_is_where_it_was_placed(place: Place, axis: int, sign: int) -> None:
    where = red(draw(alone(Shape.HEART, place=place)))[axis].mean() - SIDE_PX / 2
    assert where * sign > 40


def test_colours_are_far_apart() -> None:
    pairs = itertools.combinations(RGB.values(), 2)
    assert min(np.linalg.norm(np.subtract(first, second)) for first, second in pairs) > 70


@pytest.mark.parametrize("land", Land)
def test_lands_get_darker_from_day_over_sunset_to_night(land: Land) -> None:
    times = (Daytime.DAY, Daytime.SUNSET, Daytime.NIGHT)
    means = [draw(LandScene(land, daytime, (), (), 5)).mean() for daytime in times]
    assert means[0] > means[1] > means[2]


@pytest.mark.parametrize("feature", Feature)
def test_a_feature_changes_the_foreground_only(feature: Feature) -> None:
    without = draw(LandScene(Land.HILLS, Daytime.DAY, (), (), 9))
    picture = draw(LandScene(Land.HILLS, Daytime.DAY, (), (feature,), 9))
    changed = (without != picture).any(axis=2)
    assert changed[128:].mean() > 0.01
    assert not changed[:128].any()
