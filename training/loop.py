"""What every training here shares: the time budget, the learning rate, averaged weights, checkpoints, progress lines.

Owns nothing of what is trained. A run that stops goes on from its last checkpoint with the same schedule.
"""

import copy
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from training import replicas

CHECKPOINT_SECONDS: Final = 180.0
REPORT_SECONDS: Final = 20.0
_WARM_UP_STEPS: Final = 100
_FINAL_RATE_SHARE: Final = 0.01


@dataclass(slots=True)
class Budget:
    """How much training is allowed, in minutes of training or in steps; the schedule follows how much is spent."""

    minutes: float | None = None
    steps: int | None = None
    spent_seconds: float = 0.0
    step: int = 0
    _mark: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """Counts one step and the time since the last."""
        now = time.monotonic()
        self.spent_seconds += now - self._mark
        self._mark = now
        self.step += 1
        # Replicas must agree on when to stop, or one would wait for another's gradients for ever.
        self.spent_seconds = replicas.agree(self.spent_seconds)

    @property
    def share(self) -> float:
        """How much of the budget is spent, from 0 to 1."""
        shares = [0.0]
        if self.minutes is not None:
            shares.append(self.spent_seconds / (60 * self.minutes))
        if self.steps is not None:
            shares.append(self.step / self.steps)
        return min(max(shares), 1.0)

    def rate(self, peak: float) -> float:
        """Returns the learning rate: a short linear rise to the peak, then half a cosine down to a hundredth of it."""
        rise = min((self.step + 1) / _WARM_UP_STEPS, 1.0)
        fall = _FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * self.share))
        return peak * rise * fall


class Average:
    """The exponential moving average of a module's weights, which is what is kept of a training."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module: Any = copy.deepcopy(module).requires_grad_(requires_grad=False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves the average towards the module's weights; early steps weigh more, as there is little to remember."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        averaged: list[torch.Tensor] = list(self.module.parameters())
        current: list[torch.Tensor] = list(module.parameters())
        torch._foreach_lerp_(averaged, current, share)


@dataclass(slots=True)
class Run:
    """All that a checkpoint holds."""

    module: Any
    average: Average
    optimizer: torch.optim.Optimizer
    budget: Budget

    def save(self, path: Path) -> None:
        """Writes a checkpoint, which replaces the one before only when it is whole."""
        if replicas.rank() != 0:
            return
        state = {
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "spent_seconds": self.budget.spent_seconds,
            "step": self.budget.step,
            "rng": torch.get_rng_state(),
        }
        scratch = path.with_suffix(".new")
        torch.save(state, scratch)
        scratch.replace(path)

    def resume(self, path: Path, device: torch.device) -> bool:
        """Goes on from a checkpoint and tells whether there was one."""
        if not path.exists():
            return False
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.budget.spent_seconds, self.budget.step = state["spent_seconds"], state["step"]
        torch.set_rng_state(state["rng"].cpu())
        return True


class Reporter:
    """Writes a progress line now and then: losses averaged since the last line, samples a second, time left."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._sums: dict[str, float] = {}
        self._samples = 0
        self._since = time.monotonic()
        self._count = 0

    def add(self, samples: int, **losses: float) -> None:
        """Counts a step, and writes a line when the last was long ago."""
        self._samples += samples * replicas.count()
        self._count += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        seconds = time.monotonic() - self._since
        if seconds >= REPORT_SECONDS:
            self._write(seconds)

    def _write(self, seconds: float) -> None:
        budget = self._budget
        losses = " ".join(f"{name} {value / self._count:.4f}" for name, value in self._sums.items())
        left = budget.spent_seconds * (1 / max(budget.share, 1e-6) - 1) / 60
        rate = self._samples / seconds
        line = f"step {budget.step} ({budget.share:.1%}) {losses} | {rate:.1f} samples/s, {left:.0f} min left"
        if replicas.rank() == 0:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        self._sums, self._samples, self._count, self._since = {}, 0, 0, time.monotonic()


def choose_device() -> torch.device:
    """Returns the GPU where there is one, else the CPU, set up for training."""
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        return torch.device("cuda")
    # Without it the vanishing numbers of a trained network slow CPU steps down threefold.
    torch.set_flush_denormal(True)
    return torch.device("cpu")


def place(module: Any, device: torch.device) -> None:
    """Moves a module to a device, its convolutions in the layout that they are fast in."""
    module.to(device, memory_format=torch.channels_last)


def descend(run: Run, loss: Any, peak_rate: float) -> None:
    """Takes one step of the optimizer down a loss, in every replica the same, and counts it in the average."""
    run.optimizer.zero_grad()
    loss.backward()
    replicas.share_gradients(run.module)
    nn.utils.clip_grad_norm_(run.module.parameters(), 1.0)
    for group in run.optimizer.param_groups:
        group["lr"] = run.budget.rate(peak_rate)
    run.optimizer.step()
    run.average.update(run.module, run.budget.step)


def loader_processes(device: torch.device) -> int:
    """Returns how many processes draw for the training; on a CPU each replica draws for itself."""
    return 0 if device.type == "cpu" else min(12, os.cpu_count() or 1)
