"""The modules of a LoRA's file: tensors that belong together, under one name for each kind, whoever wrote the file.

The kinds and their formulas are those of kohya's sd-scripts, peft and LyCORIS. What else those write is refused by name.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from svc_common.lora_files.header import LoraFileError, LoraHeader, Shape

_ADAPTER = r"(?:\.(?!weight$|bias$)[\w-]+)?"
_FIELDS: Final = tuple(
    (re.compile(rf"(?P<module>.+?){pattern}$"), name)
    for pattern, name in (
        (rf"\.lora_A{_ADAPTER}(?:\.weight)?", "down"),
        (rf"\.lora_B{_ADAPTER}(?:\.weight)?", "up"),
        (r"(?:\.lora_|\.lora\.|\.lora_linear_layer\.|\.)down\.weight", "down"),
        (r"(?:\.lora_|\.lora\.|\.lora_linear_layer\.|\.)up\.weight", "up"),
        (r"\.lora_mid\.weight", "mid"),
        (rf"\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "peft_magnitude"),
        (r"\.dora_scale", "magnitude"),
        (r"(?:\.lora|\.lora_linear_layer)?\.(?:alpha|lora_alpha)", "alpha"),
        *((rf"\.hada_{name}{_ADAPTER}", f"hada_{name}") for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
        *(
            (rf"\.lokr_{name}{_ADAPTER}", f"lokr_{name}")
            for name in ("w1", "w2", "w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")
        ),
        (r"\.(?:diff|w_norm)", "difference"),
        (r"\.(?:diff_b|b_norm)", "bias_difference"),
    )
)
_UNSUPPORTED: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^bundle_emb\.", "embeddings bundled with the LoRA"),
        (r"(?:^|\.)(?:emb_params|string_to_param|clip_l|clip_g)(?:\.\*)?$", "an embedding (textual inversion)"),
        (r"\.(?:boft_R|boft_s)\b", "BOFT"),
        (r"\.(?:oft_blocks|oft_diag|oft_R|oft_S|oft_s|R)\b", "OFT"),
        (r"\.(?:ia3_l|on_input)\b", "IA3"),
        (r"\.(?:a1|a2|b1|b2|bm|alpha1)\.weight$", "GLoRA"),
        (r"\.vera_lambda", "VeRA"),
        (r"\.(?:hra_u|lora_P|poly_lora|ln_tuning|fourierft)", "an adapter of peft that isn't a LoRA"),
        (r"\.lora_embedding_[AB]", "a LoRA of an embedding"),
        (r"\.lora_(?:A|B|up|down)\b.*\.bias$|\.(?:up|down)\.bias$", "a LoRA with biases of its own"),
        (r"\.(?:set_weight|reshape_weight)$", "replaced weights"),
        (r"\.scalar$", "a scalar beside a LyCORIS module"),
        (r"\.lokr_t1\b", "LoKr with a core for its first factor"),
    )
)


class Kind(StrEnum):
    """The kinds of change that a module can be."""

    LOW_RANK = "LoRA"
    LOHA = "LoHa"
    LOKR = "LoKr"
    DIFFERENCE = "full difference"


@dataclass(frozen=True, slots=True)
class LoraModule:
    """The tensors of one module of a file."""

    name: str
    """As the file has it."""
    kind: Kind
    keys: Mapping[str, str]
    """The file's key of each field."""
    shape: Shape
    """Of the weight it changes, or of the bias where it changes that alone; trailing ones left out."""
    rank: int
    """What alpha is divided by; 0 where the kind has no rank."""

    @property
    def is_plain(self) -> bool:
        """Tells whether it is a product of two matrices and nothing else, which can be computed beside a layer."""
        return self.kind is Kind.LOW_RANK and {*self.keys} <= {"down", "up", "alpha"}

    @property
    def changes_weight(self) -> bool:
        """Tells whether it changes a weight, not a bias alone."""
        return self.kind is not Kind.DIFFERENCE or "difference" in self.keys

    def fits(self, weight: Shape) -> bool:
        """Tells whether it changes a weight of a shape, or the bias beside it."""
        wanted = without_ones(weight if self.changes_weight else weight[:1])
        if wanted == self.shape:
            return True
        # LyCORIS folds the sides of a convolution's kernel into the second dimension.
        folds = self.kind in {Kind.LOHA, Kind.LOKR} and len(wanted) > len(self.shape)
        return folds and wanted[0] == self.shape[0] and math.prod(wanted) == math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class LoraContents:
    """The modules of a file, and the keys that are of none."""

    modules: tuple[LoraModule, ...]
    unknown_keys: tuple[str, ...]


def modules_of(header: LoraHeader) -> LoraContents:
    """Groups the keys of a file; raises LoraFileError for kinds that aren't supported and for shapes that don't agree."""
    _refuse_unsupported(header)
    grouped: dict[str, dict[str, str]] = {}
    unknown = []
    for key in header.shapes:
        found = next(((match["module"], name) for pattern, name in _FIELDS if (match := pattern.match(key))), None)
        if found is None:
            unknown.append(key)
            continue
        fields = grouped.setdefault(found[0], {})
        if found[1] in fields:
            raise LoraFileError(f"has {found[0]} twice, as {fields[found[1]]} and {key}")
        fields[found[1]] = key
    modules = []
    for name, fields in grouped.items():
        if {*fields} <= {"alpha", "magnitude", "peft_magnitude"}:
            unknown += fields.values()
        else:
            modules.append(_module(name, fields, header.shapes))
    return LoraContents(tuple(modules), tuple(unknown))


def without_ones(shape: Shape) -> Shape:
    """Returns a shape without ones at its end: the weight of a 1 x 1 convolution is that of a linear layer."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def some_of(keys: Sequence[str]) -> str:
    """Returns the first few of some names, and how many there are beside, for a message."""
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")  # noqa: PLR2004 - a few


def _refuse_unsupported(header: LoraHeader) -> None:
    for pattern, name in _UNSUPPORTED:
        keys = [key for key in header.shapes if pattern.search(key)]
        if keys:
            raise LoraFileError(f"holds {name}, which isn't supported: {some_of(keys)}")


def _module(name: str, fields: dict[str, str], shapes: Mapping[str, Shape]) -> LoraModule:
    own = {field: shapes[key] for field, key in fields.items()}
    try:
        kind, shape, rank = _measured(own)
        _check_magnitude(own, shape)
    except (IndexError, KeyError) as error:
        raise LoraFileError(f"has an incomplete module, {name}: {', '.join(fields.values())}") from error
    except ValueError as error:
        described = ", ".join(f"{key} {list(shapes[key])}" for key in fields.values())
        raise LoraFileError(f"has a module whose {error}, {name}: {described}") from error
    return LoraModule(name, kind, fields, without_ones(shape), rank)


def _check_magnitude(own: Mapping[str, Shape], shape: Shape) -> None:
    """Raises ValueError when a magnitude has neither one number for each output nor, in LyCORIS, for each input."""
    by_output = own.get("peft_magnitude", own.get("magnitude"))
    if by_output is None or math.prod(by_output) == shape[0]:
        return
    by_input = own.get("magnitude", ())
    if len(by_input) < 2 or by_input[0] != 1 or math.prod(by_input) != shape[1]:  # noqa: PLR2004 - a matrix
        raise ValueError("magnitude has another length than its layer")


def _measured(own: Mapping[str, Shape]) -> tuple[Kind, Shape, int]:
    """Returns kind, shape and rank of a module; raises KeyError when a tensor is absent, ValueError when they disagree."""
    if any(field.startswith("lokr_") for field in own):
        return Kind.LOKR, *_lokr(own)
    if any(field.startswith("hada_") for field in own):
        return Kind.LOHA, *_loha(own)
    if "up" in own or "down" in own:
        return Kind.LOW_RANK, *_low_rank(own)
    return Kind.DIFFERENCE, own["difference"] if "difference" in own else own["bias_difference"], 0


def _low_rank(own: Mapping[str, Shape]) -> tuple[Shape, int]:
    up, down = own["up"], own["down"]
    _agree(up[1], down[0], "ranks of its two matrices differ")
    _agree(up[2:], (1,) * len(up[2:]), "second matrix is larger than 1 x 1")
    if "mid" not in own:
        return (up[0], *down[1:]), down[0]
    _agree(own["mid"][:2], (up[1], down[0]), "ranks of its matrices and its core differ")
    return (up[0], down[1], *own["mid"][2:]), down[0]


def _loha(own: Mapping[str, Shape]) -> tuple[Shape, int]:
    w1_a, w1_b, w2_a, w2_b = (own[f"hada_{name}"] for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    if "hada_t1" in own or "hada_t2" in own:
        t1, t2 = own["hada_t1"], own["hada_t2"]
        _agree((t1[:2], t2[:2]), ((w1_a[0], w1_b[0]), (w2_a[0], w2_b[0])), "ranks of its matrices and its core differ")
        first, second = (w1_a[1], w1_b[1], *t1[2:]), (w2_a[1], w2_b[1], *t2[2:])
    else:
        _agree((w1_a[1], w2_a[1]), (w1_b[0], w2_b[0]), "ranks of its two matrices differ")
        first, second = (w1_a[0], w1_b[1]), (w2_a[0], w2_b[1])
    _agree(first, second, "factors differ in shape")
    return first, w1_b[0]


def _lokr(own: Mapping[str, Shape]) -> tuple[Shape, int]:
    rank = 0
    if "lokr_w1" in own:
        w1 = own["lokr_w1"]
    else:
        w1_a, w1_b = own["lokr_w1_a"], own["lokr_w1_b"]
        _agree(w1_a[1], w1_b[0], "ranks of its first factor differ")
        w1, rank = (w1_a[0], w1_b[1]), w1_b[0]
    if "lokr_w2" in own:
        w2 = own["lokr_w2"]
    else:
        w2_a, w2_b = own["lokr_w2_a"], own["lokr_w2_b"]
        rank = w2_b[0]
        if "lokr_t2" in own:
            core = own["lokr_t2"]
            _agree(core[:2], (w2_a[0], w2_b[0]), "ranks of its second factor and its core differ")
            w2 = (w2_a[1], w2_b[1], *core[2:])
        else:
            _agree(w2_a[1], w2_b[0], "ranks of its second factor differ")
            w2 = (w2_a[0], w2_b[1])
    return (w1[0] * w2[0], w1[1] * w2[1], *w2[2:]), rank


def _agree(one: object, other: object, problem: str) -> None:
    if one != other:
        raise ValueError(problem)
