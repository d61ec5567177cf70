"""Counts how often pictures show what was asked for, on prompts in wordings and of combinations held out from training.

Owns what counts as right. Pictures are judged by `classifier`, whose own accuracy is reported beside the figures.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training import replicas
from training.attributes import HEADS, Kind, attributes, kind_of
from training.captions import held_out_caption
from training.classifier import held_out_accuracy, load_classifier
from training.rendering import GUIDANCE, STEPS, load_model, render
from training.scenes import Scene, is_held_out, random_land, random_pair, random_single

FILE: Final = "evaluation.json"
# What the model card promises.
BARS: Final = {
    "background_colour": 0.95,
    "object_colour": 0.95,
    "shape": 0.85,
    "left_right": 0.80,
    "land": 0.90,
    "daytime": 0.90,
}
_BATCH: Final = 8
_SEED: Final = "evaluation"
# Of ten prompts: singles, pairs, landscapes.
_MAKERS: Final[tuple[Callable[[random.Random], Scene], ...]] = (
    *(random_single,) * 4,
    *(random_pair,) * 3,
    *(random_land,) * 3,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and the scene that it speaks of."""

    scene: Scene
    prompt: str
    language: str


def questions(count: int) -> list[Question]:
    """Returns the first prompts of the evaluation, every other one in Korean; always the same."""
    rng = random.Random(_SEED)
    asked: list[Question] = []
    while len(asked) < count:
        scene = _MAKERS[len(asked) % len(_MAKERS)](rng)
        if not is_held_out(scene):
            continue
        in_english = (len(asked) // len(_MAKERS)) % 2 == 0
        prompt = held_out_caption(scene, rng, in_english=in_english)
        asked.append(Question(scene, prompt, "english" if in_english else "korean"))
    return asked


def evaluate(work_dir: Path, folder: Path, count: int, guidance: float | None) -> None:
    """Renders and judges the prompts, each replica its share, and writes the figures to evaluation.json in work_dir."""
    guidance = GUIDANCE if guidance is None else guidance
    verdicts = replicas.gather(_verdicts(work_dir, folder, count, guidance))
    if replicas.rank() == 0:
        report = _report(verdicts, count, guidance) | {"classifier_accuracy": held_out_accuracy(work_dir)}
        text = json.dumps(report, indent=2)
        (work_dir / FILE).write_text(f"{text}\n", encoding="utf-8")
        sys.stdout.write(f"{text}\n")


def _verdicts(work_dir: Path, folder: Path, count: int, guidance: float) -> list[tuple[str, bool]]:
    pipeline, classifier = load_model(folder), load_classifier(work_dir)
    # The number of a question is the seed of its picture, whoever renders it.
    numbered = list(enumerate(questions(count)))[replicas.rank() :: replicas.count()]
    verdicts: list[tuple[str, bool]] = []
    for start in range(0, len(numbered), _BATCH):
        batch = numbered[start : start + _BATCH]
        prompts, seeds = [question.prompt for _, question in batch], [seed for seed, _ in batch]
        judged = classifier.judge(render(pipeline, prompts, seeds, guidance))
        for (_, question), answers in zip(batch, judged, strict=True):
            for name, right in judge(question.scene, answers):
                verdicts += [(name, right), (f"{name} ({question.language})", right)]
        if replicas.rank() == 0:
            sys.stdout.write(f"{start + len(batch)} of {len(numbered)}\n")
            sys.stdout.flush()
    return verdicts


def _report(verdicts: list[tuple[str, bool]], count: int, guidance: float) -> dict[str, object]:
    right: dict[str, Counter[bool]] = {}
    for name, verdict in verdicts:
        right.setdefault(name, Counter())[verdict] += 1
    shares = {name: round(counted[True] / counted.total(), 4) for name, counted in sorted(right.items())}
    return {
        "prompts": count,
        "steps": STEPS,
        "guidance_scale": guidance,
        "right": shares,
        "asked": {name: counted.total() for name, counted in sorted(right.items())},
        "bars": BARS,
        "met": {name: shares.get(name, 0.0) >= bar for name, bar in BARS.items()},
    }


def judge(scene: Scene, answers: dict[str, int]) -> list[tuple[str, bool]]:
    """Returns a verdict on everything that a prompt for the scene asks, by the name of its figure.

    A picture of another layout (one object rather than two, a landscape rather than shapes) is wrong in everything but
    the colour of its background, which any picture of shapes has.
    """
    wanted = dict(zip(answers, attributes(scene), strict=True))
    layout = answers["kind"] == wanted["kind"]

    def same(head: str, other: str | None = None) -> bool:
        return layout and answers[other or head] == wanted[head]

    land = HEADS["kind"].index(Kind.LAND)
    background = ("background_colour", answers["kind"] != land and answers["background"] == wanted["background"])
    match kind_of(scene):
        case Kind.LAND:
            return [("land", same("land")), ("daytime", same("daytime"))]
        case Kind.SINGLE:
            verdicts = [("object_colour", same("first_colour")), ("shape", same("first_shape"))]
            return [background, *verdicts, *_place(wanted, same)]
        case pair:
            straight = same("first_colour") and same("second_colour")
            crossed = same("first_colour", "second_colour") and same("second_colour", "first_colour")
            # Colours and shapes may be right though the two have changed places: order is a question of its own.
            order = ("second", "first") if crossed and not straight else ("first", "second")
            verdicts = [
                (figure, same(f"{which}_{part}", f"{found}_{part}"))
                for which, found in zip(("first", "second"), order, strict=True)
                for figure, part in (("object_colour", "colour"), ("shape", "shape"))
            ]
            name = "left_right" if pair is Kind.BESIDE else "above_below"
            return [background, *verdicts, (name, straight)]


def _place(wanted: dict[str, int], same: Callable[[str], bool]) -> list[tuple[str, bool]]:
    centre = HEADS["place"][wanted["place"]] == "centre"
    return [] if centre else [("place", same("place"))]
