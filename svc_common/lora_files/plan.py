"""What of a LoRA's file changes which layers of a given model."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from svc_common.lora_files.header import LoraFileError, LoraHeader, Shape
from svc_common.lora_files.modules import LoraModule, modules_of, some_of, without_ones
from svc_common.lora_files.names import Layers, Pieces, known_names, place

_PATTERN_SEPARATOR: Final = r"(?:.*\.)?"


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A module of a file and the rows of layers that it changes."""

    module: LoraModule
    part: str
    pieces: Pieces
    configured_scale: float | None
    """What peft's configuration says, for files without alphas."""


@dataclass(frozen=True, slots=True)
class LoraPlan:
    """What is applied of a LoRA, and what isn't since the model has no such layer."""

    changes: tuple[PlannedChange, ...]
    unmatched: tuple[str, ...]

    @property
    def applied_count(self) -> int:
        """Modules that are applied."""
        return len(self.changes)

    @property
    def total_count(self) -> int:
        """Modules of the file, and keys of none."""
        return len(self.changes) + len(self.unmatched)


class LoraNames:
    """All names of the layers of a model; made once for it, asked for each of its LoRAs."""

    def __init__(self, family: str, parts: Mapping[str, Layers]) -> None:
        """Takes the layers of each part, with the shapes of their weights."""
        self._family = family
        self._layers = parts
        self._names = {part: known_names(part, layers) for part, layers in parts.items()}

    def plan(self, header: LoraHeader) -> LoraPlan:
        """Finds the layers of each module; raises LoraFileError when there are none, or when one has another shape."""
        contents = modules_of(header)
        changes, unmatched, taken = [], list(contents.unknown_keys), dict[tuple[str, str, int, bool], str]()
        for module in contents.modules:
            found = self._find(module)
            if found is None:
                unmatched.append(module.name)
                continue
            part, pieces = found
            for piece in pieces:
                place_taken = (part, piece.layer, piece.start, module.changes_weight)
                if place_taken in taken:
                    raise LoraFileError(f"changes one layer twice, as {taken[place_taken]} and {module.name}")
                taken[place_taken] = module.name
            changes.append(PlannedChange(module, part, pieces, self._scale(header.config, part, pieces, module)))
        if not changes:
            raise LoraFileError(f"has nothing for any part of it, but {some_of(unmatched)}")
        return LoraPlan(tuple(changes), tuple(unmatched))

    def _find(self, module: LoraModule) -> tuple[str, Pieces] | None:
        parts, name = place(module.name, self._family)
        found = [(part, self._names[part][name]) for part in parts if name in self._names.get(part, {})]
        if not found:
            return None
        fitting = [(part, pieces) for part, pieces in found if module.fits(self._shape(part, pieces))]
        if not fitting:
            shape = self._shape(*found[0])
            raise LoraFileError(f"changes {list(module.shape)} where the model has {list(shape)}: {module.name}")
        if len(fitting) > 1:
            raise LoraFileError(f"doesn't say whether {module.name} is of {' or '.join(part for part, _ in fitting)}")
        return fitting[0]

    def _shape(self, part: str, pieces: Pieces) -> Shape:
        return without_ones((sum(piece.count for piece in pieces), *self._layers[part][pieces[0].layer][1:]))

    def _scale(self, config: Mapping[str, Any], part: str, pieces: Pieces, module: LoraModule) -> float | None:
        """Returns alpha over rank as peft's configuration has it, which files in its naming leave out."""
        # diffusers' own names leave the part out where a file has one part only.
        own = {key.removeprefix(f"{part}."): value for key, value in config.items()}
        if "lora_alpha" not in own or not module.rank:
            return None
        alpha = _matching(own.get("alpha_pattern") or {}, pieces[0].layer, own["lora_alpha"])
        return float(alpha) / (math.sqrt(module.rank) if own.get("use_rslora") else module.rank)


def _matching(patterns: Mapping[str, Any], layer: str, otherwise: Any) -> Any:
    for pattern, value in patterns.items():
        if re.fullmatch(_PATTERN_SEPARATOR + f"(?:{pattern.removeprefix('^')})", layer):
            return value
    return otherwise
