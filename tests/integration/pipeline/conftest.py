"""Tiny models of every family, each saved once, and one pipeline that runs them all."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from bench.tiny_models import tiny_model
from gpu_worker.models.files import ModelSpec
from gpu_worker.render.interface import PipelineSettings
from gpu_worker.render.pipeline import DiffusersPipeline, create

ModelOf: TypeAlias = Callable[[str], ModelSpec]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def model_of(models_dir: Path) -> ModelOf:
    """The model of a family."""
    return cache(lambda family: tiny_model(models_dir, family))


@pytest.fixture(scope="session")
def pipeline(models_dir: Path) -> DiffusersPipeline:
    """A pipeline that tests share: what one leaves behind must not be seen by the next."""
    return create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))


@pytest.fixture
def own_pipeline(models_dir: Path) -> DiffusersPipeline:
    """A pipeline with nothing loaded."""
    return create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
