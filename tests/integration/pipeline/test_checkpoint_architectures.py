"""The tensors of parts as they are described without torch, against the classes of diffusers and transformers."""

import json
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from bench.tiny_models import tiny_pipeline
from bench.true_models import true_pipeline
from gpu_worker.models.builtin import SHIPPED
from gpu_worker.models.checkpoint_files.architectures import tensors_of
from gpu_worker.models.checkpoint_files.header import read_header


def _built(part: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    shapes = {name.removeprefix("text_model."): tuple(value.shape) for name, value in part.state_dict().items()}
    shapes.pop("encoder.embed_tokens.weight", None)  # T5's, which is its shared one
    return shapes


def _config(part: Any) -> dict[str, Any]:
    config = part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
    read: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return read


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux", "zimage"])
@pytest.mark.parametrize("size", ["tiny", "published"])
def test_every_part_is_described_as_its_class_builds_it(family: str, size: str) -> None:
    pipe = tiny_pipeline(family) if size == "tiny" else true_pipeline(family, torch.device("meta"), torch.bfloat16)
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    assert len(parts) >= 3
    for part in parts.values():
        assert tensors_of(type(part).__name__, _config(part)) == _built(part)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_built_in_model_is_described(part: str) -> None:
    config = json.loads((SHIPPED / part / "config.json").read_bytes())
    class_name = json.loads((SHIPPED / "model_index.json").read_bytes())[part][1]
    (file,) = (SHIPPED / part).glob("*.safetensors")
    assert tensors_of(class_name, config) == {key: each.shape for key, each in read_header(file).tensors.items()}


def test_defaults_are_those_of_the_classes() -> None:
    with torch.device("meta"):
        unet, clip = UNet2DConditionModel(), CLIPTextModel(CLIPTextConfig())
    assert tensors_of("UNet2DConditionModel", {}) == _built(unet)
    assert tensors_of("CLIPTextModel", {}) == _built(clip)


def test_what_is_not_described_gives_none() -> None:
    assert tensors_of("UNet2DConditionModel", {"mid_block_type": "UNetMidBlock2D"}) is None
    assert tensors_of("UNet2DConditionModel", {"block_out_channels": "many"}) is None
    assert tensors_of("CLIPTextModel", {"num_hidden_layers": 10**9}) is None
    assert tensors_of("CLIPVisionModel", {}) is None
