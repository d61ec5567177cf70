"""A render from step to step: what it reports, how it stops, what it measures, and what stays loaded after it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.interface import PipelineSettings, RenderCancelledError, RenderSpec, StepReport
from gpu_worker.render.pipeline import DiffusersPipeline, create
from tests.factories.renders import draw, never, render_spec

ModelOf = Callable[[str], ModelSpec]


@pytest.fixture
def spec(model_of: ModelOf) -> RenderSpec:
    return render_spec(model_of("tiny"), step_count=4)


def test_same_recipe_gives_the_same_pixels_in_another_thread_and_pipeline(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    another = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    with ThreadPoolExecutor(1) as thread:
        assert np.array_equal(thread.submit(draw, another, spec).result(), draw(pipeline, spec))


def test_reports_every_step_with_previews_at_the_ends(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    reports: list[StepReport] = []
    result = pipeline.render(replace(spec, image_count=2), reports.append, never)
    assert [(report.image_index, report.step, report.step_count) for report in reports] == [
        (index // 4, index + 1, 8) for index in range(8)
    ]
    previews = [report.preview for report in reports]
    assert all(preview is not None and preview.shape == (8, 8, 3) for preview in (previews[0], *previews[3::4]))
    assert all(report.seconds_left > 0 for report in reports)
    assert result.gpu_seconds > 0
    assert dict(result.library_versions).keys() == {"diffusers", "torch", "transformers"}


def test_preview_of_a_large_picture_is_averaged_down(pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    draw(pipeline, spec)
    latents = torch.randn(1, 4, 160, 320)
    with torch.inference_mode():
        preview = pipeline._models.get(spec.model).latent_rgb.pixels(latents)
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
        pipeline.render(spec, lambda _: None, lambda: True)
    assert caught.value.gpu_seconds == 0


def test_model_stays_loaded_between_renders(own_pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    assert own_pipeline.loaded_models == frozenset()
    draw(own_pipeline, spec)
    assert own_pipeline.loaded_models == {spec.model.model_id}
    loaded = own_pipeline._models.get(spec.model)
    draw(own_pipeline, spec)
    assert own_pipeline._models.get(spec.model) is loaded


def test_prefetched_model_is_ready_for_its_first_render(own_pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(own_pipeline.prefetch, spec.model).result(60)
    assert own_pipeline.loaded_models == {spec.model.model_id}
    assert draw(own_pipeline, spec).std() > 10


def test_device_time_is_what_the_clock_measured(models_dir: Path, spec: RenderSpec) -> None:
    ticks = SimpleNamespace(now_s=0.0)

    def on_step(_report: StepReport) -> None:
        ticks.now_s += 0.25

    settings = PipelineSettings(models_dir, torch_threads=1, device="cpu")
    result = DiffusersPipeline(settings, clock=lambda: ticks.now_s).render(spec, on_step, never)
    assert result.gpu_seconds == pytest.approx(1.0)
