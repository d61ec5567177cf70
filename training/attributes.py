"""What can be asked of a scene, as numbers: the targets of the text encoder's first training and of the classifier.

Each head is a question with a fixed number of answers; a question that a scene has no answer to is IGNORED.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from training.scenes import (
    Colour,
    Daytime,
    Feature,
    Land,
    LandScene,
    ObjectScene,
    Place,
    Scene,
    Shape,
    Size,
    SkyThing,
)

IGNORED: Final = -100


class Kind(StrEnum):
    """How a picture is laid out."""

    SINGLE = "single"
    BESIDE = "beside"
    STACKED = "stacked"
    LAND = "land"


# The objects of a pair are first and second; a single object is the first.
HEADS: Final[Mapping[str, list[StrEnum]]] = {
    "kind": list(Kind),
    "background": list(Colour),
    "first_shape": list(Shape),
    "first_colour": list(Colour),
    "first_size": list(Size),
    "place": list(Place),
    "second_shape": list(Shape),
    "second_colour": list(Colour),
    "second_size": list(Size),
    "land": list(Land),
    "daytime": list(Daytime),
}
_THINGS: Final = (*SkyThing, *Feature)
SIZES: Final = {**{name: len(answers) for name, answers in HEADS.items()}, **{thing.value: 2 for thing in _THINGS}}


def kind_of(scene: Scene) -> Kind:
    """Returns how a scene is laid out."""
    if isinstance(scene, LandScene):
        return Kind.LAND
    if len(scene.items) == 1:
        return Kind.SINGLE
    return Kind.BESIDE if scene.items[0].place is Place.LEFT else Kind.STACKED


def attributes(scene: Scene) -> list[int]:
    """Returns the answer to every head, in the order of SIZES."""
    answers: dict[str, int] = {"kind": HEADS["kind"].index(kind_of(scene))}
    if isinstance(scene, ObjectScene):
        named: dict[str, StrEnum] = {"background": scene.background}
        for which, item in zip(("first", "second"), scene.items, strict=False):
            named |= {f"{which}_shape": item.shape, f"{which}_colour": item.colour, f"{which}_size": item.size}
        if len(scene.items) == 1:
            named["place"] = scene.items[0].place
    else:
        named = {"land": scene.land, "daytime": scene.daytime}
        answers |= {thing.value: int(thing in scene.sky or thing in scene.features) for thing in _THINGS}
    answers |= {name: HEADS[name].index(value) for name, value in named.items()}
    return [answers.get(name, IGNORED) for name in SIZES]


class Heads(nn.Module):
    """One linear layer for all questions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._linear = nn.Linear(width, sum(SIZES.values()))

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the logits of each head from features, (batch, width)."""
        parts = self._linear(features).float().split(list(SIZES.values()), dim=-1)
        return dict(zip(SIZES, parts, strict=True))


def attribute_loss(logits: Mapping[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Returns the sum over the heads of the cross entropy; targets are (batch, heads)."""
    losses = [
        functional.cross_entropy(values, target, ignore_index=IGNORED, reduction="sum") / len(target)
        for values, target in zip(logits.values(), targets.unbind(1), strict=True)
    ]
    return torch.stack(losses).sum()
