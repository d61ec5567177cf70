"""Which scenes there are, and which of them training may see."""

import random

import pytest

from training.scenes import (
    FEATURES_OF,
    Daytime,
    LandScene,
    ObjectScene,
    Place,
    SkyThing,
    is_held_out,
    random_land,
    random_pair,
    random_scene,
    random_single,
    random_training_scene,
)


def test_training_scenes_are_never_held_out() -> None:
    rng = random.Random(1)
    assert not any(is_held_out(random_training_scene(rng)) for _ in range(2000))


@pytest.mark.parametrize("maker", [random_single, random_pair, random_land])
def test_about_a_tenth_of_each_sort_is_held_out(maker) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - of two types
    rng = random.Random(2)
    share = sum(is_held_out(maker(rng)) for _ in range(3000)) / 3000
    assert 0.05 < share < 0.2


def test_held_out_depends_on_the_combination_and_not_on_the_drawing() -> None:
    rng = random.Random(3)
    for _ in range(300):
        scene = random_land(rng)
        other = LandScene(scene.land, scene.daytime, (), scene.features, seed=scene.seed + 1)
        assert is_held_out(scene) == is_held_out(other)


def test_objects_differ_in_colour_from_each_other_and_from_the_background() -> None:
    rng = random.Random(4)
    for _ in range(500):
        scene = random_scene(rng)
        if isinstance(scene, ObjectScene):
            colours = {scene.background, *(item.colour for item in scene.items)}
            assert len(colours) == 1 + len(scene.items)


def test_the_first_of_a_pair_is_on_the_left_or_above() -> None:
    rng = random.Random(5)
    places = {tuple(item.place for item in random_pair(rng).items) for _ in range(200)}
    assert places == {(Place.LEFT, Place.RIGHT), (Place.TOP, Place.BOTTOM)}


def test_landscapes_have_what_belongs_to_them() -> None:
    rng = random.Random(6)
    for _ in range(1000):
        scene = random_land(rng)
        assert set(scene.features) <= set(FEATURES_OF[scene.land])
        assert (SkyThing.SUN in scene.sky) <= (scene.daytime is not Daytime.NIGHT)
        assert (SkyThing.STARS in scene.sky) <= (scene.daytime is Daytime.NIGHT)
