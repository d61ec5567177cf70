"""Says what a scene shows, as people would ask for it, in English or Korean.

Owns the choice of language and of what is left unsaid. The phrases are in `english` and `korean`. Some wordings are
kept for the evaluation: training never sees them.
"""

import random
from typing import Final

from training import english, korean
from training.scenes import LandScene, Scene

_ENGLISH_SHARE: Final = 0.7


def caption(scene: Scene, rng: random.Random) -> str:
    """Returns one of the many wordings for a scene; it may leave open what the picture decides."""
    return _words(scene, rng, held_out=False, in_english=rng.random() < _ENGLISH_SHARE)


def held_out_caption(scene: Scene, rng: random.Random, *, in_english: bool) -> str:
    """Returns a wording that training never sees, and that says all that the evaluation checks."""
    return _words(scene, rng, held_out=True, in_english=in_english)


def _words(scene: Scene, rng: random.Random, *, held_out: bool, in_english: bool) -> str:
    if isinstance(scene, LandScene):
        say_land = english.say_land if in_english else korean.say_land
        return say_land(scene, rng, held_out=held_out)
    if len(scene.items) == 1:
        say_single = english.say_single if in_english else korean.say_single
        return say_single(scene, rng, held_out=held_out)
    say_pair = english.say_pair if in_english else korean.say_pair
    return say_pair(scene, rng, held_out=held_out)
