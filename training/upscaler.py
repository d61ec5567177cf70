"""Trains, measures and exports the upscaler of `pingvas-tiny`; each is a command, see --help.

Owns the learning and its checkpoint. The network is the worker's own (`gpu_worker.render.super_resolution`), the pictures are
`upscaler_pairs`'s, the measures `upscaler_evaluation`'s.
"""

import argparse
import json
import logging
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone gives it

from gpu_worker.models.builtin import SHIPPED
from gpu_worker.render.super_resolution import (
    CONFIG_NAME,
    PASS_FACTOR,
    WEIGHTS_NAME,
    NetworkShape,
    SuperResolutionNetwork,
    load_super_resolution,
    save_super_resolution,
)
from training.upscaler_evaluation import evaluate
from training.upscaler_pairs import POOL_SIZE, Pictures

SHAPE: Final = NetworkShape(width=32, block_count=3)
EVALUATION_NAME: Final = "evaluation.json"
_CHECKPOINT_NAME: Final = "checkpoint.pt"
_LEARNING_RATES: Final = (1e-3, 1e-5)
_WARM_UP_STEPS: Final = 100
_GRADIENT_WEIGHT: Final = 0.5
# Errors below five levels count by their square. With the plain mean of errors, the many flat pixels, which the bicubic
# filter has right, outweighed the edges: after 400 steps nothing was gained, against 1.4 dB with this.
_SMALL_ERROR: Final = 0.02
# Blocks begin as little more than what they keep.
_FIRST_RESIDUAL: Final = 0.1
_REPORT_STEPS: Final = 50
_CHECKPOINT_STEPS: Final = 250
_log = logging.getLogger("training.upscaler")


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training does."""

    folder: Path
    """Of the checkpoint, and of the network when it is done."""
    step_count: int
    batch_size: int
    seed: int
    device: torch.device
    shape: NetworkShape = SHAPE
    pool_size: int = POOL_SIZE


@dataclass(slots=True)
class _Training:
    """A training as a checkpoint keeps it."""

    network: SuperResolutionNetwork
    optimizer: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Writes a checkpoint; one that is cut short never takes the place of a whole one."""
        partial = path.with_suffix(".partial")
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "step": self.step, "seconds": self.seconds}, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(plan: TrainingPlan) -> None:
    """Trains the network, going on from a checkpoint where there is one, and writes it to the plan's folder."""
    torch.set_flush_denormal(True)
    torch.manual_seed(plan.seed)
    plan.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = plan.folder / _CHECKPOINT_NAME
    training = _new_training(plan)
    if checkpoint.exists():
        training.load(checkpoint)
        _log.info("goes on from step %d", training.step)
    # A training that goes on sees other pictures than before the stop, not the first ones again.
    pictures = Pictures(plan.seed + training.step, plan.pool_size)
    started_s = time.monotonic() - training.seconds
    loss_sum = torch.zeros((), device=plan.device)
    while training.step < plan.step_count:
        loss_sum += _learn(training, pictures, plan)
        training.step += 1
        training.seconds = time.monotonic() - started_s
        if training.step % _REPORT_STEPS == 0:
            _log.info("step %d  loss %.5f  %.0f s", training.step, loss_sum.item() / _REPORT_STEPS, training.seconds)
            loss_sum.zero_()
        if training.step % _CHECKPOINT_STEPS == 0 or training.step == plan.step_count:
            training.save(checkpoint)
    save_super_resolution(training.network, plan.folder)


def measure(folder: Path, device: torch.device, picture_count: int) -> None:
    """Measures the network of a folder and writes the figures beside it."""
    checkpoint: dict[str, Any] = torch.load(folder / _CHECKPOINT_NAME, weights_only=True)
    cost = {"training_steps": checkpoint["step"], "training_seconds": round(checkpoint["seconds"])}
    figures = {
        **cost,
        "parameter_count": sum(weight.numel() for weight in checkpoint["network"].values()),
        "size_bytes": (folder / WEIGHTS_NAME).stat().st_size,
        **asdict(evaluate(load_super_resolution(folder, device), picture_count, picture_count // 2)),
    }
    text = json.dumps(figures, indent=2) + "\n"
    (folder / EVALUATION_NAME).write_text(text, encoding="utf-8")
    _log.info("%s", text)


def export(source: Path, target: Path) -> None:
    """Copies what the worker loads, after loading it, and the figures."""
    load_super_resolution(source, torch.device("cpu"))
    target.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_NAME, WEIGHTS_NAME, EVALUATION_NAME):
        shutil.copyfile(source / name, target / name)
    _log.info("exported to %s", target)


def _new_training(plan: TrainingPlan) -> _Training:
    network = SuperResolutionNetwork(plan.shape).to(plan.device)
    for name, weight in network.named_parameters():
        if name.startswith("head.") or name.endswith("bias"):
            # Without details of its own, the network begins as the bicubic filter.
            torch.nn.init.zeros_(weight)
        else:
            torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if ".second." in name:
                weight.data *= _FIRST_RESIDUAL
    return _Training(network, torch.optim.Adam(network.parameters(), betas=(0.9, 0.99)))


def _learn(training: _Training, pictures: Pictures, plan: TrainingPlan) -> torch.Tensor:
    """Makes one step and returns its loss."""
    small, large = (tensor.to(plan.device) for tensor in pictures.pairs(plan.batch_size, PASS_FACTOR))
    rim = plan.shape.margin_px * PASS_FACTOR
    with torch.autocast(plan.device.type, torch.bfloat16):
        drawn = training.network(small.contiguous(memory_format=torch.channels_last))
    loss = _loss(drawn.float(), large[:, :, rim:-rim, rim:-rim])
    training.optimizer.param_groups[0]["lr"] = _learning_rate(training.step, plan.step_count)
    training.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), 1.0)
    training.optimizer.step()
    return loss.detach()


def _loss(drawn: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    # The second part compares neighbours: a soft edge costs little pixel by pixel, but is seen at once.
    error = drawn - wanted
    return _size(error) + _GRADIENT_WEIGHT * (_size(error.diff(dim=3)) + _size(error.diff(dim=2)))


def _size(error: torch.Tensor) -> torch.Tensor:
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=_SMALL_ERROR)


def _learning_rate(step: int, step_count: int) -> float:
    first, last = _LEARNING_RATES
    falling = last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / step_count))
    return falling * min(1.0, (step + 1) / _WARM_UP_STEPS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("train", "evaluate", "export"))
    parser.add_argument("--folder", type=Path, default=Path(".train/upscaler"), help="of the training")
    parser.add_argument("--to", type=Path, default=SHIPPED / "upscaler", help="of the export")
    parser.add_argument("--steps", type=int, default=5700)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=24, help="held-out drawings to measure on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def main() -> None:
    """Runs a command."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.command == "train":
        train(TrainingPlan(options.folder, options.steps, options.batch, options.seed, device))
    elif options.command == "evaluate":
        measure(options.folder, device, options.pictures)
    else:
        export(options.folder, options.to)


if __name__ == "__main__":
    main()
