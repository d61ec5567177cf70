"""Collects what a recipe says, each value within the bounds that a job has, and remarks on what couldn't be taken as it is."""

import enum
from dataclasses import dataclass, field
from typing import Any, Final

from pingvas.vocabulary import Operation as OperationKind

from svc_common.errors import Reason, ServiceError
from svc_common.text import is_storable

_SEED_LIMIT: Final = 2**53
_LONGEST_PROMPT: Final = 2000
_LONGEST_VALUE: Final = 200
_MOST_REMARKS: Final = 100
_MOST_DIGITS: Final = 30
_SIDE_MULTIPLE: Final = 8
_SMALLEST_SIDE, _LARGEST_SIDE = 64, 4096
_MOST_STEPS: Final = 150
_LARGEST_GUIDANCE: Final = 30.0
_LARGEST_FEATHER: Final = 256
_MOST_LORAS: Final = 64
"""Far more than a job may have; the servicer leaves out what no model is named like before it counts."""

NOTHING_LIKE_IT: Final = "Nothing here corresponds to it."


class Origin(enum.Enum):
    """Names whose notes were read; the names are those of the contract's RecipeOrigin."""

    PINGVAS = enum.auto()
    INVOKEAI = enum.auto()
    A1111 = enum.auto()
    COMFYUI = enum.auto()


class RemarkKind(enum.Enum):
    """Names what became of a part of a recipe; the names are those of the contract's RemarkKind."""

    LEFT_OUT = enum.auto()
    CHANGED = enum.auto()
    NEEDED = enum.auto()


@dataclass(frozen=True, slots=True)
class Remark:
    """Tells what became of a part of a recipe."""

    kind: RemarkKind
    part: str
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model or LoRA as a recipe names it."""

    name: str
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file by its path; empty where the recipe doesn't say it as we do."""
    weight: float = 1.0


class Findings:
    """What is known of a recipe so far. A value that can't be used is left out with a remark, never taken as another."""

    def __init__(self, origin: Origin) -> None:
        """Begins with nothing known."""
        self.origin = origin
        self.kind = OperationKind.TEXT_TO_IMAGE
        self.prompt = ""
        self.negative_prompt = ""
        self.model: NamedModel | None = None
        self.loras: list[NamedModel] = []
        self.width_px: int | None = None
        self.height_px: int | None = None
        self.step_count: int | None = None
        self.guidance_scale: float | None = None
        self.seed: int | None = None
        self.scheduler = ""
        self.strength: float | None = None
        self.mask_feather_px: int | None = None
        self.scale_factor: int | None = None
        self.source_sha256 = ""
        self.mask_sha256 = ""
        self.remarks: list[Remark] = []
        self._unremarked = 0

    def remark(self, kind: RemarkKind, part: str, value: object, message: str) -> None:
        """Adds a remark, with as much of the value as a person wants to see; what is needed is never one too many."""
        if kind is RemarkKind.NEEDED or len(self.remarks) < _MOST_REMARKS:
            self.remarks.append(Remark(kind, shown(part), shown(value), message))
        else:
            self._unremarked += 1

    def leave_out(self, part: str, value: object, message: str = NOTHING_LIKE_IT) -> None:
        """Remarks that a part isn't taken over."""
        self.remark(RemarkKind.LEFT_OUT, part, value, message)

    def change(self, part: str, value: object, message: str) -> None:
        """Remarks that a part is taken over in another form."""
        self.remark(RemarkKind.CHANGED, part, value, message)

    def need(self, part: str, value: object, message: str) -> None:
        """Remarks that a job can't be made of the recipe until the caller has changed a part."""
        self.remark(RemarkKind.NEEDED, part, value, message)

    def all_remarks(self) -> list[Remark]:
        """Returns the remarks; a last one counts those that are too many to be told."""
        if not self._unremarked:
            return list(self.remarks)
        more = Remark(RemarkKind.LEFT_OUT, f"{self._unremarked} more parts", "", "There are too many to be listed.")
        return [*self.remarks, more]

    def take_prompt(self, value: object, part: str = "prompt") -> None:
        """Takes a prompt."""
        self.prompt = self._text(part, value)

    def take_negative_prompt(self, value: object, part: str = "negative prompt") -> None:
        """Takes a negative prompt."""
        self.negative_prompt = self._text(part, value)

    def take_model(self, name: object, files: dict[str, str] | None = None) -> None:
        """Takes the name of the model; an empty one says nothing."""
        if isinstance(name, str) and name.strip():
            self.model = NamedModel(shown(name.strip()), files or {})

    def take_lora(self, name: object, weight: object, files: dict[str, str] | None = None) -> None:
        """Takes a LoRA."""
        number = _number(weight)
        if not isinstance(name, str) or not name.strip() or number is None or len(self.loras) >= _MOST_LORAS:
            self.leave_out("LoRA", name, "It can't be read.")
        else:
            self.loras.append(NamedModel(shown(name.strip()), files or {}, number))

    def take_size(self, width: object, height: object, part: str = "size") -> None:
        """Takes the size; sides that are no multiple of 8 become the next larger one."""
        sides = _whole(width), _whole(height)
        rounded = [-(-side // _SIDE_MULTIPLE) * _SIDE_MULTIPLE for side in sides if side is not None]
        written = f"{shown(width)} x {shown(height)}"
        if len(rounded) < len(sides) or not all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in rounded):
            self.leave_out(part, written, f"Each side must be from {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels.")
            return
        self.width_px, self.height_px = rounded
        if tuple(rounded) != sides:
            self.change(part, written, f"Sides are multiples of {_SIDE_MULTIPLE} here: {rounded[0]} x {rounded[1]}.")

    def take_step_count(self, value: object, part: str = "steps") -> None:
        """Takes the number of steps."""
        self.step_count = self._within(part, _whole(value), value, 1, _MOST_STEPS)

    def take_guidance_scale(self, value: object, part: str = "guidance") -> None:
        """Takes the guidance scale."""
        self.guidance_scale = self._within(part, _number(value), value, 0.0, _LARGEST_GUIDANCE)

    def take_strength(self, value: object, part: str = "strength") -> None:
        """Takes the strength."""
        number = _number(value)
        if number == 0:
            self.leave_out(part, value, "It must be above 0.")
        else:
            self.strength = self._within(part, number, value, 0.0, 1.0)

    def take_mask_feather(self, value: object, part: str = "mask feather") -> None:
        """Takes the width of a mask's soft edge."""
        self.mask_feather_px = self._within(part, _whole(value), value, 0, _LARGEST_FEATHER)

    def take_seed(self, value: object, part: str = "seed") -> None:
        """Takes the seed; a larger one of another tool becomes what is left of it modulo 2^53."""
        seed = _whole(value)
        if seed is None or seed < 0:
            self.leave_out(part, value, "It isn't a seed: those are whole numbers from 0.")
            return
        self.seed = seed % _SEED_LIMIT
        if self.seed != seed:
            self.change(part, value, f"Seeds end at 2^53 - 1 here: taken modulo 2^53, it is {self.seed}.")

    def _text(self, part: str, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            self.leave_out(part, value, "It isn't text.")
            return ""
        text = value.strip()
        if not is_storable(text) or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise recipe_invalid("text", f"its {part} holds characters that are none (U+0000, or half of a pair)")
        if len(text) <= _LONGEST_PROMPT:
            return text
        self.change(part, text, f"It has {len(text)} characters and was cut to the first {_LONGEST_PROMPT}.")
        return text[:_LONGEST_PROMPT]

    def _within(self, part: str, number: Any, written: object, least: float, most: float) -> Any:
        if number is None:
            self.leave_out(part, written, "It isn't a number of this kind.")
        elif not least <= number <= most:
            self.leave_out(part, written, f"It must be from {least:g} to {most:g}.")
        else:
            return number
        return None


def shown(value: object) -> str:
    """Returns a value as text that can be sent and looked at, cut to a length."""
    text = value if isinstance(value, str) else "" if value is None else repr(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text[: _LONGEST_VALUE + 1])
    return f"{text[: _LONGEST_VALUE - 1]}…" if len(text) > _LONGEST_VALUE else text


def recipe_invalid(cause: str, fault: str, advice: str = "Give the parameters yourself.") -> ServiceError:
    """Returns the refusal of a picture whose recipe can't be read; `cause` is a word for programs, `fault` for people."""
    message = f"No recipe can be read from the picture: {fault}. {advice}"
    return ServiceError(Reason.RECIPE_INVALID, message, metadata={"cause": cause})


def _whole(value: object) -> int | None:
    """Returns a whole number that is written as one: 5, 5.0, "5"; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) <= _MOST_DIGITS:
        try:
            return int(value)
        except ValueError:
            return None
    return None


def _number(value: object) -> float | None:
    """Returns a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (len(str(value)[:99]) > _MOST_DIGITS):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number - number == 0 else None
