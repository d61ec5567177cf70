"""Every family's true classes: what they draw with each operation and scheduler, from a folder and from one file."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline, ZImagePipeline
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families import FAMILIES
from gpu_worker.render.families.loading import modules
from gpu_worker.render.families.schedulers import make_scheduler
from gpu_worker.render.interface import StepReport, UnsupportedRequestError
from gpu_worker.render.loaded_model import load_model
from gpu_worker.render.pipeline import DiffusersPipeline
from tests.factories.renders import DRAWING_FAMILIES, draw, never, photograph, render_spec
from tests.factories.single_files import SINGLE_FILE_FAMILIES, single_file_model

ModelOf = Callable[[str], ModelSpec]

EVERY_OPERATION = [(name, operation) for name, family in FAMILIES.items() for operation in sorted(family.operations)]
EVERY_SCHEDULER = [(name, scheduler) for name, family in FAMILIES.items() for scheduler in family.schedulers]
PUBLISHED = {
    "sd15": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "flux": FluxPipeline,
    "zimage": ZImagePipeline,
}


@pytest.mark.parametrize(("family", "operation"), EVERY_OPERATION)
def test_same_recipe_gives_the_same_pixels_even_after_another_job(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, operation: Operation
) -> None:
    spec = render_spec(model_of(family), operation=operation, strength=0.7)
    first = draw(pipeline, spec)
    assert first.dtype == np.uint8
    assert first.shape == ((96, 96, 3) if operation is Operation.UPSCALE else (64, 64, 3))
    assert first.std() > 10
    draw(pipeline, replace(spec, prompt="something else", seed=5, scheduler=FAMILIES[family].schedulers[-1]))
    assert np.array_equal(draw(pipeline, spec), first)


@pytest.mark.parametrize(("family", "operation"), EVERY_OPERATION)
def test_image_of_a_job_equals_a_job_of_one_with_its_seed(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, operation: Operation
) -> None:
    spec = render_spec(model_of(family), operation=operation, strength=0.7, step_count=2)
    images = pipeline.render(replace(spec, image_count=2), lambda _: None, never).images
    assert [(image.index, image.seed) for image in images] == [(0, 11), (1, 12)]
    assert np.array_equal(images[1].pixels, draw(pipeline, replace(spec, seed=12)))


@pytest.mark.parametrize("family", PUBLISHED)
def test_picture_is_the_one_that_diffusers_draws_alone(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline, family: str
) -> None:
    model = model_of(family)
    spec = render_spec(model, negative_prompt="")
    pipe = PUBLISHED[family].from_pretrained(model.folder(models_dir), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = make_scheduler(spec.scheduler, pipe.scheduler.config, spec.step_count)
    picture = pipe(
        spec.prompt,
        width=64,
        height=64,
        num_inference_steps=spec.step_count,
        guidance_scale=spec.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(spec.seed),
    ).images[0]
    assert np.array_equal(draw(pipeline, spec), np.asarray(picture))


@pytest.mark.parametrize(("family", "scheduler"), EVERY_SCHEDULER)
def test_every_scheduler_draws_its_own_picture(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, scheduler: str
) -> None:
    operation = Operation.UPSCALE if family.startswith("sd_") else Operation.TEXT_TO_IMAGE
    spec = render_spec(model_of(family), operation=operation, step_count=5)
    pixels = draw(pipeline, replace(spec, scheduler=scheduler))
    assert pixels.std() > 10
    if scheduler != spec.scheduler:
        assert not np.array_equal(pixels, draw(pipeline, spec))


@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_size_needs_only_be_a_multiple_of_8(model_of: ModelOf, pipeline: DiffusersPipeline, family: str) -> None:
    for operation in (Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE, Operation.INPAINT):
        spec = render_spec(model_of(family), operation=operation, width_px=104, height_px=72, step_count=2)
        assert draw(pipeline, spec).shape == (72, 104, 3)


@pytest.mark.parametrize("change", [{"seed": 12}, {"prompt": "a blue ocean"}, {"guidance_scale": 2.0}])
@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_picture_depends_on_every_parameter(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, change: dict[str, Any]
) -> None:
    spec = render_spec(model_of(family))
    difference = draw(pipeline, replace(spec, **change)).astype(int) - draw(pipeline, spec)
    assert np.abs(difference).mean() > 0.1


@pytest.mark.parametrize("family", ["tiny", "sd15", "sdxl", "zimage"])
def test_negative_prompt_matters_only_with_guidance(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family))
    other = replace(spec, negative_prompt="green")
    assert not np.array_equal(draw(pipeline, other), draw(pipeline, spec))
    free, other_free = (replace(job, guidance_scale=1.0) for job in (spec, other))
    assert np.array_equal(draw(pipeline, other_free), draw(pipeline, free))


@pytest.mark.parametrize(("family", "strength", "steps"), [
    *product(DRAWING_FAMILIES, (0.31,), (3,)),
    *product(DRAWING_FAMILIES, (0.05,), (1,)),
    *product(DRAWING_FAMILIES, (1.0,), (10,)),
])  # fmt: skip
def test_share_of_the_steps_that_strength_says_runs_on_a_source(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str, strength: float, steps: int
) -> None:
    for operation in (Operation.IMAGE_TO_IMAGE, Operation.INPAINT):
        reports: list[StepReport] = []
        spec = render_spec(model_of(family), operation=operation, strength=strength, step_count=10)
        pipeline.render(spec, reports.append, never)
        assert [(report.step, report.step_count) for report in reports] == [(n + 1, steps) for n in range(steps)]


@pytest.mark.parametrize(("guidance_scale", "batch"), [(0.0, 1), (1.0, 1), (3.0, 2)])
def test_zimage_runs_its_transformer_once_a_step_and_on_one_prompt_without_guidance(
    model_of: ModelOf, pipeline: DiffusersPipeline, guidance_scale: float, batch: int
) -> None:
    model = model_of("zimage")
    draw(pipeline, render_spec(model))
    sizes: list[int] = []
    transformer = pipeline._models.get(model).pipe.transformer
    hook = transformer.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    try:
        draw(pipeline, render_spec(model, step_count=8, guidance_scale=guidance_scale))
    finally:
        hook.remove()
    assert sizes == [batch] * 8


@pytest.mark.parametrize("family", SINGLE_FILE_FAMILIES)
def test_single_file_draws_what_the_folder_of_the_same_weights_draws(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family))
    single = replace(spec, model=single_file_model(models_dir, family))
    assert [file.path for file in single.model.files if "/" not in file.path] == ["model.safetensors"]
    assert np.array_equal(draw(pipeline, single), draw(pipeline, spec))


@pytest.mark.parametrize("family", SINGLE_FILE_FAMILIES)
def test_weights_are_aligned_wherever_their_file_has_them(models_dir: Path, family: str) -> None:
    pipe = load_model(single_file_model(models_dir, family), models_dir, torch.device("cpu")).pipe
    tensors = [tensor for part in modules(pipe) for tensor in (*part.parameters(), *part.buffers())]
    assert {tensor.data_ptr() % 64 for tensor in tensors} == {0}


@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_last_preview_has_a_pixel_for_each_cell_of_the_latents(
    model_of: ModelOf, pipeline: DiffusersPipeline, family: str
) -> None:
    reports: list[StepReport] = []
    pipeline.render(render_spec(model_of(family), width_px=96), reports.append, never)
    assert reports[-1].preview is not None
    assert reports[-1].preview.shape == (8, 12, 3)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("tiny", {"scheduler": "magic"}, "magic"),
        ("flux", {"scheduler": "ddim"}, "ddim"),
        ("sd15", {"operation": Operation.UPSCALE}, "upscale"),
        ("sd_x4", {"operation": Operation.TEXT_TO_IMAGE}, "text_to_image"),
        ("sd15", {"operation": Operation.IMAGE_TO_IMAGE, "source": None}, "picture"),
        ("sd15", {"operation": Operation.INPAINT, "source": photograph(8, 8), "mask": None}, "mask"),
    ],
)
def test_request_that_a_family_cannot_do_is_refused_before_anything_is_loaded(
    model_of: ModelOf, own_pipeline: DiffusersPipeline, family: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedRequestError, match=message):
        draw(own_pipeline, render_spec(model_of(family), **change))
    assert own_pipeline.loaded_models == frozenset()


def test_unknown_family_is_refused(model_of: ModelOf, own_pipeline: DiffusersPipeline) -> None:
    spec = render_spec(model_of("tiny"))
    with pytest.raises(UnsupportedRequestError, match="magic"):
        draw(own_pipeline, replace(spec, model=replace(spec.model, family="magic")))
