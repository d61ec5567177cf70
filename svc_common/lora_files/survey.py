"""What a LoRA's file is for, told without a model: by the layers of the published models of each family.

A family has models of other sizes too, so names count with their numbers left out, and shapes only where most of a file has
those of the published model. What is in doubt is left to the worker, which has the model.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from svc_common.lora_files.header import LoraFileError, Shape, read_header
from svc_common.lora_files.modules import LoraContents, LoraModule, modules_of, some_of
from svc_common.lora_files.names import DENOISERS, place

PUBLISHED_LAYERS_PATH: Final = Path(__file__).with_name("published_layers.json")
PublishedLayers: TypeAlias = Mapping[str, Mapping[str, Mapping[str, list[list[int]]]]]
"""By family, part and name without numbers: the shapes of such layers."""

_LABELS: Final = {
    "sd15": "Stable Diffusion 1.5",
    "sdxl": "Stable Diffusion XL",
    "flux": "FLUX.1",
    "zimage": "Z-Image",
}
# The built-in model has the architecture of this family at a size of its own.
_TINY_FAMILY, _TINY_LIKE = "tiny", "sd15"
# Models that take more than noise, such as those for inpainting, have more channels here.
_FIRST_LAYERS: Final = re.compile(r"(?:^|_)(?:conv_in|input_blocks_#_#|x_embedder|img_in)(?:_|$)")


@dataclass(frozen=True, slots=True)
class LoraSurvey:
    """How much of a file is known to the family that it is pushed for."""

    matched: tuple[str, ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    """The modules of a file whose names a family knows, and those whose shapes it knows too."""

    named: tuple[LoraModule, ...]
    shaped: tuple[LoraModule, ...]

    @property
    def score(self) -> tuple[int, int]:
        return len(self.shaped), len(self.named)


def without_numbers(name: str) -> str:
    """Returns a layer's name for all blocks at once; only the first block of a transformer is told from the others.

    Networks differ in how many blocks they have, but U-Nets of XL alone have more than one in a transformer.
    """
    name = re.sub(r"(?<=transformer_blocks_)[1-9]\d*(?=_)", "+", name)
    name = re.sub(r"(?<=transformer_blocks_)0(?=_)", "first", name)
    return re.sub(r"(?<=_)\d+(?=_|$)", "#", name)


def survey(path: Path, family: str) -> LoraSurvey:
    """Compares a file with the published models; raises LoraFileError when it can't be applied to its family's."""
    return survey_contents(modules_of(read_header(path)), family)


def survey_contents(contents: LoraContents, family: str) -> LoraSurvey:
    """Compares the modules of a file with the published models; raises LoraFileError as `survey` does."""
    if family not in DENOISERS:
        raise LoraFileError(f"is for models of the family {family}, which have no LoRAs")
    own = _match(contents.modules, family)
    _refuse_other_family(contents.modules, family, own)
    if not own.named:
        names = [module.name for module in contents.modules] + [*contents.unknown_keys]
        raise LoraFileError(f"has nothing for models of the family {family}, but {some_of(names)}")
    if family != _TINY_FAMILY:
        _refuse_other_shapes(family, own)
    matched = {module.name for module in own.named}
    unmatched = [module.name for module in contents.modules if module.name not in matched]
    return LoraSurvey(tuple(matched), (*unmatched, *contents.unknown_keys))


@cache
def _published() -> PublishedLayers:
    layers: PublishedLayers = json.loads(PUBLISHED_LAYERS_PATH.read_text("utf-8"))
    return layers


def _match(modules: tuple[LoraModule, ...], family: str) -> _Match:
    named, shaped = [], []
    for module in modules:
        shapes = _shapes(module, family)
        if shapes:
            named.append(module)
        if any(module.fits(shape) for shape in shapes):
            shaped.append(module)
    return _Match(tuple(named), tuple(shaped))


def _shapes(module: LoraModule, family: str) -> list[Shape]:
    """Returns the shapes of the published layers that a module's name may mean."""
    known = _published()[_TINY_LIKE if family == _TINY_FAMILY else family]
    parts, name = place(module.name, family)
    return [tuple(shape) for part in parts for shape in known.get(part, {}).get(without_numbers(name), ())]


def _refuse_other_family(modules: tuple[LoraModule, ...], family: str, own: _Match) -> None:
    others = {name: match for name in _LABELS if name != family and (match := _match(modules, name)).named}
    if family == _TINY_FAMILY:
        # Its own layers have no published size; any layer of one is another model's.
        others = {name: match for name, match in others.items() if match.shaped or len(match.named) > len(own.named)}
    if not others:
        return
    best = max(others, key=lambda name: others[name].score)
    if family == _TINY_FAMILY or others[best].score > own.score:
        raise LoraFileError(
            f"looks like one for {_LABELS[best]}, the family {best}: models of the family {family} know"
            f" {len(own.named)} of its {len(modules)} modules and have the shape of {len(own.shaped)}, those of"
            f" {best} {len(others[best].named)} and {len(others[best].shaped)}"
        )


def _refuse_other_shapes(family: str, own: _Match) -> None:
    """Raises LoraFileError for a file that is mostly of the published size, but not everywhere."""
    other = [module for module in own.named if module not in own.shaped and not _is_first(module, family)]
    if not other or len(own.shaped) < len(other):
        return
    shapes = _shapes(other[0], family)
    wanted = " or ".join(str(list(shape)) for shape in shapes[:2])
    raise LoraFileError(
        f"doesn't fit models of the family {family}: {len(other)} of its {len(own.named)} modules have other shapes,"
        f" such as {other[0].name} with {list(other[0].shape)} instead of {wanted}"
    )


def _is_first(module: LoraModule, family: str) -> bool:
    return bool(_FIRST_LAYERS.search(without_numbers(place(module.name, family)[1])))
