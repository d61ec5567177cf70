"""Trains the denoiser on the latents of drawings and fresh captions for each; the text encoder stays as it is.

Owns the U-Net's layers and the loss. What a latent shows is said in other words each time it is seen.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPTokenizer

from training import replicas
from training.attributes import Kind, kind_of
from training.autoencoder import LATENT_CHANNELS
from training.captions import caption, disturbed
from training.group_norm import use_fast_group_norm
from training.latents import LATENT_SIDE, load_latents, training_scene
from training.loop import CHECKPOINT_SECONDS, Average, Budget, Reporter, Run, choose_device, descend, place
from training.text import TEXT_WIDTH, TOKENIZER, new_text_encoder, tokenize, trained_text_state
from training.tokenizer import load_tokenizer

T = TypeVar("T")

CHECKPOINT: Final = "denoiser.pt"
REFINED_CHECKPOINT: Final = "refined.pt"
_WEIGHT_DECAY: Final = 0.01
_EMA_DECAY: Final = 0.998
# Of a cell's latent to that of the background, from which on it belongs to an object; latents have about unit variance.
_OBJECT_DISTANCE: Final = 1.0
# Captions left out now and then teach the network what guidance compares with.
_DROPPED_SHARE: Final = 0.1
_TIMESTEPS: Final = 1000
# The schedule ends in nearly pure noise: with Stable Diffusion's own, which does not, flat backgrounds come out grey.
SCHEDULE: Final[dict[str, object]] = {
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "num_train_timesteps": _TIMESTEPS,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}


@dataclass(frozen=True, slots=True)
class _Emphasis:
    """What a part of the training dwells upon."""

    pair_share: float
    """Of the pictures that are shown, those of two objects: the hardest to learn is which colour belongs to which."""
    land_share: float
    """Of the pictures that are shown, the landscapes. The rest shows one object."""
    timestep_power: float
    """Timesteps are this power of a uniform number: below 1 they are mostly noisy ones, in which layout and colours are
    settled."""
    object_weight: float
    """Of a cell that shows an object against one of the background. An object has a twelfth of a picture of two."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a training does when. Parts hold from a share of the budget on."""

    peak_rate: float
    batches: Sequence[tuple[float, int]]
    emphases: Sequence[tuple[float, _Emphasis]]


# First what is where and in which colour, then what it looks like. Many small steps at first, when every step leads the
# same way; then larger ones, which cost less for each sample.
_FROM_SCRATCH: Final = _Plan(
    peak_rate=2e-3,
    batches=((0.0, 32), (0.15, 64)),
    emphases=(
        (0.0, _Emphasis(pair_share=0.7, land_share=0.14, timestep_power=0.6, object_weight=4.0)),
        (0.92, _Emphasis(pair_share=0.6, land_share=0.18, timestep_power=0.8, object_weight=2.0)),
    ),
)
# A trained network still gives both objects one colour now and then; one that saw pairs for too long draws single objects
# twice and forgets landscapes, which therefore come last.
_REFINEMENT: Final = _Plan(
    peak_rate=5e-4,
    batches=((0.0, 64),),
    emphases=(
        (0.0, _Emphasis(pair_share=0.6, land_share=0.18, timestep_power=0.4, object_weight=4.0)),
        (0.55, _Emphasis(pair_share=0.5, land_share=0.23, timestep_power=0.6, object_weight=2.0)),
        (0.74, _Emphasis(pair_share=0.38, land_share=0.42, timestep_power=0.7, object_weight=2.0)),
    ),
)


class Denoiser(nn.Module):
    """The text encoder, which is not trained any more, and the U-Net."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = new_text_encoder(tokenizer).requires_grad_(requires_grad=False)
        self.unet = _unet()

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Returns the predicted velocity of noisy latents, (batch, 4, 32, 32), under tokens, (batch, 77)."""
        with torch.no_grad():
            states = self.text_encoder(input_ids=tokens).last_hidden_state
        velocity: torch.Tensor = self.unet(noisy, timesteps, encoder_hidden_states=states).sample
        return velocity


def scheduler() -> EulerDiscreteScheduler:
    """Returns the scheduler that the model is saved with."""
    # What Euler has no use for is kept in the file for the schedulers that take its place: DDIM would cut latents to
    # between -1 and 1 unless told otherwise.
    return EulerDiscreteScheduler.from_config({**SCHEDULE, "clip_sample": False, "set_alpha_to_one": False})


def _unet() -> UNet2DConditionModel:
    # Most work is where a cell sees much: few channels and no attention at full size, where each step would spend most
    # of its time. Few groups of many channels, because groups of few forget how light and which colour a flat area is.
    # Besides the cross-attention, the pooled text scales and shifts every block, by which what holds for the whole
    # picture (its background, its light, what stands in it) is learnt several times faster.
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(32, 64, 96, 112),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        time_embedding_dim=256,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def new_run(work_dir: Path, budget: Budget, device: torch.device) -> Run:
    """Returns a run at its start, with the trained text encoder of work_dir and the same first weights at every call."""
    torch.manual_seed(0)
    denoiser = Denoiser(load_tokenizer(work_dir / TOKENIZER))
    denoiser.text_encoder.load_state_dict(trained_text_state(work_dir))
    place(denoiser, device)
    average = Average(denoiser, _EMA_DECAY)
    if device.type == "cpu":
        use_fast_group_norm(denoiser)
        # Fused attention is the slower one here, its backward pass above all.
        denoiser.unet.set_attn_processor(AttnProcessor())
        denoiser.text_encoder.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW(denoiser.unet.parameters(), betas=(0.9, 0.99), weight_decay=_WEIGHT_DECAY, fused=True)
    return Run(denoiser, average, optimizer, budget)


def train(work_dir: Path, budget: Budget) -> None:
    """Trains until the budget is spent, going on from the checkpoint in work_dir where there is one."""
    run = new_run(work_dir, budget, choose_device())
    run.resume(work_dir / CHECKPOINT, choose_device())
    _train(work_dir, run, _FROM_SCRATCH, CHECKPOINT)


def refine(work_dir: Path, budget: Budget) -> None:
    """Trains what a training has made for a while longer, with more weight on what it gets wrong."""
    run = new_run(work_dir, budget, choose_device())
    if not run.resume(work_dir / REFINED_CHECKPOINT, choose_device()):
        trained = torch.load(work_dir / CHECKPOINT, map_location="cpu", weights_only=True)["average"]
        run.module.load_state_dict(trained)
        run.average.module.load_state_dict(trained)
    _train(work_dir, run, _REFINEMENT, REFINED_CHECKPOINT)


def _train(work_dir: Path, run: Run, plan: _Plan, checkpoint: str) -> None:
    device, budget = choose_device(), run.budget
    tokenizer = load_tokenizer(work_dir / TOKENIZER)
    torch.manual_seed(budget.step * replicas.count() + replicas.rank())
    rng = random.Random(f"{budget.step}/{replicas.rank()}")
    latents, reporter, saved = load_latents(work_dir), Reporter(budget), time.monotonic()
    shown = _Shown(len(latents), rng)
    schedule = DDIMScheduler(**SCHEDULE)
    while budget.share < 1.0:
        size = _present(plan.batches, budget.share) // replicas.count()
        emphasis = _present(plan.emphases, budget.share)
        batch = _batch(latents, tokenizer, shown, size, emphasis, device)
        loss = _step(run, schedule, *batch, timestep_power=emphasis.timestep_power, peak_rate=plan.peak_rate)
        budget.tick()
        reporter.add(size, loss=loss)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            saved = time.monotonic()
            run.save(work_dir / checkpoint)
    run.save(work_dir / checkpoint)


def load_average(work_dir: Path, tokenizer: CLIPTokenizer) -> Denoiser:
    """Returns the averaged networks of the checkpoint in work_dir, refined ones where there are any."""
    refined = work_dir / REFINED_CHECKPOINT
    checkpoint = refined if refined.exists() else work_dir / CHECKPOINT
    denoiser = Denoiser(tokenizer)
    denoiser.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return denoiser.eval()


def _present(parts: Sequence[tuple[float, T]], share: float) -> T:
    """Returns what holds at a share of the training, of what holds from which share on."""
    return [value for start, value in parts if share >= start][-1]


class _Shown:
    """Chooses the latents that are shown, and says what each shows."""

    def __init__(self, count: int, rng: random.Random) -> None:
        self._rng = rng
        kinds = [kind_of(training_scene(index)) for index in range(count)]
        self._pairs = [index for index, kind in enumerate(kinds) if kind in (Kind.BESIDE, Kind.STACKED)]
        self._singles = [index for index, kind in enumerate(kinds) if kind is Kind.SINGLE]
        self._lands = [index for index, kind in enumerate(kinds) if kind is Kind.LAND]
        self._without_background = frozenset(self._lands)

    def choose(self, emphasis: _Emphasis) -> int:
        """Returns the number of a latent, which shows two objects or a landscape as often as the emphasis says."""
        part = self._rng.random()
        if part < emphasis.pair_share:
            return self._rng.choice(self._pairs)
        return self._rng.choice(self._lands if part < emphasis.pair_share + emphasis.land_share else self._singles)

    def has_background(self, index: int) -> bool:
        """Tells whether a latent shows objects on a background, rather than a landscape."""
        return index not in self._without_background

    def describe(self, index: int) -> str:
        """Returns a caption for a latent, or none at all."""
        if self._rng.random() < _DROPPED_SHARE:
            return ""
        return disturbed(caption(training_scene(index), self._rng), self._rng)


def _batch(
    all_latents: NDArray[np.float16],
    tokenizer: CLIPTokenizer,
    shown: _Shown,
    size: int,
    emphasis: _Emphasis,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns latents, (batch, 4, 32, 32), how much their cells count, (batch, 1, 32, 32), and their captions' tokens."""
    indices = [shown.choose(emphasis) for _ in range(size)]
    texts = [shown.describe(index) for index in indices]
    chosen = torch.from_numpy(np.stack([all_latents[index] for index in indices]).astype(np.float32))
    on_background = torch.tensor([shown.has_background(index) for index in indices])[:, None, None, None]
    weights = torch.where(on_background, cell_weights(chosen, emphasis.object_weight), 1.0)
    latents = chosen.to(device, memory_format=torch.channels_last)
    return latents, weights.to(device), tokenize(tokenizer, texts).to(device)


def cell_weights(latents: torch.Tensor, object_weight: float) -> torch.Tensor:
    """Returns the weight of each cell: that of objects where it isn't the background, which most cells of a latent are."""
    background = latents.flatten(2).median(2).values[:, :, None, None]
    distance = (latents - background).norm(dim=1, keepdim=True)
    return torch.where(distance > _OBJECT_DISTANCE, object_weight, 1.0)


def _step(
    run: Run,
    schedule: DDIMScheduler,
    latents: torch.Tensor,
    weights: torch.Tensor,
    tokens: torch.Tensor,
    *,
    timestep_power: float,
    peak_rate: float,
) -> float:
    noise = torch.randn_like(latents)
    # One timestep of each part of the schedule: the loss of a step varies less than with any timesteps.
    parts = ((torch.arange(len(latents)) + torch.rand(len(latents))) / len(latents)) ** timestep_power
    timesteps = (parts * _TIMESTEPS).long().clamp(max=_TIMESTEPS - 1).to(latents.device)
    noisy = schedule.add_noise(latents, noise, timesteps)
    target = schedule.get_velocity(latents, noise, timesteps)
    with torch.autocast(latents.device.type, torch.bfloat16):
        predicted = run.module(noisy, timesteps, tokens)
    loss = (weights * (predicted.float() - target).square()).mean() / weights.mean()
    descend(run, loss, peak_rate)
    value: float = loss.item()
    return value
