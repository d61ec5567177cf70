"""Compiled blocks: the same pictures, compiled before the first job, once for all sizes, LoRAs included.

The compiler's front end and its handling of shapes are the real ones; the code that it makes is PyTorch's own, so that no
C++ compiler is needed.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pingvas.vocabulary import Operation
from torch._dynamo.utils import counters

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.interface import LoraUse, PipelineSettings, RenderSpec
from gpu_worker.render.pipeline import DiffusersPipeline, create
from tests.factories.renders import DRAWING_FAMILIES, draw, never, render_spec
from tests.factories.tiny_loras import tiny_lora

ModelOf = Callable[[str], ModelSpec]


@pytest.fixture
def compiled(models_dir: Path) -> DiffusersPipeline:
    """A pipeline of a process in which nothing was compiled before."""
    torch._dynamo.reset()
    counters.clear()
    return create(PipelineSettings(models_dir, torch_threads=1, device="cpu", compile_backend="aot_eager"))


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    """Checks that two pictures differ by rounding only."""
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 2


@pytest.mark.parametrize("family", DRAWING_FAMILIES)
def test_compiled_blocks_draw_what_uncompiled_ones_draw(
    model_of: ModelOf, pipeline: DiffusersPipeline, compiled: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family))
    picture = draw(compiled, spec)
    assert graphs() > 0, "nothing was compiled"
    assert_same(picture, draw(pipeline, spec))
    assert np.array_equal(draw(compiled, spec), picture)


@pytest.mark.parametrize("family", ["sd15", "flux", "zimage"])
def test_loaded_model_is_not_compiled_for_each_size_and_operation(
    model_of: ModelOf, compiled: DiffusersPipeline, family: str
) -> None:
    spec = render_spec(model_of(family))
    draw(compiled, spec)
    compiled_before = graphs()
    for changed in (
        *(replace(spec, width_px=side, height_px=160) for side in (64, 96, 128)),
        replace(spec, prompt="a very much longer prompt than the one before", guidance_scale=1.0),
        render_spec(spec.model, operation=Operation.IMAGE_TO_IMAGE),
    ):
        draw(compiled, changed)
    # The processor's convolutions have another layout for small pictures: one more variant, whatever the sizes.
    assert graphs() <= compiled_before + 1


def test_loras_work_on_compiled_blocks(
    model_of: ModelOf, models_dir: Path, pipeline: DiffusersPipeline, compiled: DiffusersPipeline
) -> None:
    plain = render_spec(model_of("sd15"))
    lora = tiny_lora(models_dir, "sd15", parts=("unet",))
    spec: RenderSpec = replace(plain, loras=(LoraUse(lora, 1.0),))
    assert_same(draw(compiled, spec), draw(pipeline, spec))
    assert_same(draw(compiled, plain), draw(pipeline, plain))


def test_recipe_tells_that_blocks_were_compiled(model_of: ModelOf, compiled: DiffusersPipeline) -> None:
    result = compiled.render(render_spec(model_of("sd15")), lambda _: None, never)
    assert result.device == "cpu, compiled"


def test_compiled_code_is_kept_beside_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")  # as torch does when it is imported
    create(PipelineSettings(tmp_path, device="cpu"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
    create(PipelineSettings(tmp_path, device="cpu", compile_backend="inductor"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / ".compiled")
