"""The upscaler that ships with the built-in model, and the training that made it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_worker.models import builtin
from gpu_worker.render.super_resolution import (
    FACTORS,
    WEIGHTS_NAME,
    NetworkShape,
    SuperResolution,
    SuperResolutionNetwork,
    load_super_resolution,
)
from training.upscaler import TrainingPlan, train
from training.upscaler_evaluation import evaluate
from training.upscaler_pairs import CROP_PX, Pictures, Shrink, Softness, make_small

SHIPPED = builtin.SHIPPED / "upscaler"
MAX_BYTES = 500_000
# Soft stripes look like edges that an autoencoder blurred, and are made sharper than they were.
WORST_GAIN_DB = {"x2 stripes": -2.0}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads wait for each other by spinning, which is slow where other tests share the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shipped() -> SuperResolution:
    return load_super_resolution(SHIPPED, CPU)


def test_shipped_upscaler_beats_bicubic_on_held_out_drawings_and_hardly_harms_others(shipped: SuperResolution) -> None:
    figures = evaluate(shipped, drawing_count=3, texture_count=4)
    assert set(figures.drawings) == {f"x{factor} {way}" for factor in FACTORS for way in ("area", "bicubic", "soft")}
    assert {name: figure for name, figure in figures.drawings.items() if figure.gain_db < 2} == {}
    assert {
        name: figure for name, figure in figures.others.items() if figure.gain_db < WORST_GAIN_DB.get(name, -0.3)
    } == {}


def test_shipped_upscaler_shows_no_seams(shipped: SuperResolution) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (100, 90, 3), np.uint8)
    for factor in FACTORS:
        whole = shipped.upscale(pixels, factor).astype(int)
        assert np.abs(shipped.upscale(pixels, factor, tile_px=32) - whole).max() <= 1


def test_shipped_weights_are_small() -> None:
    assert (SHIPPED / WEIGHTS_NAME).stat().st_size <= MAX_BYTES


def test_pairs_are_crops_and_their_small_pictures_at_whole_levels() -> None:
    small, large = Pictures(3, pool_size=4).pairs(2, 4)
    assert large.shape == (2, 3, 4 * CROP_PX, 4 * CROP_PX)
    assert small.shape == (2, 3, CROP_PX, CROP_PX)
    levels = small * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert (small - torch.nn.functional.avg_pool2d(large, 4)).abs().mean() < 0.05


def test_softness_blurs_and_adds_noise_that_a_seed_repeats() -> None:
    large = (torch.arange(128) // 16 % 2).float().expand(1, 3, 128, 128).contiguous()

    def small(softness: Softness) -> torch.Tensor:
        return make_small(large, 2, Shrink.AREA, softness, torch.Generator().manual_seed(1))

    sharp, blurred, noisy = small(Softness()), small(Softness(blur_px=0.8)), small(Softness(noise=0.05))
    assert sharp.unique().tolist() == [0.0, 1.0]
    assert blurred.unique().numel() > 2
    assert (noisy - sharp).abs().mean() > 0.01
    assert torch.equal(noisy, small(Softness(noise=0.05)))


def test_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def plan(step_count: int) -> TrainingPlan:
        return TrainingPlan(
            tmp_path, step_count, batch_size=1, seed=1, device=CPU, shape=NetworkShape(4, 1), pool_size=2
        )

    train(plan(2))
    after_two = weights_of(tmp_path)
    train(plan(2))
    assert torch.equal(weights_of(tmp_path), after_two), "there was nothing left to do"
    train(plan(4))
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 4
    assert checkpoint["optimizer"]["state"][0]["step"] == 4
    assert not torch.equal(weights_of(tmp_path), after_two)


def weights_of(folder: Path) -> torch.Tensor:
    network: SuperResolutionNetwork = load_super_resolution(folder, CPU).network
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])
