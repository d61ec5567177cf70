"""The `parameters` text of AUTOMATIC1111's web UI and of the many programs that write alike.

    a prompt, of any number of lines
    Negative prompt: of any number of lines
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768, Model: name, Lora hashes: "a: 1, b: 2", ...

The text has no grammar beyond that. Values with commas are in JSON's quotes, or are JSON themselves.
"""

import json
import re
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Final

from pingvas.vocabulary import Operation as OperationKind

from svc_generation.domain.recipes.findings import Findings, Origin
from svc_generation.domain.recipes.samplers import take_sampler

KEYWORD: Final = "parameters"
_NEGATIVE: Final = "Negative prompt:"
_LONGEST_SETTINGS: Final = 64 * 1024
"""Of the line of settings; those with every LoRA's hash in them have two kilobytes."""
_MOST_SETTINGS: Final = 200
_FEWEST_SETTINGS: Final = 3
"""A last line with fewer pairs than this, and without steps, is the end of a prompt: the web UI reads it like that itself."""
_NAME: Final = re.compile(r"\s*(?P<name>\w[\w \-/]{0,60}?)\s*:\s*")
_SIZE: Final = re.compile(r"\s*(?P<width>\d{1,6})\s*[xX]\s*(?P<height>\d{1,6})\s*")
_STEPS: Final = re.compile(r"\s*Steps:\s*\d")
_TAKEN_TOGETHER: Final = frozenset({"Sampler", "Schedule type", "Denoising strength"})

_TAKES: Final = MappingProxyType[str, Callable[[Findings, str], None]](
    {
        "Steps": lambda found, value: found.take_step_count(value, "Steps"),
        "CFG scale": lambda found, value: found.take_guidance_scale(value, "CFG scale"),
        "Seed": lambda found, value: found.take_seed(value, "Seed"),
        "Model": lambda found, value: found.take_model(value),
    }
)


def read_a1111(text: str) -> Findings | None:
    """Reads a `parameters` text; None when it is one of another program, which has no settings in it.

    Raises:
        ServiceError: RECIPE_INVALID.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")
    place = _settings_line(lines)
    if place is None:
        return None
    found = Findings(Origin.A1111)
    prompt, negative = _prompts(lines[:place])
    found.take_prompt(prompt, "prompt")
    found.take_negative_prompt(negative, "negative prompt")
    settings = dict(_pairs(lines[place]))
    if "Distilled CFG Scale" in settings:
        # Of a distilled model this one counts, and the other is 1, which turns guidance off.
        settings["CFG scale"] = settings.pop("Distilled CFG Scale")
    _take_settings(found, settings)
    behind = "\n".join(lines[place + 1 :]).strip()
    if behind:
        found.leave_out("text behind the settings", behind)
    return found


def _settings_line(lines: list[str]) -> int | None:
    """Returns which line has the settings: the last one that begins with steps, else the last one if it has enough pairs."""
    for place in range(len(lines) - 1, -1, -1):
        if _STEPS.match(lines[place]):
            return place
    last = len(lines) - 1
    return last if len(dict(_pairs(lines[last]))) >= _FEWEST_SETTINGS else None


def _prompts(lines: list[str]) -> tuple[str, str]:
    """Returns prompt and negative prompt; the first line that begins with the marker begins the latter."""
    for place, line in enumerate(lines):
        if line.lstrip().startswith(_NEGATIVE):
            negative = [line.lstrip().removeprefix(_NEGATIVE), *lines[place + 1 :]]
            return "\n".join(lines[:place]), "\n".join(negative)
    return "\n".join(lines), ""


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yields the settings of a line with their values, from left to right."""
    line = line[:_LONGEST_SETTINGS]
    place = 0
    for _ in range(_MOST_SETTINGS):
        name = _NAME.match(line, place)
        if name is None:
            # Something without a name: what comes behind its comma may have one again.
            comma = line.find(",", place)
            if comma < 0:
                return
            place = comma + 1
            continue
        value, place = _value(line, name.end())
        yield name["name"], value
        if place >= len(line):
            return


def _value(line: str, start: int) -> tuple[str, int]:
    """Returns the value that begins at a place, and where the next setting begins."""
    if line[start : start + 1] in ('"', "{", "["):
        try:
            value, end = json.JSONDecoder().raw_decode(line, start)
        except (ValueError, RecursionError):
            pass
        else:
            rest = line[end:].lstrip()
            if not rest or rest.startswith(","):
                text = value if isinstance(value, str) else line[start:end]
                return text, len(line) - len(rest) + 1
    comma = line.find(",", start)
    end = len(line) if comma < 0 else comma
    return line[start:end].strip(), end + 1


def _take_settings(found: Findings, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        if take := _TAKES.get(name):
            take(found, value)
        elif name == "Size":
            size = _SIZE.fullmatch(value)
            found.take_size(size["width"] if size else value, size["height"] if size else "", name)
        elif name not in _TAKEN_TOGETHER and name != "Version":
            found.leave_out(name, value)
    if "Sampler" in settings:
        take_sampler(found, "Sampler", settings["Sampler"], settings.get("Schedule type", ""))
    elif "Schedule type" in settings:
        found.leave_out("Schedule type", settings["Schedule type"])
    if "Denoising strength" in settings:
        _take_strength(found, settings)


def _take_strength(found: Findings, settings: dict[str, str]) -> None:
    """Takes the strength of a picture made from another one; of a second pass at a larger size it says nothing here."""
    strength = settings["Denoising strength"]
    if any(name.startswith("Hires") for name in settings):
        found.leave_out("Denoising strength", strength, "It belongs to a second pass, which there is none of here.")
        return
    is_masked = any(name.startswith("Mask") for name in settings)
    found.kind = OperationKind.INPAINT if is_masked else OperationKind.IMAGE_TO_IMAGE
    found.take_strength(strength, "Denoising strength")
