"""What the tensors of a LoRA's module amount to: the change of a weight, in float32.

The formulas are the trainers' own: kohya's sd-scripts for LoRA and its cores (`lora_mid`), LyCORIS for LoHa and LoKr, and
DoRA (arXiv 2402.09353) for magnitudes.
"""

from collections.abc import Mapping
from typing import TypeAlias

import torch

from svc_common.lora_files.header import LoraFileError
from svc_common.lora_files.modules import Kind
from svc_common.lora_files.plan import PlannedChange

Fields: TypeAlias = Mapping[str, torch.Tensor]
"""The tensors of one module, in float32."""


def scale_of(change: PlannedChange, fields: Fields) -> float:
    """Returns alpha over rank; 1 where the file has no alpha, or the kind no rank."""
    module = change.module
    if module.rank == 0:
        return 1.0
    if "alpha" not in fields:
        return change.configured_scale if change.configured_scale is not None else 1.0
    if fields["alpha"].numel() != 1:
        raise LoraFileError(f"has an alpha that is no number: {module.keys['alpha']}")
    return fields["alpha"].item() / module.rank


def low_rank_pair(change: PlannedChange, fields: Fields) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the two matrices of a plain module, down and up, whose product is the whole change."""
    return fields["down"], fields["up"] * scale_of(change, fields)


def weight_change(change: PlannedChange, fields: Fields, weight: torch.Tensor) -> torch.Tensor:
    """Returns the change of a weight in float32; the weight matters only to modules with a magnitude."""
    total = torch.zeros_like(weight, dtype=torch.float32)
    if change.module.kind is not Kind.DIFFERENCE:
        total += (_direction(change.module.kind, fields) * scale_of(change, fields)).reshape(weight.shape)
    if "difference" in fields:
        total += fields["difference"].reshape(weight.shape)
    if "magnitude" in fields:
        magnitude = fields["magnitude"]
        return _with_magnitude(magnitude, weight.float(), total, axis=_axis_of(magnitude, weight))
    if "peft_magnitude" in fields:
        return _with_magnitude(fields["peft_magnitude"], weight.float(), total, axis=0)
    return total


def _direction(kind: Kind, fields: Fields) -> torch.Tensor:
    match kind:
        case Kind.LOKR:
            return _lokr(fields)
        case Kind.LOHA:
            factors = []
            for number in "12":
                a, b = fields[f"hada_w{number}_a"], fields[f"hada_w{number}_b"]
                core = fields.get(f"hada_t{number}")
                factors.append(a @ b if core is None else _tucker(core, a, b))
            return factors[0] * factors[1]
        case _:
            down, up = fields["down"], fields["up"].flatten(1)
            if "mid" in fields:
                return _tucker(fields["mid"], up.T, down.flatten(1))
            return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _lokr(fields: Fields) -> torch.Tensor:
    first = fields["lokr_w1"] if "lokr_w1" in fields else fields["lokr_w1_a"] @ fields["lokr_w1_b"]
    if "lokr_w2" in fields:
        second = fields["lokr_w2"]
    elif "lokr_t2" in fields:
        second = _tucker(fields["lokr_t2"], fields["lokr_w2_a"], fields["lokr_w2_b"])
    else:
        second = fields["lokr_w2_a"] @ fields["lokr_w2_b"]
    return torch.kron(first.reshape(*first.shape, *(1,) * (second.ndim - first.ndim)), second.contiguous())


def _tucker(core: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Returns a convolution's weight from its core (r, s, ...), outputs (r, out) and inputs (s, in)."""
    return torch.einsum("r s ..., r o, s i -> o i ...", core, outputs, inputs)


def _with_magnitude(magnitude: torch.Tensor, weight: torch.Tensor, change: torch.Tensor, *, axis: int) -> torch.Tensor:
    """Returns the change that DoRA makes: the changed weight, each of its slices along an axis as long as it says."""
    if magnitude.numel() != weight.shape[axis]:
        raise LoraFileError("has a magnitude of another length than its layer")
    changed = weight + change
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    lengths = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
    # A row of zeros stays one, whatever its magnitude.
    scale = magnitude.reshape(lengths.shape) / lengths.clamp_min(torch.finfo(torch.float32).tiny)
    changed *= scale
    return changed - weight


def _axis_of(magnitude: torch.Tensor, weight: torch.Tensor) -> int:
    """Returns the axis of a `dora_scale`: (out, 1) is for outputs, (1, in) for inputs, which is LyCORIS' older choice."""
    return 1 if magnitude.ndim > 1 and magnitude.shape[0] == 1 and weight.shape[0] != 1 else 0
