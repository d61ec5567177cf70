"""The true pipeline on the true built-in model: what it draws, when it stops, and what it refuses."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from gpu_worker import builtin
from gpu_worker.families import FAMILIES
from gpu_worker.model_files import ModelFilesError, ModelSpec, list_files, read_specification
from gpu_worker.pipeline import DiffusersPipeline, create
from gpu_worker.rendering import (
    InvalidOutputError,
    OutOfMemoryError,
    PipelineSettings,
    Pixels,
    RenderCancelledError,
    RenderResult,
    RenderSpec,
    StepReport,
    UnsupportedRequestError,
)

MAX_MODEL_BYTES = 6_000_000


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    builtin.build(folder)
    return folder


@pytest.fixture(scope="module")
def model(models_dir: Path) -> ModelSpec:
    return read_specification(models_dir / builtin.MODEL_ID / builtin.REVISION / "manifest.json")


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> DiffusersPipeline:
    return create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))


@pytest.fixture
def spec(model: ModelSpec) -> RenderSpec:
    return RenderSpec(
        model=model,
        prompt="a red fox in the snow",
        negative_prompt="",
        width_px=128,
        height_px=128,
        step_count=4,
        guidance_scale=7.5,
        seed=11,
        image_count=1,
        scheduler="euler",
    )


def ignore(_report: StepReport) -> None:
    return


def never() -> bool:
    return False


def draw(pipeline: DiffusersPipeline, spec: RenderSpec) -> Pixels:
    return pipeline.render(spec, ignore, never).images[0].pixels


def with_weights(
    models_dir: Path, model: ModelSpec, part: str, change: Callable[[dict[str, torch.Tensor]], None]
) -> ModelSpec:
    """Adds a model to the folder whose weights were changed, with a specification that says so."""
    changed = replace(model, model_id=f"changed-{part}-{len(list(models_dir.iterdir()))}")
    folder = changed.folder(models_dir)
    shutil.copytree(model.folder(models_dir), folder)
    path = folder / part / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return replace(changed, files=list_files(folder))


def test_builtin_model_is_small_and_built_the_same_twice(models_dir: Path, tmp_path: Path) -> None:
    manifest = Path(builtin.MODEL_ID) / builtin.REVISION / "manifest.json"
    builtin.build(tmp_path)
    assert json.loads((models_dir / manifest).read_bytes()) == json.loads((tmp_path / manifest).read_bytes())
    assert sum(file.size_bytes for file in read_specification(tmp_path / manifest).files) <= MAX_MODEL_BYTES


def test_builtin_model_is_a_diffusers_folder_for_anyone(models_dir: Path, model: ModelSpec) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(model.folder(models_dir), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(1)
    image = pipe("a red fox", num_inference_steps=2, generator=generator).images[0]
    assert image.size == (builtin.NATIVE_SIDE_PX, builtin.NATIVE_SIDE_PX)


def test_manifest_names_the_schedulers_of_the_family(models_dir: Path, model: ModelSpec) -> None:
    manifest = json.loads((model.folder(models_dir) / "manifest.json").read_bytes())
    assert tuple(manifest["schedulers"]) == FAMILIES[model.family].schedulers


def test_same_recipe_gives_the_same_pixels_even_after_another_job(
    pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    first = draw(pipeline, spec)
    draw(pipeline, replace(spec, prompt="something else", scheduler="dpmpp_2m", width_px=64))
    assert np.array_equal(draw(pipeline, spec), first)


def test_same_recipe_gives_the_same_pixels_in_another_process_state(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    another = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    with ThreadPoolExecutor(1) as thread:
        assert np.array_equal(thread.submit(draw, another, spec).result(), draw(pipeline, spec))


@pytest.mark.parametrize(
    "change", [{"seed": 12}, {"prompt": "a blue ocean"}, {"negative_prompt": "snow"}, {"guidance_scale": 1.0}]
)
def test_picture_depends_on_every_parameter(
    pipeline: DiffusersPipeline, spec: RenderSpec, change: dict[str, Any]
) -> None:
    difference = draw(pipeline, replace(spec, **change)).astype(int) - draw(pipeline, spec)
    assert np.abs(difference).mean() > 0.5


def test_image_of_a_job_equals_a_job_of_one_with_its_seed(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    images = pipeline.render(replace(spec, image_count=3), ignore, never).images
    assert [(image.index, image.seed) for image in images] == [(0, 11), (1, 12), (2, 13)]
    assert np.array_equal(images[2].pixels, draw(pipeline, replace(spec, seed=13)))


def test_pictures_are_colourful_and_of_the_size_that_was_asked_for(
    pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    pixels = draw(pipeline, replace(spec, width_px=192, height_px=136, step_count=20))
    assert pixels.shape == (136, 192, 3)
    assert pixels.dtype == np.uint8
    assert (pixels.reshape(-1, 3).std(axis=0) > 15).all()
    assert np.ptp(pixels.astype(int), axis=2).mean() > 20


@pytest.mark.parametrize("scheduler", FAMILIES["tiny"].schedulers)
def test_every_scheduler_draws(pipeline: DiffusersPipeline, spec: RenderSpec, scheduler: str) -> None:
    with_it = replace(spec, scheduler=scheduler, step_count=6)
    pixels = draw(pipeline, with_it)
    assert pixels.std() > 10
    assert np.array_equal(draw(pipeline, with_it), pixels)


def test_reports_every_step_with_previews_at_the_ends(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    reports: list[StepReport] = []
    result = pipeline.render(replace(spec, image_count=2), reports.append, never)
    assert [(report.image_index, report.step, report.step_count) for report in reports] == [
        (index // 4, index + 1, 8) for index in range(8)
    ]
    previews = [report.preview for report in reports]
    assert all(preview is not None and preview.shape == (16, 16, 3) for preview in (previews[0], *previews[3::4]))
    assert all(report.seconds_left > 0 for report in reports)
    assert reports[-1].seconds_left < reports[1].seconds_left
    assert result.gpu_seconds > 0
    assert dict(result.library_versions).keys() == {"diffusers", "torch", "transformers"}


def test_last_preview_resembles_the_picture(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    correlations = []
    for seed in range(4):
        reports: list[StepReport] = []
        native = replace(spec, seed=seed, step_count=12, width_px=256, height_px=256)
        picture = pipeline.render(native, reports.append, never).images[0].pixels
        preview = reports[-1].preview
        assert preview is not None
        averaged = picture.reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
        correlations.append(np.corrcoef(averaged.ravel(), preview.ravel())[0, 1])
    # Two pictures of different prompts correlate less than 0.2; the map itself cannot see what lies around a cell.
    assert np.mean(correlations) > 0.5


def test_preview_of_a_large_picture_is_averaged_down(pipeline: DiffusersPipeline, model: ModelSpec) -> None:
    latents = torch.randn(1, 4, 160, 320)
    with torch.inference_mode():
        preview = pipeline._models.get(model).latent_rgb.pixels(latents)
    assert preview.shape == (54, 107, 3)


def test_cancellation_takes_effect_within_one_step(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    reports: list[StepReport] = []
    with pytest.raises(RenderCancelledError) as caught:
        pipeline.render(replace(spec, step_count=40), reports.append, lambda: len(reports) == 3)
    assert len(reports) == 3
    assert caught.value.completed_steps == 4
    assert caught.value.gpu_seconds > 0
    assert draw(pipeline, spec).std() > 10


def test_cancellation_from_another_thread_stops_the_second_image(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    stop = threading.Event()
    in_second_image = threading.Event()

    def on_step(report: StepReport) -> None:
        if report.image_index == 1:
            in_second_image.set()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(pipeline.render, replace(spec, step_count=50, image_count=4), on_step, stop.is_set)
        assert in_second_image.wait(60)
        stop.set()
        with pytest.raises(RenderCancelledError) as caught:
            running.result(60)
    assert 50 < caught.value.completed_steps < 200


def test_cancelled_before_its_start_costs_nothing(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    with pytest.raises(RenderCancelledError) as caught:
        pipeline.render(spec, ignore, lambda: True)
    assert caught.value.gpu_seconds == 0


def test_model_stays_loaded_between_renders(models_dir: Path, spec: RenderSpec) -> None:
    pipeline = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    assert pipeline.loaded_models == frozenset()
    draw(pipeline, spec)
    assert pipeline.loaded_models == {builtin.MODEL_ID}
    loaded = pipeline._models.get(spec.model)
    draw(pipeline, spec)
    assert pipeline._models.get(spec.model) is loaded


def test_model_with_a_wrong_hash_is_refused_before_it_is_loaded(models_dir: Path, spec: RenderSpec) -> None:
    pipeline = create(PipelineSettings(models_dir, device="cpu"))
    files = tuple(
        replace(file, sha256="0" * 64) if file.path.startswith("unet/d") else file for file in spec.model.files
    )
    with pytest.raises(ModelFilesError, match="does not have the SHA-256"):
        draw(pipeline, replace(spec, model=replace(spec.model, files=files)))
    assert pipeline.loaded_models == frozenset()


def test_model_with_a_pickle_is_refused_even_when_it_is_specified(models_dir: Path, spec: RenderSpec) -> None:
    pickled = replace(spec.model, model_id="pickled")
    folder = pickled.folder(models_dir)
    shutil.copytree(spec.model.folder(models_dir), folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    pipeline = create(PipelineSettings(models_dir, device="cpu"))
    with pytest.raises(ModelFilesError, match="weights must be safetensors"):
        draw(pipeline, replace(spec, model=replace(pickled, files=list_files(folder))))


@pytest.mark.parametrize("change", [{"scheduler": "magic"}, {"model": None}], ids=["scheduler", "family"])
def test_unknown_family_or_scheduler_is_refused(
    pipeline: DiffusersPipeline, spec: RenderSpec, change: dict[str, Any]
) -> None:
    if "model" in change:
        change = {"model": replace(spec.model, model_id="other", family="magic")}
    with pytest.raises(UnsupportedRequestError, match="magic"):
        draw(pipeline, replace(spec, **change))


def test_numbers_that_are_not_finite_are_detected_in_the_latents(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(models_dir, spec.model, "unet", lambda weights: weights["conv_out.bias"].fill_(torch.nan))
    reports: list[StepReport] = []
    with pytest.raises(InvalidOutputError, match="not finite"):
        pipeline.render(replace(spec, model=broken), reports.append, never)
    assert reports == []
    assert draw(pipeline, spec).std() > 10


def test_numbers_that_are_not_finite_are_detected_in_the_decoded_picture(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(
        models_dir, spec.model, "vae", lambda weights: weights["decoder.conv_out.bias"].fill_(torch.nan)
    )
    with pytest.raises(InvalidOutputError, match="decoder"):
        draw(pipeline, replace(spec, model=broken))


def test_picture_that_is_black_everywhere_is_refused(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(
        models_dir, spec.model, "vae", lambda weights: weights["decoder.conv_out.bias"].fill_(-1000.0)
    )
    with pytest.raises(InvalidOutputError, match="black"):
        draw(pipeline, replace(spec, model=broken))


def test_memory_that_does_not_suffice_frees_the_models_and_leaves_the_next_job_healthy(
    models_dir: Path, spec: RenderSpec
) -> None:
    pipeline = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    draw(pipeline, spec)

    def exhaust(_report: StepReport) -> None:
        # What torch raises on a GPU; a CPU cannot be brought to it.
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError) as caught:
        pipeline.render(spec, exhaust, never)
    # The failed run's tensors live as long as its traceback, so it must not hang on the error.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert pipeline.loaded_models == frozenset()
    assert draw(pipeline, spec).std() > 10


def test_device_time_is_what_the_clock_measured(models_dir: Path, spec: RenderSpec) -> None:
    ticks = SimpleNamespace(now_s=0.0)

    def on_step(_report: StepReport) -> None:
        ticks.now_s += 0.25

    settings = PipelineSettings(models_dir, torch_threads=1, device="cpu")
    result: RenderResult = DiffusersPipeline(settings, clock=lambda: ticks.now_s).render(spec, on_step, never)
    assert result.gpu_seconds == pytest.approx(1.0)
