"""What the operations on a source promise: how much of it stays, where, and that larger ones have no seams."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec, ModelUnusableError, list_files
from gpu_worker.render.families import FAMILIES, sources
from gpu_worker.render.interface import Pixels, RenderCancelledError, StepReport
from gpu_worker.render.pipeline import DiffusersPipeline
from tests.factories.renders import DRAWING_FAMILIES, draw, ignore, never, photograph, render_spec, square_mask

ModelOf = Callable[[str], ModelSpec]


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def column_steps(picture: Pixels) -> NDArray[np.float64]:
    """Returns how much each column differs from the next."""
    steps: NDArray[np.float64] = np.abs(np.diff(picture.astype(int), axis=1)).mean(axis=(0, 2))
    return steps


@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_pixels_that_the_softened_mask_keeps_are_the_source_s_own(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family), operation=Operation.INPAINT, strength=1.0, mask_feather_px=6)
    result = draw(pipeline, spec)
    assert spec.source is not None
    assert spec.mask is not None
    source = sources.cover(spec.source, 64, 64)
    mask = sources.feather(sources.cover(spec.mask, 64, 64), 6)
    assert 0 < (mask == 0).sum() < mask.size
    assert np.array_equal(result[mask == 0], source[mask == 0])
    assert distance(result[mask == 255], source[mask == 255]) > 5


def test_line_thinner_than_a_cell_of_the_latents_is_repainted(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 37:39] = 255
    spec = render_spec(model_of("sd15"), operation=Operation.INPAINT, source=photograph(64, 64), mask=mask)
    result = draw(pipeline, replace(spec, prompt="a blue ocean"))
    other = draw(pipeline, spec)
    assert distance(result[:, 37:39], other[:, 37:39]) > 1
    assert np.array_equal(result[:, :37], other[:, :37])


def test_strength_says_how_much_of_the_source_stays(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    spec = render_spec(model_of("sd15"), operation=Operation.IMAGE_TO_IMAGE, step_count=20, guidance_scale=1.0)
    pictures = [draw(pipeline, replace(spec, strength=strength)) for strength in (0.05, 0.3, 1.0)]
    near, middle, far = (distance(picture, pictures[0]) for picture in pictures)
    assert near == 0 < middle < far


def test_source_is_cut_around_its_middle(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    wide = photograph(64, 96)
    spec = render_spec(model_of("sd15"), operation=Operation.IMAGE_TO_IMAGE, strength=0.4, source=wide)
    cut = replace(spec, source=np.ascontiguousarray(wide[:, 16:80]))
    assert np.array_equal(draw(pipeline, spec), draw(pipeline, cut))


@pytest.mark.parametrize("scale_factor", [2, 4])
@pytest.mark.parametrize("family", ["tiny", "sd_x2", "sd_x4"])
def test_upscaled_picture_has_the_size_that_was_asked_for(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, scale_factor: int
) -> None:
    spec = render_spec(
        model_of(family),
        operation=Operation.UPSCALE,
        scale_factor=scale_factor,
        source=photograph(21, 34),
        step_count=1,
    )
    reports: list[StepReport] = []
    result = pipeline.render(spec, reports.append, never)
    assert result.images[0].pixels.shape == (21 * scale_factor, 34 * scale_factor, 3)
    assert [report.step for report in reports] == list(range(1, reports[-1].step_count + 1))
    assert result.gpu_seconds > 0


def test_tiles_of_a_denoising_upscaler_resemble_one_picture(
    model_of: ModelOf, pipeline: DiffusersPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = render_spec(
        model_of("sd_x4"), operation=Operation.UPSCALE, scale_factor=4, source=photograph(48, 80), step_count=2
    )
    whole, other = draw(pipeline, spec), draw(pipeline, replace(spec, seed=12))
    monkeypatch.setattr(FAMILIES["sd_x4"].__class__, "tile_px", 48)
    monkeypatch.setattr(FAMILIES["sd_x4"].__class__, "overlap_px", 16)
    reports: list[StepReport] = []
    tiled = pipeline.render(spec, reports.append, never).images[0].pixels
    assert reports[-1].step_count == 2 * 2
    assert distance(tiled, whole) < 0.15 * distance(other, whole)
    # Where one tile gives way to the next, neighbours differ no more than they do in one piece.
    seams = slice(32 * 4 - 2, 48 * 4 + 2)
    assert (column_steps(tiled)[seams] < 1.3 * column_steps(whole)[seams]).all()


def test_upscaling_stops_between_tiles_when_asked(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    spec = render_spec(model_of("tiny"), operation=Operation.UPSCALE, source=photograph(400, 200))
    reports: list[StepReport] = []
    with pytest.raises(RenderCancelledError) as caught:
        pipeline.render(spec, reports.append, lambda: len(reports) == 1)
    assert caught.value.completed_steps == 2


def test_denoising_upscaler_stops_between_steps_when_asked(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    spec = render_spec(model_of("sd_x4"), operation=Operation.UPSCALE, source=photograph(16, 16), step_count=10)
    reports: list[StepReport] = []
    with pytest.raises(RenderCancelledError) as caught:
        pipeline.render(spec, reports.append, lambda: len(reports) == 1)
    assert caught.value.completed_steps == 2


def test_model_without_an_upscaler_says_so(model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline) -> None:
    model = model_of("sd15")
    plain = replace(model, family="tiny", files=list_files(model.folder(models_dir)))
    spec = render_spec(replace(plain), operation=Operation.UPSCALE)
    with pytest.raises(ModelUnusableError, match="not for upscale"):
        pipeline.render(spec, ignore, never)


def test_black_source_may_stay_black(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    black = np.zeros((24, 24, 3), np.uint8)
    spec = render_spec(model_of("tiny"), operation=Operation.UPSCALE, source=black)
    assert draw(pipeline, spec).shape == (48, 48, 3)


def test_mask_of_the_whole_picture_keeps_nothing(model_of: ModelOf, pipeline: DiffusersPipeline) -> None:
    spec = render_spec(model_of("sd15"), operation=Operation.INPAINT)
    everything = replace(spec, mask=np.full_like(square_mask(70, 90), 255))
    assert spec.source is not None
    source = sources.cover(spec.source, 64, 64)
    assert (draw(pipeline, everything) != source).any(axis=2).mean() > 0.95
