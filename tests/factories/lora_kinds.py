"""LoRAs of every kind for one weight: their tensors, and the change they amount to, computed in float64 and by the book.

Nothing of the product is used here: these are the formulas of the papers and of the trainers' documentation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class KindOfLora:
    """Tensors by the end of their keys, and the weight that they make of another."""

    tensors: Tensors
    changed: torch.Tensor
    bias_change: torch.Tensor | None = None


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator) * 0.3


def lora(weight: torch.Tensor, generator: torch.Generator, rank: int = 3, alpha: float | None = 1.5) -> KindOfLora:
    """Up @ down * alpha / rank; without alpha just up @ down."""
    down = _drawn((rank, *weight.shape[1:]), generator)
    up = _drawn((weight.shape[0], rank, *(1,) * (weight.ndim - 2)), generator)
    tensors = {"lora_down.weight": down, "lora_up.weight": up}
    if alpha is not None:
        tensors["alpha"] = torch.tensor(alpha)
    product = np.tensordot(up.double().numpy().reshape(-1, rank), down.double().numpy(), axes=1)
    return KindOfLora(tensors, weight.double() + torch.from_numpy(product) * ((alpha or rank) / rank))


def dora(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """Each output's row has the length that dora_scale says."""
    plain = lora(weight, generator)
    scale = torch.rand((weight.shape[0], *(1,) * (weight.ndim - 1)), generator=generator) + 0.5
    rows = plain.changed.reshape(weight.shape[0], -1)
    changed = rows / (rows**2).sum(1, keepdim=True).sqrt() * scale.double().reshape(-1, 1)
    return KindOfLora({**plain.tensors, "dora_scale": scale}, changed.reshape(weight.shape))


def dora_by_input(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """Each input's column has the length that dora_scale, of shape (1, in), says."""
    plain = lora(weight, generator)
    scale = torch.rand((1, weight.shape[1], *(1,) * (weight.ndim - 2)), generator=generator) + 0.5
    columns = plain.changed.transpose(0, 1).reshape(weight.shape[1], -1)
    changed = columns / (columns**2).sum(1, keepdim=True).sqrt() * scale.double().reshape(-1, 1)
    shape = (weight.shape[1], weight.shape[0], *weight.shape[2:])
    return KindOfLora({**plain.tensors, "dora_scale": scale}, changed.reshape(shape).transpose(0, 1))


def dora_of_peft(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """The same in peft's names: one number for each output, (1, out, 1, 1) for convolutions."""
    ours = dora(weight, generator)
    tensors = dict(ours.tensors)
    scale, alpha = tensors.pop("dora_scale").flatten(), tensors.pop("alpha")
    shape = (-1,) if weight.ndim == 2 else (1, -1, 1, 1)
    up = tensors.pop("lora_up.weight") * (alpha / 3)  # peft keeps alpha elsewhere
    names = {"lora_A.weight": tensors["lora_down.weight"], "lora_B.weight": up}
    return KindOfLora({**names, "lora_magnitude_vector.weight": scale.reshape(shape)}, ours.changed)


def loha(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """(w1_a @ w1_b) * (w2_a @ w2_b) * alpha / rank."""
    rank, rest = 3, int(np.prod(weight.shape[1:]))
    shapes = {
        "w1_a": (weight.shape[0], rank),
        "w1_b": (rank, rest),
        "w2_a": (weight.shape[0], rank),
        "w2_b": (rank, rest),
    }
    own = {name: _drawn(shape, generator) for name, shape in shapes.items()}
    product = (own["w1_a"].double() @ own["w1_b"].double()) * (own["w2_a"].double() @ own["w2_b"].double())
    tensors = {f"hada_{name}": tensor for name, tensor in own.items()}
    return KindOfLora(
        {**tensors, "alpha": torch.tensor([2.0])}, weight.double() + product.reshape(weight.shape) * (2 / rank)
    )


def lokr(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """kron(w1, w2): both whole, so alpha means nothing."""
    outputs, inputs = (2 if side % 2 == 0 else 1 for side in weight.shape[:2])
    w1 = _drawn((outputs, inputs), generator)
    w2 = _drawn((weight.shape[0] // outputs, weight.shape[1] // inputs, *weight.shape[2:]), generator)
    tensors = {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(1e10)}
    return KindOfLora(tensors, weight.double() + _kron(w1, w2))


def lokr_factored(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """kron(w1_a @ w1_b, w2_a @ w2_b) * alpha / rank."""
    outputs, inputs = (2 if side % 2 == 0 else 1 for side in weight.shape[:2])
    rank, rest = 3, int(np.prod(weight.shape[2:]))
    own = {
        "lokr_w1_a": _drawn((outputs, rank), generator),
        "lokr_w1_b": _drawn((rank, inputs), generator),
        "lokr_w2_a": _drawn((weight.shape[0] // outputs, rank), generator),
        "lokr_w2_b": _drawn((rank, weight.shape[1] // inputs * rest), generator),
    }
    w1 = own["lokr_w1_a"].double() @ own["lokr_w1_b"].double()
    w2 = (own["lokr_w2_a"].double() @ own["lokr_w2_b"].double()).reshape(
        weight.shape[0] // outputs, weight.shape[1] // inputs, *weight.shape[2:]
    )
    return KindOfLora({**own, "alpha": torch.tensor(1.0)}, weight.double() + _kron(w1, w2) / rank)


def full(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """The difference itself, of weight and bias."""
    difference, bias = _drawn(tuple(weight.shape), generator), _drawn((weight.shape[0],), generator)
    return KindOfLora({"diff": difference, "diff_b": bias}, weight.double() + difference.double(), bias.double())


def locon_with_mid(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """A convolution in three: 1 x 1 into the rank, the core, 1 x 1 out of it."""
    rank = 3
    down = _drawn((rank, weight.shape[1], 1, 1), generator)
    mid = _drawn((rank, rank, *weight.shape[2:]), generator)
    up = _drawn((weight.shape[0], rank, 1, 1), generator)
    changed = weight.double().clone()
    for y, x in np.ndindex(*weight.shape[2:]):
        changed[:, :, y, x] += up[..., 0, 0].double() @ mid[:, :, y, x].double() @ down[..., 0, 0].double() * (2 / rank)
    tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    return KindOfLora(tensors, changed)


def loha_tucker(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """The product of two convolutions in three, each with its core."""
    rank, own, products = 2, {}, []
    for number in "12":
        core = _drawn((rank, rank, *weight.shape[2:]), generator)
        a, b = _drawn((rank, weight.shape[0]), generator), _drawn((rank, weight.shape[1]), generator)
        own |= {f"hada_t{number}": core, f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        product = torch.zeros(weight.shape, dtype=torch.float64)
        for y, x in np.ndindex(*weight.shape[2:]):
            product[:, :, y, x] = a.double().T @ core[:, :, y, x].double() @ b.double()
        products.append(product)
    return KindOfLora({**own, "alpha": torch.tensor(1.0)}, weight.double() + products[0] * products[1] / rank)


def lokr_tucker(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    """Kron of a matrix and a convolution in three."""
    rank = 2
    w1, core = _drawn((2, 2), generator), _drawn((rank, rank, *weight.shape[2:]), generator)
    a, b = _drawn((rank, weight.shape[0] // 2), generator), _drawn((rank, weight.shape[1] // 2), generator)
    w2 = torch.zeros((weight.shape[0] // 2, weight.shape[1] // 2, *weight.shape[2:]), dtype=torch.float64)
    for y, x in np.ndindex(*weight.shape[2:]):
        w2[:, :, y, x] = a.double().T @ core[:, :, y, x].double() @ b.double()
    tensors = {"lokr_w1": w1, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    return KindOfLora(tensors, weight.double() + _kron(w1, w2) / rank)


def _kron(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The Kronecker product over the first two dimensions, number by number."""
    one, other = one.double(), other.double()
    product = torch.zeros((one.shape[0] * other.shape[0], one.shape[1] * other.shape[1], *other.shape[2:])).double()
    for row, column in np.ndindex(*one.shape):
        rows = slice(row * other.shape[0], (row + 1) * other.shape[0])
        columns = slice(column * other.shape[1], (column + 1) * other.shape[1])
        product[rows, columns] = one[row, column] * other
    return product


KINDS: Final[dict[str, Callable[[torch.Tensor, torch.Generator], KindOfLora]]] = {
    "lora": lora,
    "dora": dora,
    "dora_by_input": dora_by_input,
    "dora_of_peft": dora_of_peft,
    "loha": loha,
    "lokr": lokr,
    "lokr_factored": lokr_factored,
    "full": full,
}
CONVOLUTIONS: Final[dict[str, Callable[[torch.Tensor, torch.Generator], KindOfLora]]] = {
    **KINDS,
    "locon_with_mid": locon_with_mid,
    "loha_tucker": loha_tucker,
    "lokr_tucker": lokr_tucker,
}
