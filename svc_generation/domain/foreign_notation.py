"""Notation of prompts in other tools that has no meaning here: how it is found, and what to do instead.

The sources are the manuals of AUTOMATIC1111's webui, ComfyUI, InvokeAI (compel), SwarmUI, NovelAI and Midjourney. Brackets that
are more than weights need to be counted, which `prompts` does.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Foreign:
    """A notation of other tools: what is called so, how it is found, and what to do instead."""

    name: str
    pattern: re.Pattern[str]
    advice: str


_AS_LORA: Final = "Name what you mean among `loras`, or as `<lora:MODEL_ID:WEIGHT>`"

TAGS: Final = (
    Foreign(
        "a LoRA tag that can't be read",
        re.compile(r"<\s*lora\s*:[^<>]*>?", re.IGNORECASE),
        "Write `<lora:MODEL_ID:WEIGHT>`, or name it among `loras`",
    ),
    Foreign(
        "a LyCORIS tag",
        re.compile(r"<\s*(?:lyco|lycoris|locon)\s*:[^<>]*>?", re.IGNORECASE),
        f"{_AS_LORA}: LyCORIS files are LoRAs",
    ),
    Foreign(
        "a hypernetwork",
        re.compile(r"<\s*(?:hypernet|hypernetwork)\s*:[^<>]*>?", re.IGNORECASE),
        f"There are none here. {_AS_LORA}",
    ),
    Foreign(
        "an embedding (textual inversion)",
        re.compile(r"<\s*(?:embed|embedding|ti|textual_inversion)\s*:[^<>]*>?|(?<!\w)embedding:\S+", re.IGNORECASE),
        "There are none here. Describe it in words, or use a LoRA",
    ),
    Foreign(
        "a tag of another tool",
        re.compile(
            r"<\s*(?:random|alternate|alt|fromto|wildcard|repeat|segment|object|region|refiner|base|preset|trigger|extend"
            r"|clear|setvar|var|param|break|comment)\s*(?:\[[^\]<>]*\])?:[^<>]*>|<\s*(?:break|trigger)\s*>",
            re.IGNORECASE,
        ),
        "Write the words themselves",
    ),
)
SIGNS: Final = (
    Foreign(
        "a function of prompts",
        re.compile(r"\.\s*(?:blend|and|swap)\s*\(", re.IGNORECASE),
        "Prompts aren't computed with here. Write one prompt, or make a job of each",
    ),
    Foreign(
        "a weight behind a bracket",
        re.compile(r"\)(?:\++|-+)(?=[\s,.;)]|\Z)|\)[0-9]?\.[0-9]+(?![\w.])"),
        "Write `(words:1.2)` for more of them and `(words:0.8)` for less",
    ),
    Foreign(
        "a weight behind a word",
        re.compile(r"(?:(?<=\w\w)|(?<=\"))(?:\+{2,}|-{2,})(?=[\s,.;)]|\Z)"),
        "Write `(word:1.2)` for more of it and `(word:0.8)` for less",
    ),
    Foreign(
        "a weight behind two colons",
        re.compile(r"\S\s?::\s*-?[0-9]*\.?[0-9]+|(?<![\w.])-?[0-9]+\.?[0-9]*::"),
        "Write `(words:1.2)`, with a weight from 0 to 2",
    ),
    Foreign(
        "a parameter of another tool",
        re.compile(
            r"(?<!\S)--(?:ar|aspect|no|seed|stylize|s|v|version|chaos|c|q|quality|niji|iw|cw|sref|cref|tile|style|weird|w|h|stop|raw"
            r"|n|steps|cfg|uplight|hd|p|profile)(?![\w-])[^\n]{0,20}",
            re.IGNORECASE,
        ),
        "Use the fields of the request: width_px and height_px, seed, negative_prompt",
    ),
    Foreign(
        "a wildcard file",
        re.compile(r"(?<!\w)__[A-Za-z0-9][\w/*-]*?__(?!\w)"),
        "There are none here. Write one of its words",
    ),
)
WORDS: Final = (
    Foreign(
        "the word BREAK in capitals",
        re.compile(r"(?<!\w)BREAK(?!\w)"),
        "Long prompts are cut by themselves: leave it out",
    ),
    Foreign(
        "the word AND in capitals",
        re.compile(r"(?<!\w)AND(?!\w)"),
        "Prompts aren't composed here: write `and`, or make a job of each",
    ),
    Foreign(
        "a word of regional prompts",
        re.compile(r"(?<!\w)(?:ADDBASE|ADDCOMM|ADDCOL|ADDROW|ADDROWCOL)(?!\w)"),
        "There are no regions here: draw with a mask, part by part",
    ),
)

CHOICE: Final = ("a change between words at each step", "Write one of them, or both with a comma")
RANDOM: Final = ("a choice by chance", "Write one of them, or make a job of each")
SCHEDULE: Final = ("a change of words at a step", "Write the words that count in the end")
"""What brackets with a bar, or with a number behind colons, are elsewhere, and what to do instead."""
