"""Moving models from host memory to a device, so that the host keeps its copy.

`Module.to` moves weights out of a module; here a second module of the same structure is made around copies of them.
"""

import contextlib
import copy
from typing import Any, Final

import torch

from gpu_worker.render.families.loading import modules

_ALIGNMENT_BYTES: Final = 64  # of torch's own allocations


def pin(pipe: Any) -> None:
    """Moves the weights of a pipeline into pinned host memory, from which a GPU copies at the full speed of its bus."""
    # Systems limit how much can be pinned; what is over the limit is copied as well, at a third of the speed.
    with contextlib.suppress(RuntimeError):
        for module in modules(pipe):
            for tensor in _tensors(module):
                tensor.data = tensor.data.pin_memory()


def align(pipe: Any) -> None:
    """Copies weights that lie where their file has them, which is anywhere, to where torch would have put them.

    A processor's kernels round differently for other alignments: the same weights from a folder and from one file would
    draw pictures that differ in a bit here and there.
    """
    for module in modules(pipe):
        for tensor in _tensors(module):
            if tensor.data_ptr() % _ALIGNMENT_BYTES:
                tensor.data = tensor.data.clone()


def copy_to(pipe: Any, device: torch.device) -> Any:
    """Returns a pipeline of the same class whose weights are on a device, and leaves the given one as it is."""
    parts = {
        name: _module_on(part, device) if isinstance(part, torch.nn.Module) else part
        for name, part in pipe.components.items()
    }
    _, settings = pipe._get_signature_keys(pipe)  # noqa: SLF001 - as DiffusionPipeline.from_pipe does
    kept = {name: pipe.config[name] for name in settings if name in pipe.config}
    placed = type(pipe)(**parts, **kept)
    placed.set_progress_bar_config(disable=True)
    return placed


def _module_on(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    # deepcopy takes what its memo has for an object instead of copying it: so it copies the structure alone, shared
    # weights stay shared, and no weight is copied within host memory.
    memo: dict[int, Any] = {}
    for tensor in _tensors(module):
        on_device = tensor.data.to(device, non_blocking=True)
        if isinstance(tensor, torch.nn.Parameter):
            on_device = torch.nn.Parameter(on_device, requires_grad=False)
        memo[id(tensor)] = on_device
    return copy.deepcopy(module, memo)


def _tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
