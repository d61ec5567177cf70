"""What the evaluation asks, and what it counts as right."""

import random
from dataclasses import replace

import numpy as np
import pytest

from training.attributes import HEADS, IGNORED, SIZES, Kind, attributes
from training.evaluation import judge, questions
from training.scenes import (
    Daytime,
    LandScene,
    ObjectScene,
    Place,
    Scene,
    is_held_out,
    random_land,
    random_pair,
    random_scene,
)


def answers_for(scene: Scene) -> dict[str, int]:
    """What a judge without fault says of a picture of the scene; where there is nothing to say, anything."""
    return {name: max(answer, 0) for name, answer in zip(SIZES, attributes(scene), strict=True)}


def pair(place: Place) -> ObjectScene:
    rng = random.Random(1)
    while True:
        scene = random_pair(rng)
        first, second = scene.items
        if first.place is place and first.shape is not second.shape:
            return scene


def test_questions_are_held_out_and_in_both_languages() -> None:
    asked = questions(400)
    assert len(asked) == 400
    assert all(is_held_out(question.scene) for question in asked)
    assert sum(question.language == "korean" for question in asked) == 200
    assert sum(isinstance(question.scene, LandScene) for question in asked) == 120
    assert questions(40) == asked[:40]


def test_a_picture_of_the_scene_is_right_in_everything() -> None:
    rng = random.Random(2)
    for _ in range(300):
        scene = random_scene(rng)
        assert all(verdict for _, verdict in judge(scene, answers_for(scene)))


@pytest.mark.parametrize(("place", "figure"), [(Place.LEFT, "left_right"), (Place.TOP, "above_below")])
def test_objects_that_changed_places_are_wrong_in_their_order_alone(place: Place, figure: str) -> None:
    scene = pair(place)
    verdicts = judge(scene, answers_for(replace(scene, items=scene.items[::-1])) | {"kind": answers_for(scene)["kind"]})
    assert [name for name, verdict in verdicts if not verdict] == [figure]


def test_a_wrong_colour_of_an_object_is_wrong_in_colour_and_order() -> None:
    scene = pair(Place.LEFT)
    answers = answers_for(scene)
    taken = {answers["first_colour"], answers["second_colour"]}
    answers["first_colour"] = next(index for index in range(len(HEADS["first_colour"])) if index not in taken)
    wrong = [name for name, verdict in judge(scene, answers) if not verdict]
    assert wrong == ["object_colour", "left_right"]


def test_another_number_of_objects_is_wrong_in_everything_but_the_background() -> None:
    scene = pair(Place.LEFT)
    answers = answers_for(scene) | {"kind": HEADS["kind"].index(Kind.SINGLE)}
    assert [name for name, verdict in judge(scene, answers) if verdict] == ["background_colour"]


def test_a_landscape_in_place_of_objects_is_wrong_in_everything() -> None:
    scene = pair(Place.LEFT)
    answers = answers_for(scene) | {"kind": HEADS["kind"].index(Kind.LAND)}
    assert not any(verdict for _, verdict in judge(scene, answers))


def test_another_time_is_wrong_in_time_alone() -> None:
    scene = replace(random_land(random.Random(3)), daytime=Daytime.DAY)
    verdicts = judge(scene, answers_for(replace(scene, daytime=Daytime.DAWN)))
    assert verdicts == [("land", True), ("daytime", False)]


def test_what_a_scene_has_no_answer_to_is_ignored() -> None:
    rng = random.Random(4)
    landscape = dict(zip(SIZES, attributes(random_land(rng)), strict=True))
    objects = dict(zip(SIZES, attributes(random_pair(rng)), strict=True))
    assert landscape["background"] == landscape["first_shape"] == IGNORED
    assert objects["land"] == objects["place"] == objects["sun"] == IGNORED
    assert np.isin([landscape["sun"], landscape["lake"]], [0, 1]).all()
