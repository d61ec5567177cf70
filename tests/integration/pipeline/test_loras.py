"""LoRAs: put in, weighed, mixed and switched off without a trace, and refused when they don't fit."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelFilesError, ModelSpec
from gpu_worker.render.families import loras
from gpu_worker.render.interface import LoraUse, RenderError, RenderSpec, UnsupportedRequestError
from gpu_worker.render.pipeline import DiffusersPipeline
from tests.factories.renders import DRAWING_FAMILIES, draw, photograph, render_spec
from tests.factories.tiny_loras import tiny_lora

ModelOf = Callable[[str], ModelSpec]
DENOISERS = {"tiny": "unet", "sd15": "unet", "sdxl": "unet", "flux": "transformer", "zimage": "transformer"}


def with_loras(spec: RenderSpec, *uses: tuple[ModelSpec, float]) -> RenderSpec:
    return replace(spec, loras=tuple(LoraUse(model, weight) for model, weight in uses))


@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_lora_changes_the_picture_by_its_weight_and_leaves_no_trace(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family))
    lora = tiny_lora(models_dir, family, parts=(DENOISERS[family],))
    without = draw(pipeline, spec)
    full = draw(pipeline, with_loras(spec, (lora, 1.0)))
    half = draw(pipeline, with_loras(spec, (lora, 0.5)))
    assert not np.array_equal(full, without)
    assert not np.array_equal(half, full)
    assert np.array_equal(draw(pipeline, with_loras(spec, (lora, 0.0))), without)
    assert np.array_equal(draw(pipeline, spec), without)
    assert np.array_equal(draw(pipeline, with_loras(spec, (lora, 1.0))), full)


def test_loras_of_a_job_are_applied_together_and_only_they(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline
) -> None:
    spec = render_spec(model_of("sd15"))
    first, second = (tiny_lora(models_dir, "sd15", parts=("unet",), seed=seed) for seed in (1, 2))
    pictures = [
        draw(pipeline, with_loras(spec, *uses))
        for uses in ([(first, 1.0)], [(second, 1.0)], [(first, 1.0), (second, 1.0)])
    ]
    assert not any(np.array_equal(one, other) for one, other in pairwise(pictures))
    assert np.array_equal(draw(pipeline, with_loras(spec, (first, 1.0))), pictures[0])


def test_lora_works_on_a_source_too(model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline) -> None:
    lora = tiny_lora(models_dir, "sd15", parts=("unet",))
    for operation in (Operation.IMAGE_TO_IMAGE, Operation.INPAINT):
        spec = render_spec(model_of("sd15"), operation=operation)
        assert not np.array_equal(draw(pipeline, with_loras(spec, (lora, 1.0))), draw(pipeline, spec))


@pytest.mark.parametrize("parts", [("text_encoder",), ("unet", "text_encoder")])
def test_lora_of_the_text_encoder_isn_t_hidden_by_cached_embeddings(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline, parts: tuple[str, ...]
) -> None:
    spec = render_spec(model_of("sd15"))
    lora = tiny_lora(models_dir, "sd15", parts=parts, seed=7)
    other = tiny_lora(models_dir, "sd15", parts=("unet",), seed=2)
    without = draw(pipeline, spec)
    full = draw(pipeline, with_loras(spec, (lora, 1.0)))
    assert not np.array_equal(full, without)
    assert not np.array_equal(draw(pipeline, with_loras(spec, (lora, 0.5))), full)
    assert np.array_equal(draw(pipeline, spec), without)
    both = draw(pipeline, with_loras(spec, (lora, 1.0), (other, 1.0)))
    assert not np.array_equal(both, full)
    assert np.array_equal(draw(pipeline, with_loras(spec, (lora, 1.0))), full)


def test_loras_stay_loaded_until_others_need_their_room(
    model_of: ModelOf, models_dir: Path, own_pipeline: DiffusersPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loras, "_KEPT", 2)
    spec = render_spec(model_of("sd15"), step_count=1)
    models = [tiny_lora(models_dir, "sd15", parts=("unet",), seed=seed) for seed in range(3)]
    pictures = [draw(own_pipeline, with_loras(spec, (model, 1.0))) for model in models]
    loaded = own_pipeline._models.get(spec.model)
    assert len(loaded.adapters.names) == 2
    assert loaded.pipe.get_list_adapters() == {"unet": list(loaded.adapters.names)}
    again = [draw(own_pipeline, with_loras(spec, (model, 1.0))) for model in models]
    assert all(np.array_equal(before, after) for before, after in zip(pictures, again, strict=True))


def test_lora_of_another_shape_is_refused_and_the_next_job_is_as_before(
    model_of: ModelOf, models_dir: Path, own_pipeline: DiffusersPipeline
) -> None:
    spec = render_spec(model_of("sd15"))
    without = draw(own_pipeline, spec)
    wide = tiny_lora(models_dir, "sd15", parts=("unet",), factor=2)
    with pytest.raises(RenderError, match="lora-sd15-unet-1-2 does not fit"):
        draw(own_pipeline, with_loras(spec, (wide, 1.0)))
    assert np.array_equal(draw(own_pipeline, spec), without)
    good = tiny_lora(models_dir, "sd15", parts=("unet",))
    assert not np.array_equal(draw(own_pipeline, with_loras(spec, (good, 1.0))), without)


def test_lora_for_parts_that_the_model_lacks_is_refused(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline
) -> None:
    lora = replace(tiny_lora(models_dir, "flux", parts=("transformer",)), family="sd15")
    with pytest.raises(RenderError, match="does not fit"):
        draw(pipeline, with_loras(render_spec(model_of("sd15")), (lora, 1.0)))


def test_lora_of_another_family_is_refused(model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline) -> None:
    lora = tiny_lora(models_dir, "sd15", parts=("unet",))
    with pytest.raises(UnsupportedRequestError, match="family sd15, not tiny"):
        draw(pipeline, with_loras(render_spec(model_of("tiny")), (lora, 1.0)))


def test_upscaler_has_no_loras(model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline) -> None:
    lora = replace(tiny_lora(models_dir, "sd15", parts=("unet",)), family="sd_x4")
    spec = render_spec(model_of("sd_x4"), operation=Operation.UPSCALE, source=photograph(16, 16))
    with pytest.raises(UnsupportedRequestError, match="no LoRAs"):
        draw(pipeline, with_loras(spec, (lora, 1.0)))


def test_lora_with_a_wrong_hash_is_refused(
    model_of: ModelOf, models_dir: Path, own_pipeline: DiffusersPipeline
) -> None:
    lora = tiny_lora(models_dir, "sd15", parts=("unet",))
    wrong = replace(lora, files=(replace(lora.files[0], sha256="0" * 64),))
    with pytest.raises(ModelFilesError, match="SHA-256"):
        draw(own_pipeline, with_loras(render_spec(model_of("sd15")), (wrong, 1.0)))
