"""The upscaler's tiles: no seams, no memory that grows with the picture, any size, and the refusal of broken folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from gpu_worker.models.files import ModelFilesError
from gpu_worker.render.interface import Pixels
from gpu_worker.render.super_resolution import (
    CONFIG_NAME,
    FACTORS,
    WEIGHTS_NAME,
    NetworkShape,
    SuperResolution,
    SuperResolutionNetwork,
    load_super_resolution,
    save_super_resolution,
)

CPU = torch.device("cpu")
SHAPE = NetworkShape(width=8, block_count=2)


def random_network(detail: float) -> SuperResolutionNetwork:
    """Returns a network that alters pixels visibly, by a detail around the given share of the range."""
    torch.manual_seed(3)
    network = SuperResolutionNetwork(SHAPE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.randn(weight.shape) * (detail if name.startswith("head.") else 0.25))
    return network


def picture(height: int, width: int) -> Pixels:
    """Returns a smooth picture with some grain."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width] / 64
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y - x), np.sin(x * y)], axis=-1)
    return (127 + 90 * waves + rng.normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upscaler")
    save_super_resolution(random_network(0.02), folder)
    return folder


@pytest.fixture(scope="module")
def upscaler(folder: Path) -> SuperResolution:
    return load_super_resolution(folder, CPU)


def levels_apart(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("tile_px", [5, 16, 29])
def test_tiles_give_the_picture_of_the_whole(upscaler: SuperResolution, factor: int, tile_px: int) -> None:
    pixels = picture(29, 41)
    whole = upscaler.upscale(pixels, factor, tile_px=1000)
    assert levels_apart(upscaler.upscale(pixels, factor, tile_px=tile_px), whole) <= 1


@pytest.mark.parametrize("factor", FACTORS)
def test_steps_across_borders_of_tiles_are_as_anywhere_else(upscaler: SuperResolution, factor: int) -> None:
    tile_px = 16
    enlarged = upscaler.upscale(picture(96, 96), factor, tile_px=tile_px).astype(float)
    for axis in (0, 1):
        steps = np.abs(np.diff(enlarged, axis=axis)).mean(axis=(1 - axis, 2))
        borders = np.arange(tile_px * factor, 96 * factor, tile_px * factor) - 1
        # Compared with the steps of the same place in a pixel's pattern: factor neighbours, always the same ones.
        alike = np.arange(2 * factor - 1, len(steps), factor)
        inside = np.setdiff1d(alike, borders)
        assert steps[borders].mean() == pytest.approx(steps[inside].mean(), rel=0.1)


def test_network_without_a_context_would_show_its_seams(upscaler: SuperResolution) -> None:
    """Shows that the test above can fail: tiles that are enlarged one by one do differ from the whole."""
    pixels = picture(64, 64)
    whole = upscaler.upscale(pixels, 2)
    halves = [upscaler.upscale(half, 2) for half in (pixels[:, :32], pixels[:, 32:])]
    assert levels_apart(np.concatenate(halves, axis=1), whole) > 4


def largest_tensor(upscaler: SuperResolution, pixels: Pixels) -> int:
    """Returns the number of elements of the largest tensor that any layer returns."""
    sizes: list[int] = []

    def note(_layer: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        sizes.append(output.numel())

    hooks = [layer.register_forward_hook(note) for layer in upscaler.network.modules()]
    upscaler.upscale(pixels, 4, tile_px=24)
    for hook in hooks:
        hook.remove()
    return max(sizes)


def test_memory_is_that_of_one_tile_whatever_the_pictures_size(upscaler: SuperResolution) -> None:
    one_tile = largest_tensor(upscaler, picture(24, 24))
    assert one_tile >= 24 * 24 * 16 * 3
    assert largest_tensor(upscaler, picture(240, 168)) == one_tile


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (33, 1), (2, 3), (31, 57)])
def test_every_size_is_multiplied_by_the_factor(
    upscaler: SuperResolution, height: int, width: int, factor: int
) -> None:
    enlarged = upscaler.upscale(picture(height, width), factor, tile_px=16)
    assert enlarged.shape == (height * factor, width * factor, 3)
    assert enlarged.dtype == np.uint8


def test_details_are_added_to_the_usual_bicubic_picture(tmp_path: Path) -> None:
    save_super_resolution(random_network(0.0), tmp_path)
    pixels = picture(40, 30)
    usual = Image.fromarray(pixels).resize((60, 80), Image.Resampling.BICUBIC)
    enlarged = load_super_resolution(tmp_path, CPU).upscale(pixels, 2)
    # At the picture's edge Pillow's filter is cut, here the edge is repeated.
    assert levels_apart(enlarged[4:-4, 4:-4], np.asarray(usual)[4:-4, 4:-4]) <= 1


def test_four_times_is_twice_two_times(upscaler: SuperResolution) -> None:
    pixels = picture(40, 30)
    twice = upscaler.upscale(upscaler.upscale(pixels, 2), 2)
    inside = slice(32, -32)
    # Not quite the same: between the two calls the picture was rounded to whole levels.
    assert levels_apart(upscaler.upscale(pixels, 4)[inside, inside], twice[inside, inside]) <= 2


def test_same_picture_gives_the_same_pixels_again(folder: Path, upscaler: SuperResolution) -> None:
    pixels = picture(50, 50)
    assert np.array_equal(upscaler.upscale(pixels, 4), load_super_resolution(folder, CPU).upscale(pixels, 4))


def test_turned_view_of_an_array_is_a_picture_as_any(upscaler: SuperResolution) -> None:
    pixels = picture(20, 30)[::-1, ::2]
    assert np.array_equal(upscaler.upscale(pixels, 2), upscaler.upscale(pixels.copy(), 2))


def test_progress_counts_every_tile(upscaler: SuperResolution) -> None:
    seen: list[tuple[int, int]] = []
    upscaler.upscale(picture(20, 50), 2, tile_px=20, on_tile=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_upscaling_ends_with_what_its_callback_raises(upscaler: SuperResolution) -> None:
    seen: list[int] = []

    def cancel_at_second(done: int, _count: int) -> None:
        seen.append(done)
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        upscaler.upscale(picture(20, 100), 2, tile_px=20, on_tile=cancel_at_second)
    assert seen == [1, 2]


@pytest.mark.parametrize("factor", [0, 1, 3, 8])
def test_other_factors_are_refused(upscaler: SuperResolution, factor: int) -> None:
    with pytest.raises(ValueError, match="factor must be one of"):
        upscaler.upscale(picture(4, 4), factor)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_what_is_no_picture_is_refused(upscaler: SuperResolution, pixels: Any) -> None:
    with pytest.raises(ValueError, match="expected RGB"):
        upscaler.upscale(pixels, 2)


def test_weights_are_kept_in_half_precision(folder: Path) -> None:
    assert {weight.dtype for weight in load_file(folder / WEIGHTS_NAME).values()} == {torch.float16}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Returns a folder of its own, whole as yet."""
    save_super_resolution(random_network(0.02), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_folder_without_one_of_its_files_is_refused(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(ModelFilesError, match=name):
        load_super_resolution(broken, CPU)


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_file_cut_short_is_refused(broken: Path, name: str) -> None:
    (broken / name).write_bytes((broken / name).read_bytes()[:-5])
    with pytest.raises(ModelFilesError, match=name):
        load_super_resolution(broken, CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "other"},
        {"factor": 3},
        {"factor": [2]},
        {"width": 100_000},
        {"width": "8"},
        {"width": 8.5},
        {"block_count": 0},
        {"block_count": None},
    ],
)
def test_config_of_another_network_is_refused(broken: Path, change: dict[str, Any]) -> None:
    config = json.loads((broken / CONFIG_NAME).read_bytes())
    (broken / CONFIG_NAME).write_text(json.dumps(config | change))
    with pytest.raises(ModelFilesError):
        load_super_resolution(broken, CPU)


def test_weights_of_another_size_are_refused(broken: Path) -> None:
    config = json.loads((broken / CONFIG_NAME).read_bytes())
    (broken / CONFIG_NAME).write_text(json.dumps(config | {"width": 9}))
    with pytest.raises(ModelFilesError, match="holds no weights of the upscaler"):
        load_super_resolution(broken, CPU)


def test_weights_that_are_not_finite_are_refused(broken: Path) -> None:
    weights = load_file(broken / WEIGHTS_NAME)
    weights["entry.bias"][0] = float("nan")
    save_file(weights, broken / WEIGHTS_NAME)
    with pytest.raises(ModelFilesError, match="not finite"):
        load_super_resolution(broken, CPU)
