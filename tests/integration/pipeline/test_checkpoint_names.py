"""Names in single files, against files that are named by the tests' own renaming, and against diffusers' converters."""

from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils

from bench.tiny_models import tiny_pipeline
from bench.true_models import true_pipeline
from gpu_worker.models.checkpoint_files.architectures import Tensors, tensors_of
from gpu_worker.models.checkpoint_files.names import namings
from tests.factories import single_files
from tests.integration.pipeline.test_checkpoint_architectures import _config


def _tensors(part: Any) -> Tensors:
    found = tensors_of(type(part).__name__, _config(part))
    assert found is not None
    return found


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


@pytest.mark.parametrize("family", ["tiny", "sd15", "sdxl", "zimage"])
def test_file_has_the_names_that_are_looked_for(family: str) -> None:
    pipe = tiny_pipeline(family)
    weights, inside = single_files._CHECKPOINTS[family](pipe)
    wanted: dict[str, tuple[int, ...]] = {}
    for name in inside:
        part = pipe.components[name]
        candidates = list(namings(type(part).__name__, name, _tensors(part)))
        wanted |= max((each.tensors for each in candidates), key=lambda tensors: len(tensors.keys() & weights.keys()))
    assert {name: _flat(shape) for name, shape in wanted.items()} == {
        name: _flat(tuple(tensor.shape)) for name, tensor in weights.items()
    }


def test_flux_in_its_authors_names_converts_to_the_whole_transformer() -> None:
    # At the true width, which is the only one that diffusers' converter knows.
    transformer = true_pipeline("flux", torch.device("meta"), torch.bfloat16).transformer
    theirs = next(namings("FluxTransformer2DModel", "transformer", _tensors(transformer))).tensors
    assert all(name.startswith("model.diffusion_model.") for name in theirs)
    converted = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(
        {name: torch.empty(shape, device="meta") for name, shape in theirs.items()}
    )
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in transformer.state_dict().items()
    }


@pytest.mark.parametrize(("family", "convert"), [("sd15", "unet"), ("sdxl", "unet"), ("sd15", "vae"), ("flux", "vae")])
def test_published_sizes_convert_to_whole_parts(family: str, convert: str) -> None:
    part = true_pipeline(family, torch.device("meta"), torch.bfloat16).components[convert]
    theirs = next(namings(type(part).__name__, convert, _tensors(part))).tensors
    file = {name: torch.empty(shape, device="meta") for name, shape in theirs.items()}
    converter = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint,
        "vae": single_file_utils.convert_ldm_vae_checkpoint,
    }[convert]
    converted = converter(file, config=dict(part.config))
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in part.state_dict().items()
    }
