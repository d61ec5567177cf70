r"""The little language of prompts: `(word:1.3)` weighs words, `[word]` and `{word}` a little, a backslash makes signs plain.

Parses only: no torch, no tokenizer, and a prompt is never an error here. Both ends need it: svc_generation, which refuses what
other tools mean by their own notation, and the worker, which draws. The grammar, all of it:

- `(words:W)` multiplies the weight of its words by W, a decimal number from 0 to 2 such as `1.2`, `.5` or `1`, with white space
  around it or none; the colon may be the full-width one.
- `(words)` multiplies by 1.1, `[words]` divides by 1.1, `{words}` multiplies by 1.05. Brackets nest.
- A bracket that ends with a colon and a number which is no such weight is text, itself included: a number above 2 or written
  otherwise (`-1`, `+1`, `1e3`, `1,5`, `NaN`), or one behind another number, which is a ratio, a time or a verse: `(16:9)`,
  `(1:1)`, `(John 3:16)`.
- A backslash before one of `()[]{}<>\:+|-` makes that sign text. A bracket without its other half is text.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

ESCAPED: Final = re.compile(r"\\[()\[\]{}<>\\:+|-]")
"""A sign that a backslash makes plain."""
LARGEST_WEIGHT: Final = 2.0
"""The largest that may be written. A word that weighs more makes a picture fall apart, and is nearly always no weight."""

# Nested brackets multiply, so that a hundred of them would overflow.
_MAX_WEIGHT: Final = 10.0
_WEIGHTS: Final = MappingProxyType({")": 1.1, "]": 1 / 1.1, "}": 1.05})
_OPENINGS: Final = MappingProxyType({")": "(", "]": "[", "}": "{"})
# The full-width colon as well, which keyboards for Chinese and Japanese write.
_COLON: Final = r"[:\uff1a]"
_NUMBER: Final = r"[-+]?(?:[.,]?[0-9][0-9.,'_eE%+-]*|nan|inf(?:inity)?)"
_TOKENS: Final = re.compile(
    rf"""
    (?P<escape>{ESCAPED.pattern})
    | (?P<opening>[(\[{{])
    | {_COLON}\s*(?P<number>{_NUMBER})\s*(?P<end>[)\]}}])      # the end of a bracket with what may be its weight
    | (?P<closing>[)\]}}])
    | (?P<text>[^\\()\[\]{{}}:\uff1a]+|\\|{_COLON})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WEIGHT: Final = re.compile(r"[0-9]*\.?[0-9]+|[0-9]+\.")
_ENDS_WITH_NUMBER: Final = re.compile(r"(?<![\w.,])[-+]?[0-9]+(?:[.,][0-9]+)*\s*\Z")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt and how much its words count; 1 is as written."""

    text: str
    weight: float


def parse_prompt(prompt: str) -> tuple[Segment, ...]:
    """Returns a prompt's pieces in their order, neighbours of one weight joined; at least one, maybe of no text."""
    pieces: list[tuple[str, float]] = []
    openings: list[
        tuple[str, int, int]
    ] = []  # of each open bracket: its sign, its piece's index, its place in the prompt
    for token in _TOKENS.finditer(prompt):
        sign = token["end"] or token["closing"]
        opening = _opening_of(sign, openings) if sign else None
        if token["opening"]:
            openings.append((token[0], len(pieces), token.start()))
            pieces.append((token[0], 1.0))  # stays text unless the bracket is closed
        elif opening is None:
            pieces.append((token[0][1:] if token["escape"] else token[0], 1.0))
        else:
            weight = _weight(token["number"], sign, prompt, opening[2], token.start())
            if weight is None:
                pieces.append((token[0], 1.0))
            else:
                _close(pieces, opening[1], weight)
    return _joined(pieces)


def plain_text(prompt: str) -> str:
    """Returns a prompt without its weights, for text encoders that know of none."""
    return "".join(segment.text for segment in parse_prompt(prompt))


def escaped(text: str) -> str:
    """Returns the prompt that means a text as it stands, whatever signs are in it."""
    return re.sub(r"[()\[\]{}<>\\:+|-]", r"\\\g<0>", text)


def is_behind_number(prompt: str, start: int, colon: int) -> bool:
    """Tells whether what stands before a colon, from a place on, ends with a number: then the colon makes no weight."""
    # The number that is looked for is short; what comes before it must not be searched again and again.
    return _ENDS_WITH_NUMBER.search(prompt, max(start, colon - 40), colon) is not None


def _opening_of(sign: str, openings: list[tuple[str, int, int]]) -> tuple[str, int, int] | None:
    """Takes the opening that a closing bracket belongs to, with what is open inside of it, which stays text."""
    for index in range(len(openings) - 1, -1, -1):
        if openings[index][0] == _OPENINGS[sign]:
            opening = openings[index]
            del openings[index:]
            return opening
    return None


def _weight(number: str | None, sign: str, prompt: str, opening: int, colon: int) -> float | None:
    """Returns by how much a bracket multiplies, or None for one that is text."""
    if number is None:
        return _WEIGHTS[sign]
    if sign != ")" or not _WEIGHT.fullmatch(number) or is_behind_number(prompt, opening + 1, colon):
        return None
    weight = float(number)
    return weight if weight <= LARGEST_WEIGHT else None


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
