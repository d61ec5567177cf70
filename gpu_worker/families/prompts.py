r"""The little language of prompts: `(word:1.3)` weighs words, brackets nest and multiply, `\(` and `\)` are literal.

Parses only: no torch, no tokenizer. `(word)` without a number weighs 1.1, as in the tools where people learned the
notation. Whatever isn't well-formed is text: a prompt is never an error.
"""

import re
from dataclasses import dataclass
from typing import Final

_BARE_WEIGHT: Final = 1.1
# Beyond it pictures fall apart; and nested brackets multiply, so that a hundred of them would overflow.
_MAX_WEIGHT: Final = 10.0
_TOKENS: Final = re.compile(
    r"""
    \\(?P<literal>[()\\])                       # an escaped bracket or backslash
    | (?P<opening>\()
    | :\s*(?P<weight>\d*\.?\d+)\s*\)            # the end of a bracket with its weight
    | (?P<closing>\))
    | (?P<text>[^\\():]+|[\\:])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt and how much its words count; 1 is as written."""

    text: str
    weight: float


def parse_prompt(prompt: str) -> tuple[Segment, ...]:
    """Returns a prompt's pieces in their order, neighbours of one weight joined; at least one, maybe of no text."""
    pieces: list[tuple[str, float]] = []
    openings: list[int] = []  # of each open bracket, the index of its first piece
    for token in _TOKENS.finditer(prompt):
        kind = token.lastgroup
        if kind == "opening":
            openings.append(len(pieces))
            pieces.append(("(", 1.0))  # stays text unless the bracket is closed
        elif kind in {"weight", "closing"} and openings:
            weight = float(token["weight"]) if kind == "weight" else _BARE_WEIGHT
            _close(pieces, openings.pop(), weight)
        else:
            pieces.append((token["literal"] or token[0], 1.0))
    return _joined(pieces)


def plain_text(prompt: str) -> str:
    """Returns a prompt without its weights, for text encoders that know of none."""
    return "".join(segment.text for segment in parse_prompt(prompt))


def _close(pieces: list[tuple[str, float]], first: int, weight: float) -> None:
    pieces[first] = ("", 1.0)
    pieces[first:] = [(text, min(inner * weight, _MAX_WEIGHT)) for text, inner in pieces[first:]]


def _joined(pieces: list[tuple[str, float]]) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for text, weight in pieces:
        if not text:
            continue
        if segments and segments[-1].weight == weight:
            segments[-1] = Segment(segments[-1].text + text, weight)
        else:
            segments.append(Segment(text, weight))
    return tuple(segments) or (Segment("", 1.0),)
