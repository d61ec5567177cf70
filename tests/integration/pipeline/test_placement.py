"""Copies of models on a device: the host's stays whole, and its structure is shared with nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families import FAMILIES
from gpu_worker.render.families.loading import modules, weights_bytes
from gpu_worker.render.families.placement import copy_to

ModelOf = Callable[[str], ModelSpec]


@pytest.mark.parametrize("family", FAMILIES)
def test_copy_has_every_weight_on_its_device_and_the_host_keeps_its_own(
    model_of: ModelOf, models_dir: Path, family: str
) -> None:
    host = FAMILIES[family].load(model_of(family).folder(models_dir), torch.float32)
    before = [parameter.clone() for module in modules(host) for parameter in module.parameters()]
    # The device without memory stands for a GPU: a weight that was not moved would be seen.
    placed = copy_to(host, torch.device("meta"))
    assert type(placed) is type(host)
    assert weights_bytes(placed) == weights_bytes(host)
    tensors = [tensor for module in modules(placed) for tensor in (*module.parameters(), *module.buffers())]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    after = [parameter for module in modules(host) for parameter in module.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    names = [[name for module in modules(pipe) for name, _ in module.named_parameters()] for pipe in (host, placed)]
    assert names[0] == names[1]
    assert {name: value for name, value in placed.config.items() if not name.startswith("_")} == {
        name: value for name, value in host.config.items() if not name.startswith("_")
    }
