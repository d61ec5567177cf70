"""Says what a scene shows, as people would ask for it, in English or Korean.

Owns the choice of language and of what is left unsaid. The phrases are in `english` and `korean`. Some wordings are
kept for the evaluation: training never sees them.
"""

import random
from typing import Final

from training import english, korean
from training.scenes import LandScene, Scene

_ENGLISH_SHARE: Final = 0.6
# What is said around the words that matter: people leave it out, or say something else.
_ENGLISH_FILLERS: Final = ("a", "an", "the", "with", "on", "in", "of", "and", "is", "there", "to", "against", "front")
_FILLERS: Final = frozenset((*_ENGLISH_FILLERS, "background,", "배경에", "배경", "위에", "있는"))
_DROPPED_FILLERS: Final = 0.06
_DISTURBED_SHARE: Final = 0.4
_LETTERS: Final = "aeiouaeioubcdfghklmnprstvwy"
_FIRST_SYLLABLE, _LAST_SYLLABLE = ord("가"), ord("힣")


def caption(scene: Scene, rng: random.Random) -> str:
    """Returns one of the many wordings for a scene; it may leave open what the picture decides."""
    return _words(scene, rng, held_out=False, in_english=rng.random() < _ENGLISH_SHARE)


def held_out_caption(scene: Scene, rng: random.Random, *, in_english: bool) -> str:
    """Returns a wording that training never sees, and that says all that the evaluation checks."""
    return _words(scene, rng, held_out=True, in_english=in_english)


def disturbed(text: str, rng: random.Random) -> str:
    """Returns a caption as a stranger might word it: unknown words before or behind it, fillers left out.

    Who learns from captions alone takes words that he has never seen for anything at all.
    """
    if rng.random() > _DISTURBED_SHARE:
        return text
    kept = [word for word in text.split() if word not in _FILLERS or rng.random() > _DROPPED_FILLERS]
    before, behind = ([_unknown_word(rng) for _ in range(rng.choice((0, 0, 1, 2, 3)))] for _ in range(2))
    comma = [","] if behind and rng.random() < 0.5 else []
    return " ".join([*before, *kept, *comma, *behind]).replace(" ,", ",")


def _unknown_word(rng: random.Random) -> str:
    if rng.random() < _ENGLISH_SHARE:
        return "".join(rng.choices(_LETTERS, k=rng.randint(2, 8)))
    return "".join(chr(rng.randint(_FIRST_SYLLABLE, _LAST_SYLLABLE)) for _ in range(rng.randint(1, 3)))


def _words(scene: Scene, rng: random.Random, *, held_out: bool, in_english: bool) -> str:
    if isinstance(scene, LandScene):
        say_land = english.say_land if in_english else korean.say_land
        return say_land(scene, rng, held_out=held_out)
    if len(scene.items) == 1:
        say_single = english.say_single if in_english else korean.say_single
        return say_single(scene, rng, held_out=held_out)
    say_pair = english.say_pair if in_english else korean.say_pair
    return say_pair(scene, rng, held_out=held_out)
