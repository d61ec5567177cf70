"""Captions say what scenes show, and keep some wordings for the evaluation."""

import random

import pytest

from training import english, korean
from training.captions import caption, disturbed, held_out_caption
from training.english import Wordings
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
    SkyThing,
    random_scene,
)

PAIR = ObjectScene(
    Colour.GREEN,
    (
        Item(Shape.STAR, Colour.RED, Size.SMALL, Place.LEFT),
        Item(Shape.HEART, Colour.ORANGE, Size.MEDIUM, Place.RIGHT),
    ),
    1,
)
LAND = LandScene(Land.DESERT, Daytime.NIGHT, (SkyThing.MOON,), (Feature.LAKE,), 1)


def is_korean(text: str) -> bool:
    return any("가" <= letter <= "힣" for letter in text)


def test_the_same_random_numbers_give_the_same_caption() -> None:
    scene = random_scene(random.Random(1))
    assert caption(scene, random.Random(2)) == caption(scene, random.Random(2))


def test_a_scene_is_said_in_many_ways_in_two_languages() -> None:
    rng = random.Random(1)
    texts = [caption(PAIR, rng) for _ in range(1000)]
    assert len(set(texts)) > 600
    assert 0.35 < sum(map(is_korean, texts)) / len(texts) < 0.45


def test_no_caption_has_a_hole_or_a_double_space() -> None:
    rng = random.Random(3)
    for _ in range(3000):
        text = caption(random_scene(rng), rng)
        assert not {"{", "}"} & set(text)
        assert "  " not in text
        assert text.strip() == text
        assert text


def test_a_disturbed_caption_keeps_what_matters_in_its_order() -> None:
    rng = random.Random(4)
    text = "a small red star to the left of an orange heart on a green background"
    matters = ["small", "red", "star", "left", "orange", "heart", "green"]
    versions = [disturbed(text, rng) for _ in range(500)]
    assert all([word for word in version.split() if word in matters] == matters for version in versions)
    assert 0.5 < versions.count(text) / len(versions) < 0.7
    assert (
        min(len(version.split()) for version in versions)
        < len(text.split())
        < max(len(version.split()) for version in versions)
    )


@pytest.mark.parametrize("language", [english, korean])
def test_wordings_of_the_evaluation_are_not_trained(language: object) -> None:
    wordings = [value for value in vars(language).values() if isinstance(value, Wordings)]
    assert len(wordings) >= 6
    for each in wordings:
        assert not set(filter(None, each.held_out)) & set(each.trained)


def test_a_held_out_caption_of_a_pair_names_both_and_the_background() -> None:
    rng = random.Random(4)
    for _ in range(200):
        text = held_out_caption(PAIR, rng, in_english=True)
        assert {"red", "star", "orange", "heart", "green"} <= set(text.replace(",", " ").replace(".", " ").split())
        assert "left" in text or "right" in text


def test_a_held_out_caption_of_a_landscape_names_land_time_and_features() -> None:
    rng = random.Random(5)
    for _ in range(200):
        text = held_out_caption(LAND, rng, in_english=False)
        assert "사막" in text
        assert "밤" in text
        assert "호수" in text or "연못" in text


@pytest.mark.parametrize(
    ("words", "expected"), [("원", "원이"), ("하트", "하트가"), ("별", "별이"), ("고리", "고리가")]
)
def test_particles_follow_the_last_sound(words: str, expected: str) -> None:
    assert korean._with(words, "이", "가") == expected


def test_articles_follow_the_first_letter() -> None:
    assert english._with_article("orange star") == "an orange star"
    assert english._with_article("big star") == "a big star"
