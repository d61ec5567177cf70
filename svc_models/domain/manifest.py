"""Owns what a model's manifest.json must say.

Finding manifests in folders is left to tasks, and checking the files against their SHA-256 to the worker that loads
them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from pingvas.vocabulary import Operation, Tier

from svc_models.domain.kinds import ModelKind

T = TypeVar("T")

# The VAEs of all families work on blocks of 8 x 8 pixels.
_SIDE_MULTIPLE_PX: Final = 8
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TEXT_MAX_LENGTH: Final = 200
# What a prompt has room for beside its own words.
_TRIGGER_WORDS_MAX: Final = 20
_TRIGGER_WORD_MAX_LENGTH: Final = 100
# What int32 fields of the contract and bigint columns hold.
_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1
# Wider than any real model, and narrow enough that a price stays a number.
_NUMBER_MAX: Final = 1e9
_SMALLEST_RATE: Final = 1e-6
WEIGHTS_SUFFIX: Final = ".safetensors"


class ManifestError(Exception):
    """Lists everything that is wrong with one manifest, each problem beginning with the field's path."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """Describes one file of a model: its path inside the model's folder, and what it must contain."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Describes one revision of a model. A LoRA has no size, steps, schedulers and cost of its own: they are 0 or empty."""

    model_id: str
    revision: str
    display_name: str
    family: str
    licence: str
    minimum_tier: Tier
    native_width_px: int
    native_height_px: int
    default_step_count: int
    default_guidance_scale: float
    schedulers: tuple[str, ...]
    files: tuple[ManifestFile, ...]
    millicredits_per_megapixel_step: float
    fixed_millicredits: int
    kind: ModelKind = ModelKind.CHECKPOINT
    operations: tuple[Operation, ...] = (Operation.TEXT_TO_IMAGE,)
    upscale_millicredits_per_megapixel: float = 0.0
    trigger_words: tuple[str, ...] = ()


def parse_manifest(content: bytes) -> Manifest:
    """Parses a manifest; raises ManifestError with all of its problems at once.

    Keys that it doesn't know are left to the newer programs that wrote them. Every key it does know is required, so
    that a misspelt one is told, but "kind" (a checkpoint without it) and "operations" (text_to_image), which manifests
    from before they were thought of don't have, and a LoRA's "trigger_words", which not every one has.
    """
    try:
        document = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError((f"isn't JSON: {error}",)) from error
    if not isinstance(document, dict):
        raise ManifestError(("isn't a JSON object",))
    fields = _Fields(document)
    manifest = _read_manifest(fields)
    if fields.problems:
        raise ManifestError(tuple(fields.problems))
    return manifest


def _read_manifest(fields: "_Fields") -> Manifest:
    kind = fields.parsed("kind", ModelKind.of, ModelKind.CHECKPOINT) if fields.has("kind") else ModelKind.CHECKPOINT
    return _read_lora(fields) if kind is ModelKind.LORA else _read_checkpoint(fields)


def _read_checkpoint(fields: "_Fields") -> Manifest:
    cost = fields.nested("cost")
    operations = _read_operations(fields)
    return Manifest(
        model_id=fields.name("model_id"),
        revision=fields.text("revision"),
        display_name=fields.text("display_name"),
        family=fields.name("family"),
        licence=fields.text("licence"),
        minimum_tier=fields.parsed("minimum_tier", Tier.of, Tier.FREE),
        native_width_px=fields.side("native_width_px"),
        native_height_px=fields.side("native_height_px"),
        default_step_count=fields.integer("default_step_count", minimum=1, maximum=_INT32_MAX),
        default_guidance_scale=fields.number("default_guidance_scale", minimum=0.0),
        schedulers=_read_schedulers(fields),
        files=_read_files(fields),
        # A price of nothing would make a hold of nothing, which payment refuses.
        millicredits_per_megapixel_step=cost.number("millicredits_per_megapixel_step", minimum=_SMALLEST_RATE),
        fixed_millicredits=cost.integer("fixed_millicredits", minimum=0, maximum=_INT64_MAX),
        operations=operations,
        upscale_millicredits_per_megapixel=_read_upscale_rate(cost, operations),
    )


def _read_lora(fields: "_Fields") -> Manifest:
    if fields.has("operations"):
        fields.reject("operations", "are those of the models that a LoRA is applied to; leave the key out")
    files = _read_files(fields)
    if files and sum(file.path.endswith(WEIGHTS_SUFFIX) for file in files) != 1:
        fields.reject("files", f"must hold exactly one {WEIGHTS_SUFFIX} file, as this is a LoRA")
    return Manifest(
        model_id=fields.name("model_id"),
        revision=fields.text("revision"),
        display_name=fields.text("display_name"),
        family=fields.name("family"),
        licence=fields.text("licence"),
        minimum_tier=fields.parsed("minimum_tier", Tier.of, Tier.FREE),
        native_width_px=0,
        native_height_px=0,
        default_step_count=0,
        default_guidance_scale=0.0,
        schedulers=(),
        files=files,
        millicredits_per_megapixel_step=0.0,
        fixed_millicredits=0,
        kind=ModelKind.LORA,
        operations=(),
        trigger_words=_read_trigger_words(fields),
    )


def _read_trigger_words(fields: "_Fields") -> tuple[str, ...]:
    if not fields.has("trigger_words"):
        return ()
    words = tuple(word.strip() for word in fields.names("trigger_words"))
    if len(words) > _TRIGGER_WORDS_MAX:
        fields.reject("trigger_words", f"must list at most {_TRIGGER_WORDS_MAX}")
    if any(not word or len(word) > _TRIGGER_WORD_MAX_LENGTH or not word.isprintable() for word in words):
        fields.reject("trigger_words", f"must have 1 to {_TRIGGER_WORD_MAX_LENGTH} characters each, on one line")
    if len(set(words)) != len(words):
        fields.reject("trigger_words", "names one twice")
    return words


def _read_operations(fields: "_Fields") -> tuple[Operation, ...]:
    if not fields.has("operations"):
        return (Operation.TEXT_TO_IMAGE,)
    names = fields.names("operations")
    if len(set(names)) != len(names):
        fields.reject("operations", "names one twice")
    operations = []
    for name in names:
        try:
            operations.append(Operation.of(name))
        except ValueError as error:
            fields.reject("operations", f"can't be used: {error}")
    return tuple(operations)


def _read_upscale_rate(cost: "_Fields", operations: tuple[Operation, ...]) -> float:
    if Operation.UPSCALE not in operations:
        return 0.0
    return cost.number("upscale_millicredits_per_megapixel", minimum=_SMALLEST_RATE)


def _read_schedulers(fields: "_Fields") -> tuple[str, ...]:
    schedulers = fields.names("schedulers")
    if len(set(schedulers)) != len(schedulers):
        fields.reject("schedulers", "names one twice")
    return schedulers


def _read_files(fields: "_Fields") -> tuple[ManifestFile, ...]:
    files = tuple(
        ManifestFile(
            path=file.parsed("path", _relative_path, ""),
            size_bytes=file.integer("size_bytes", minimum=0, maximum=_INT64_MAX),
            sha256=file.matching("sha256", _SHA256, "64 lower-case hexadecimal digits"),
        )
        for file in fields.elements("files")
    )
    if len({file.path for file in files}) != len(files):
        fields.reject("files", "names one path twice")
    return files


def _relative_path(text: str) -> str:
    """Returns the path; raises ValueError for one that could lead out of the model's folder."""
    parts = text.split("/")
    if "\\" in text or "\0" in text or not all(parts) or any(part in {".", ".."} for part in parts):
        raise ValueError(f"{text!r} isn't a path inside the model's folder")
    return text


class _Fields:
    """Reads the fields of one JSON object and notes each problem, so that all of them are told at once.

    A field with a problem yields a stand-in, which is never seen: the manifest is refused.
    """

    def __init__(self, document: Mapping[str, object], prefix: str = "", problems: list[str] | None = None) -> None:
        self._document = document
        self._prefix = prefix
        self.problems: list[str] = [] if problems is None else problems

    def has(self, field: str) -> bool:
        return field in self._document

    def reject(self, field: str, problem: str) -> None:
        self.problems.append(f"{self._prefix}{field} {problem}")

    def text(self, field: str) -> str:
        value = self._document.get(field)
        if isinstance(value, str) and value.strip() and "\0" not in value and len(value) <= _TEXT_MAX_LENGTH:
            return value
        self.reject(field, f"must be text of 1 to {_TEXT_MAX_LENGTH} characters")
        return ""

    def matching(self, field: str, pattern: re.Pattern[str], description: str) -> str:
        value = self._document.get(field)
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        self.reject(field, f"must be {description}")
        return ""

    def name(self, field: str) -> str:
        return self.matching(field, _NAME, "1 to 100 of a-z, 0-9, '.', '_' and '-', a letter or digit first")

    def parsed(self, field: str, parse: Callable[[str], T], stand_in: T) -> T:
        value = self._document.get(field)
        if not isinstance(value, str):
            self.reject(field, "must be text")
            return stand_in
        try:
            return parse(value)
        except ValueError as error:
            self.reject(field, f"can't be used: {error}")
            return stand_in

    def integer(self, field: str, *, minimum: int, maximum: int) -> int:
        value = self._document.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        self.reject(field, f"must be a whole number from {minimum} to {maximum}")
        return 0

    def side(self, field: str) -> int:
        value = self.integer(field, minimum=_SIDE_MULTIPLE_PX, maximum=_INT32_MAX)
        if value % _SIDE_MULTIPLE_PX:
            self.reject(field, f"must be a multiple of {_SIDE_MULTIPLE_PX}")
        return value

    def number(self, field: str, *, minimum: float) -> float:
        value = self._document.get(field)
        # NaN and the infinities, which Python's JSON admits, fail the comparison.
        if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= _NUMBER_MAX:
            return float(value)
        self.reject(field, f"must be a number from {minimum:g} to {_NUMBER_MAX:g}")
        return 0.0

    def sequence(self, field: str) -> list[object]:
        value = self._document.get(field)
        if isinstance(value, list) and value:
            return value
        self.reject(field, "must be a list with at least one element")
        return []

    def names(self, field: str) -> tuple[str, ...]:
        values = self.sequence(field)
        names = tuple(value for value in values if isinstance(value, str) and 0 < len(value) <= _TEXT_MAX_LENGTH)
        if len(names) != len(values):
            self.reject(field, "must list names only")
        return names

    def nested(self, field: str) -> "_Fields":
        return self._object(field, self._document.get(field))

    def elements(self, field: str) -> Iterator["_Fields"]:
        for index, element in enumerate(self.sequence(field)):
            yield self._object(f"{field}[{index}]", element)

    def _object(self, path: str, value: object) -> "_Fields":
        if not isinstance(value, dict):
            self.reject(path, "must be an object")
            # Its fields would only repeat that.
            return _Fields({}, f"{self._prefix}{path}.", [])
        return _Fields(value, f"{self._prefix}{path}.", self.problems)
