"""The parts of the training that are easy to get wrong without noticing."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.autoencoder import LATENT_CHANNELS, new_autoencoder, reconstruct, to_bytes, to_tensor
from training.drawing import draw
from training.group_norm import use_fast_group_norm
from training.latents import whitened_autoencoder
from training.loop import Average, Budget, Run
from training.scenes import random_scene

CPU = torch.device("cpu")


def drawings(count: int) -> torch.Tensor:
    rng = random.Random(1)
    return to_tensor(np.stack([draw(random_scene(rng)) for _ in range(count)]))


def small_run(budget: Budget) -> Run:
    torch.manual_seed(1)
    module = nn.Linear(3, 2)
    return Run(module, Average(module, 0.9), torch.optim.Adam(module.parameters(), lr=0.1), budget)


def step(run: Run) -> None:
    run.optimizer.zero_grad()
    run.module(torch.randn(4, 3)).square().sum().backward()
    run.optimizer.step()
    run.average.update(run.module, run.budget.step)
    run.budget.tick()


def test_fast_group_norm_has_the_gradients_of_torch() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 8, 3), nn.GroupNorm(1, 8))
    for norm in (plain[1], plain[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    fast = copy.deepcopy(plain)
    use_fast_group_norm(fast)
    pictures = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
    weights = torch.randn(2, 8, 12, 12)
    for network in (plain, fast):
        (network(pictures) * weights).sum().backward()
    for expected, found in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_untrained_autoencoder_gives_back_the_colours_of_cells() -> None:
    torch.manual_seed(1)
    pictures = drawings(8)
    decoded = reconstruct(new_autoencoder(), pictures)
    cells, found = (nn.functional.avg_pool2d(each, 8) for each in (pictures, decoded))
    # Paler, because the deviation of what is beside the constant counts too, but of the right colours.
    correlation = torch.corrcoef(torch.stack([cells.flatten(), found.flatten()]))[0, 1]
    assert correlation > 0.95


@torch.no_grad()
def test_whitening_changes_latents_but_not_pictures(tmp_path: Path) -> None:
    torch.manual_seed(1)
    vae = new_autoencoder()
    torch.save({"average": vae.state_dict()}, tmp_path / "vae.pt")
    pictures = drawings(24)
    whitened = whitened_autoencoder(tmp_path / "vae.pt", CPU, picture_count=32)
    torch.testing.assert_close(reconstruct(whitened, pictures), reconstruct(vae, pictures), rtol=1e-3, atol=1e-3)
    latents = whitened.quant_conv(whitened.encoder(pictures))[:, :LATENT_CHANNELS]
    covariance = torch.cov(latents.transpose(0, 1).flatten(1))
    assert (covariance - torch.eye(LATENT_CHANNELS)).abs().max() < 0.6
    assert latents.mean((0, 2, 3)).abs().max() < 0.5


def test_pictures_survive_the_way_to_tensors_and_back() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert (to_bytes(to_tensor(pictures)) == pictures).all()


def test_a_resumed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = small_run(Budget(steps=6))
    for _ in range(3):
        step(whole)
    whole.save(tmp_path / "run.pt")
    for _ in range(3):
        step(whole)
    resumed = small_run(Budget(steps=6))
    assert resumed.resume(tmp_path / "run.pt", CPU)
    assert resumed.budget.share == pytest.approx(0.5)
    for _ in range(3):
        step(resumed)
    for expected, found in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    for expected, found in zip(whole.average.module.parameters(), resumed.average.module.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_run_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert not small_run(Budget(steps=1)).resume(tmp_path / "absent.pt", CPU)


def test_the_learning_rate_rises_and_falls_within_the_budget() -> None:
    budget = Budget(steps=1000)
    rates = []
    for budget.step in range(1000):
        rates.append(budget.rate(1.0))
    assert rates[0] < 0.02
    assert max(rates) > 0.97
    assert rates.index(max(rates)) < 110
    assert rates[-1] < 0.02
