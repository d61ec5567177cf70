"""The benchmark of the true sizes, as far as it goes without a GPU: its models, and its arms on a tiny one."""

from pathlib import Path

import pytest
import torch

from bench.tiny_models import tiny_pipeline
from bench.true_models import true_pipeline
from bench.true_sizes import USES, Use, measure
from gpu_worker.render.families.loading import modules
from gpu_worker.render.interface import PipelineSettings

# Of the denoisers, in millions, as published with the models or counted from their files.
DENOISERS = {"sd15": 860, "sdxl": 2567, "flux": 11901, "zimage": 6155}
# Of the largest text encoder of each: CLIP-L, OpenCLIP bigG, the encoder of T5-XXL, Qwen3-4B.
TEXT_ENCODERS = {"sd15": 123, "sdxl": 695, "flux": 4762, "zimage": 4022}


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("family", USES)
def test_models_of_the_true_sizes_have_as_many_weights_as_published(family: str) -> None:
    pipe = true_pipeline(family, torch.device("meta"), torch.float16)
    denoiser = pipe.components.get("transformer") or pipe.unet
    assert millions(denoiser) == pytest.approx(DENOISERS[family], rel=0.005)
    encoders = [millions(part) for part in modules(pipe) if part not in (denoiser, pipe.vae)]
    assert max(encoders) == pytest.approx(TEXT_ENCODERS[family], rel=0.01)


def test_arms_draw_with_one_model_and_are_compared(tmp_path: Path) -> None:
    settings = PipelineSettings(tmp_path, torch_threads=1, device="cpu", compile_backend="aot_eager")
    found = measure("sd15", Use(64, 2, 7.5), tiny_pipeline("sd15"), settings, rounds=2)
    assert (found.family, found.device) == ("sd15", "cpu")
    assert found.bare_per_second > 0
    assert found.worker_over_bare > 0
    assert found.compiled_over_eager > 0
    assert found.compile_seconds > 0
