"""Trains the judge of the evaluation: a small network that says what a picture of 256 pixels shows.

It learns from the generator's drawings, blurred and noisy so that it is fair to pictures that an autoencoder decoded.
Its own accuracy is measured on drawings of held-out combinations that went through the autoencoder.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from torch.nn import functional

from training.attributes import IGNORED, SIZES, Heads, attribute_loss, attributes
from training.autoencoder import reconstruct, to_bytes, to_tensor
from training.drawing import draw
from training.latents import AUTOENCODER
from training.loop import Average, Budget, Reporter, Run, choose_device, descend, place
from training.scenes import Scene, is_held_out, random_scene, random_training_scene

CHECKPOINT: Final = "classifier.pt"
_SIDE_PX: Final = 64
_PICTURES: Final = 12_000
_BATCH: Final = 64
_PEAK_RATE: Final = 1.5e-3
_HELD_OUT_PICTURES: Final = 400
_EMA_DECAY: Final = 0.99
_WIDTHS: Final = (24, 48, 96, 128)
_FEATURES: Final = 192


class Classifier(nn.Module):
    """Four convolutions that halve the picture, one hidden layer, and the heads."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *_WIDTHS[:-1]), _WIDTHS, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, stride=2, padding=1), nn.SiLU()]
        cells = (_SIDE_PX // 2 ** len(_WIDTHS)) ** 2
        hidden = nn.Linear(cells * _WIDTHS[-1], _FEATURES)
        self._body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.SiLU(), nn.Dropout(0.1))
        self._heads = Heads(_FEATURES)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the logits of each head for pictures, (batch, 3, 64, 64) from -1 to 1."""
        logits: dict[str, torch.Tensor] = self._heads(self._body(pictures))
        return logits

    @torch.no_grad()
    def judge(self, pictures: Sequence[np.ndarray]) -> list[dict[str, int]]:
        """Returns the answer to every head for each picture, (256, 256, 3) of bytes."""
        logits = self(to_tensor(np.stack([_shrink(picture) for picture in pictures])))
        return [
            {name: int(values[index].argmax()) for name, values in logits.items()} for index in range(len(pictures))
        ]


def train(work_dir: Path, budget: Budget) -> None:
    """Trains until the budget is spent and reports the accuracy on held-out drawings."""
    device = choose_device()
    torch.manual_seed(0)
    rng = random.Random("classifier")
    scenes = [random_training_scene(rng) for _ in range(_PICTURES)]
    pictures = to_tensor(np.stack([_shrink(draw(scene)) for scene in scenes]))
    targets = torch.tensor([attributes(scene) for scene in scenes])
    classifier = Classifier()
    place(classifier, device)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.02)
    run = Run(classifier, Average(classifier, _EMA_DECAY), optimizer, budget)
    reporter = Reporter(budget)
    while budget.share < 1.0:
        chosen = torch.randint(len(pictures), (_BATCH,))
        batch = _worsen(pictures[chosen]).to(device, memory_format=torch.channels_last)
        loss = attribute_loss(classifier(batch), targets[chosen].to(device))
        descend(run, loss, _PEAK_RATE)
        budget.tick()
        reporter.add(_BATCH, loss=loss.item())
    torch.save(run.average.module.state_dict(), work_dir / CHECKPOINT)
    for name, accuracy in held_out_accuracy(work_dir).items():
        sys.stdout.write(f"{name}: {accuracy:.4f}\n")


def load_classifier(work_dir: Path) -> Classifier:
    """Returns the trained classifier."""
    classifier = Classifier()
    classifier.load_state_dict(torch.load(work_dir / CHECKPOINT, map_location="cpu", weights_only=True))
    return classifier.eval()


def held_out_accuracy(work_dir: Path) -> dict[str, float]:
    """Returns how often each head is right on autoencoded drawings of combinations that were not trained on."""
    rng = random.Random("classifier held out")
    scenes: list[Scene] = []
    while len(scenes) < _HELD_OUT_PICTURES:
        scene = random_scene(rng)
        if is_held_out(scene):
            scenes.append(scene)
    vae = AutoencoderKL.from_pretrained(work_dir / AUTOENCODER)
    judged = []
    for start in range(0, len(scenes), 16):
        drawn = np.stack([draw(scene) for scene in scenes[start : start + 16]])
        with torch.no_grad():
            judged += load_classifier(work_dir).judge(list(to_bytes(reconstruct(vae, to_tensor(drawn)))))
    return {name: _accuracy(judged, [attributes(scene) for scene in scenes], name) for name in SIZES}


def _accuracy(judged: list[dict[str, int]], targets: list[list[int]], name: str) -> float:
    column = list(SIZES).index(name)
    pairs = [(answer[name], target[column]) for answer, target in zip(judged, targets, strict=True)]
    asked = [(answer, target) for answer, target in pairs if target != IGNORED]
    return sum(answer == target for answer, target in asked) / len(asked)


def _shrink(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).reduce(picture.shape[0] // _SIDE_PX))


def _worsen(pictures: torch.Tensor) -> torch.Tensor:
    """Returns pictures with a blur, noise and a slight change of lightness, each of random strength."""
    count = len(pictures)
    blurred = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pictures = torch.lerp(pictures, blurred, torch.rand(count, 1, 1, 1))
    pictures = pictures * (1 + 0.06 * torch.randn(count, 1, 1, 1)) + 0.03 * torch.randn(count, 3, 1, 1)
    return pictures + 0.06 * torch.rand(count, 1, 1, 1) * torch.randn_like(pictures)
