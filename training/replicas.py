"""Trains in one process for each core of a CPU, or in a single one with a GPU; gradients are averaged at every step.

Processes of one thread rather than one process of many: within a step, threads wait for each other hundreds of times,
and each wait is long when anything else runs on one of the cores. Replicas wait once.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import torch
import torch.distributed
from torch import nn
from torch.multiprocessing.spawn import spawn

_THREADS: Final = 1
Item = TypeVar("Item")


def launch(train: Callable[..., None], *arguments: object) -> None:
    """Calls train(*arguments) in every replica and returns when all are done."""
    if torch.cuda.is_available():
        train(*arguments)
        return
    count = os.cpu_count() or 1
    start: Callable[..., object] = spawn
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        start(_run, (count, meeting, train, arguments), nprocs=count)


def rank() -> int:
    """Returns this replica's number; replica 0 is the one that writes files and progress."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def count() -> int:
    """Returns the number of replicas."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def share_gradients(module: nn.Module) -> None:
    """Replaces every gradient by its mean over the replicas."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    # One message instead of one for each of some hundred parameters.
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= count()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def agree(value: float) -> float:
    """Returns replica 0's value."""
    if count() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64)
    torch.distributed.broadcast(shared, 0)
    return shared.item()


def gather(items: list[Item]) -> list[Item]:
    """Returns the items of all replicas, in the order of the replicas."""
    if count() == 1:
        return items
    parts: list[list[Item]] = [[] for _ in range(count())]
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def _run(rank: int, count: int, meeting: str, train: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(_THREADS)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    train(*arguments)
    torch.distributed.destroy_process_group()
