"""What a prompt says beside words: LoRAs, which are taken out of it, and other tools' notation, which is refused by name.

Leaves the words and their weights to `svc_common.prompts`, and what is known of other tools to `foreign_notation`. What has a
meaning elsewhere and none here must not be drawn as words: the picture would be another one than was asked for, and nothing
would say so. Signs behind a backslash are plain.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from svc_common.errors import FieldViolation, Reason, ServiceError, invalid_field
from svc_common.prompts import ESCAPED, is_behind_number
from svc_generation.domain.foreign_notation import CHOICE, RANDOM, SCHEDULE, SIGNS, TAGS, WORDS

LARGEST_LORA_WEIGHT: Final = 4.0
"""The contract's own limit, for LoraWeight.weight."""


@dataclass(frozen=True, slots=True)
class LoraTag:
    """A LoRA that a prompt names, and its weight as it is written there."""

    name: str
    weight: float | None


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt without the LoRAs that it names."""

    text: str
    loras: tuple[LoraTag, ...] = ()


# Stands for a sign behind a backslash while notation is looked for: no letter, no sign of any notation.
_PLAIN: Final = "\ue000\ue000"
# Without one of these a prompt is words and weights only; nearly all are.
_SUSPICIOUS: Final = re.compile(
    r"[<\[{|+]|--|::|__|\)\s*[0-9.-]|\.\s*(?:blend|and|swap)\s*\(|(?i:embedding:)|AND|BREAK|ADD"
)
_LORA: Final = re.compile(r"<\s*lora\s*:\s*(?P<name>[^<>:]*?)\s*(?::(?P<weight>[^<>]*))?>\s*", re.IGNORECASE)
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LORA_WEIGHT: Final = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)\s*")
_WHEN: Final = re.compile(r"\s*[0-9]*\.?[0-9]+\s*\Z")


def read_prompt(prompt: str, field: str) -> ReadPrompt:
    """Takes the LoRAs out of a prompt.

    Args:
        prompt: as it was sent.
        field: its path in the request.

    Raises:
        ServiceError: PROMPT_NOTATION_UNSUPPORTED for what would be drawn as words and is meant otherwise elsewhere,
            INVALID_FIELD for a weight of a LoRA that can't be.
    """
    if not _SUSPICIOUS.search(prompt):
        return ReadPrompt(prompt)
    masked = ESCAPED.sub(_PLAIN, prompt)
    tags = [tag for tag in _LORA.finditer(masked) if tag["name"]]
    loras = tuple(LoraTag(prompt[slice(*tag.span("name"))], _lora_weight(tag, prompt, field)) for tag in tags)
    text, masked = (_without(tags, each) for each in (prompt, masked))
    _refuse_foreign(text, masked, field)
    if loras and not text.strip():
        raise invalid_field(field, "must contain something beside LoRAs")
    return ReadPrompt(text, loras)


def refuse_notation(prompt: str, field: str) -> None:
    """Refuses what `read_prompt` refuses, and LoRAs: of a prompt that can't have any.

    Raises:
        ServiceError: as `read_prompt`, and PROMPT_NOTATION_UNSUPPORTED for a LoRA.
    """
    if not _SUSPICIOUS.search(prompt):
        return
    masked = ESCAPED.sub(_PLAIN, prompt)
    if tag := _LORA.search(masked):
        advice = "A LoRA changes the whole picture: name it among `loras`, or in the prompt of a drawing"
        raise _unsupported(field, "a LoRA tag", prompt[tag.start() : tag.end()].strip(), advice)
    _refuse_foreign(prompt, masked, field)


def _refuse_foreign(prompt: str, masked: str, field: str) -> None:
    for start, end, (name, advice) in _bracket_notation(masked):
        raise _unsupported(field, name, prompt[start:end], advice)
    # In a prompt that is all in capitals, they say nothing.
    is_shouted = not any(letter.isalpha() and not letter.isupper() for letter in masked)
    tables = (TAGS, SIGNS) if is_shouted else (TAGS, SIGNS, WORDS)
    for foreign in (foreign for table in tables for foreign in table):
        if found := foreign.pattern.search(masked):
            raise _unsupported(field, foreign.name, prompt[found.start() : found.end()].strip(), foreign.advice)


@dataclass(slots=True)
class _Bracket:
    sign: str
    start: int
    colons: list[int]
    has_bar: bool = False


def _bracket_notation(masked: str) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """Yields square and curly brackets that are more than weights: where they begin and end, and what they are."""
    brackets: list[_Bracket] = []
    for sign in re.finditer(r"[\[\]{}:|]", masked):
        if sign[0] in "[{":
            brackets.append(_Bracket(sign[0], sign.start(), []))
        elif not brackets:
            continue
        elif sign[0] == ":":
            brackets[-1].colons.append(sign.start())
        elif sign[0] == "|":
            brackets[-1].has_bar = True
        elif (sign[0] == "]") is (brackets[-1].sign == "["):
            bracket = brackets.pop()
            if (kind := _kind(bracket, masked, sign.start())) is not None:
                yield bracket.start, sign.end(), kind


def _kind(bracket: _Bracket, masked: str, end: int) -> tuple[str, str] | None:
    if bracket.has_bar:
        return CHOICE if bracket.sign == "[" else RANDOM
    if bracket.sign == "{" or not bracket.colons or not _WHEN.match(masked, bracket.colons[-1] + 1, end):
        return None
    is_ratio = len(bracket.colons) == 1 and is_behind_number(masked, bracket.start + 1, bracket.colons[0])
    return None if is_ratio else SCHEDULE


def _lora_weight(tag: re.Match[str], prompt: str, field: str) -> float | None:
    written = tag["weight"]
    if written is None:
        return None
    found = prompt[tag.start() : tag.end()].strip()
    if not _LORA_WEIGHT.fullmatch(written):
        several = ":" in written
        raise _unsupported(
            field,
            "a LoRA with several weights" if several else "a LoRA tag that can't be read",
            found,
            "A LoRA has one weight here: write `<lora:MODEL_ID:0.8>`",
        )
    weight = float(written)
    if abs(weight) > LARGEST_LORA_WEIGHT:
        raise invalid_field(field, f"`{found}` must have a weight from -4 to 4")
    return weight


def _without(tags: list[re.Match[str]], text: str) -> str:
    """Returns a text without tags: where one was, a space parts the words, but nothing a word and its comma."""
    parts: list[str] = []
    end = 0
    for tag in tags:
        before = text[end : tag.start()].rstrip()
        end = tag.end()
        has_words_behind = end < len(text) and text[end] not in ",.;:!?)]}"
        parts.append(before + " " if before and has_words_behind else before)
    return "".join((*parts, text[end:]))


def lora_model_ids(name: str) -> tuple[str, ...]:
    """Returns the ids of models that a LoRA's name may mean, the most exact first: ids are lower case and have hyphens."""
    plain = name.removesuffix(".safetensors")
    spelled = re.sub(r"[\s_]+", "-", plain.lower())
    return tuple(dict.fromkeys(each for each in (plain, spelled) if _MODEL_ID.fullmatch(each)))


def unknown_lora(name: str, field: str) -> ServiceError:
    """Returns the refusal of a LoRA that no model is named like."""
    description = (
        f"names the LoRA `{name[:100]}`, which isn't among the models. "
        "Write the model_id of one that ListModels shows, or leave it out"
    )
    return ServiceError(
        Reason.MODEL_NOT_FOUND,
        f"{field} {description}.",
        metadata={"model_id": name[:100]},
        violations=(FieldViolation(field, description),),
    )


def _unsupported(field: str, name: str, found: str, advice: str) -> ServiceError:
    description = (
        f"`{found[:60]}` is {name} in other tools and isn't understood here. {advice}; "
        "a backslash before a sign, as in `\\<`, makes it plain"
    )
    return ServiceError(
        Reason.PROMPT_NOTATION_UNSUPPORTED,
        f"{field}: {description}.",
        metadata={"field": field, "notation": found[:60]},
        violations=(FieldViolation(field, description),),
    )
