"""Puts the figures of an evaluation into the model card, between two marks; the words around them are written by hand."""

import json
from pathlib import Path
from typing import Any, Final

from training.evaluation import FILE

_START: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->"
_NAMES: Final = {
    "background_colour": "colour of the background",
    "object_colour": "colour of the objects",
    "shape": "shape of the objects",
    "left_right": "two objects, left and right",
    "land": "kind of landscape",
    "daytime": "time of day",
    "above_below": "two objects, above and below",
    "place": "one object, left, right, top or bottom",
}


def write_figures(work_dir: Path, card: Path) -> None:
    """Replaces what stands between the marks of a card by the evaluation in work_dir, and puts that beside the card."""
    raw = (work_dir / FILE).read_bytes()
    (card.parent / FILE).write_bytes(raw)
    report: dict[str, Any] = json.loads(raw)
    before, rest = card.read_text(encoding="utf-8").split(_START)
    after = rest.split(_END)[1]
    card.write_text(f"{before}{_START}{figures(report)}{_END}{after}", encoding="utf-8")


def figures(report: dict[str, Any]) -> str:
    """Returns the table of an evaluation's figures in Markdown."""
    right, bars = report["right"], report["bars"]
    lines = [
        "| asked | right | English | Korean | bar | judged right on drawings |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for figure, name in _NAMES.items():
        shares = [right.get(key) for key in (figure, f"{figure} (english)", f"{figure} (korean)", None)]
        cells = [name, *map(_percent, shares[:3]), _percent(bars.get(figure)), _percent(_judge(report, figure))]
        lines.append(f"| {' | '.join(cells)} |")
    about = f"{report['prompts']} prompts, {report['steps']} steps, guidance {report['guidance_scale']:g}."
    return "\n".join([about, "", *lines, ""])


def _judge(report: dict[str, Any], figure: str) -> float | None:
    """Returns how often the classifier itself is right in what a figure counts."""
    heads = {
        "background_colour": ("background",),
        "object_colour": ("first_colour", "second_colour"),
        "shape": ("first_shape", "second_shape"),
    }.get(figure, (figure,))
    known = [report["classifier_accuracy"][head] for head in heads if head in report["classifier_accuracy"]]
    return min(known, default=None)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
