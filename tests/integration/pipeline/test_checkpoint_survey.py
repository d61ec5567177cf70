"""Models in folders and single files: what is looked at without torch, and in which words it is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.tiny_models import save_pipeline, tiny_pipeline
from gpu_worker.models.builtin import SHIPPED
from gpu_worker.models.checkpoint_files.fitting import drawing_operations
from gpu_worker.models.checkpoint_files.header import CheckpointError
from gpu_worker.models.checkpoint_files.survey import PARTS, survey
from gpu_worker.render.families import FAMILIES
from tests.factories.single_files import SINGLE_FILE_FAMILIES, file_weights, save_single_file
from tests.integration.pipeline.conftest import ModelOf

DRAWING = ("text_to_image", "image_to_image", "inpaint")


def _folder(model_of: ModelOf, models_dir: Path, family: str, copy_to: Path) -> Path:
    model = model_of(family)
    return shutil.copytree(model.folder(models_dir), copy_to / family)


def _edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def _rename(path: Path, pairs: dict[str, str]) -> None:
    weights = load_file(path)
    for old, new in pairs.items():
        weights = {key.replace(old, new): tensor for key, tensor in weights.items()}
    save_file(weights, path)


def test_families_are_those_of_the_workers() -> None:
    assert {*PARTS} == {*FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_folder_of_every_family_passes(model_of: ModelOf, models_dir: Path, family: str) -> None:
    operations = [operation.value for operation in FAMILIES[family].operations]
    survey(model_of(family).folder(models_dir), family, operations)


@pytest.mark.parametrize("family", SINGLE_FILE_FAMILIES)
def test_whole_single_file_of_every_family_passes(tmp_path: Path, family: str) -> None:
    pipe = tiny_pipeline(family)
    save_single_file(pipe, family, tmp_path, file_weights(pipe, family))
    survey(tmp_path, family, DRAWING)


def test_built_in_model_passes() -> None:
    survey(SHIPPED, "tiny", [*DRAWING, "upscale"])


def test_tensors_that_checkpoints_carry_without_use_are_passed_over(tmp_path: Path) -> None:
    pipe = tiny_pipeline("sd15")
    idle = (
        "model_ema.diffusion_modelinput_blocks00weight",
        "alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.logit_scale",
        "first_stage_model.loss.logvar",
    )
    save_single_file(pipe, "sd15", tmp_path, file_weights(pipe, "sd15") | {key: torch.ones(1) for key in idle})
    survey(tmp_path, "sd15", DRAWING)


def test_decoder_in_the_config_is_taken_instead_of_the_file_s(tmp_path: Path) -> None:
    pipe = tiny_pipeline("sd15")
    save_single_file(pipe, "sd15", tmp_path, file_weights(pipe, "sd15"))
    pipe.vae.save_pretrained(tmp_path / "config" / "vae")
    survey(tmp_path, "sd15", DRAWING)


@pytest.mark.parametrize(
    ("family", "part", "pairs"),
    [
        ("sd15", "vae", {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}),
        ("sd15", "text_encoder", {"text_model.": ""}),
        ("flux", "text_encoder_2", {"shared.": "encoder.embed_tokens."}),
        ("zimage", "text_encoder", {"model.": ""}),
    ],
)
def test_older_names_in_folders_pass(
    model_of: ModelOf, models_dir: Path, tmp_path: Path, family: str, part: str, pairs: dict[str, str]
) -> None:
    folder = _folder(model_of, models_dir, family, tmp_path)
    (file,) = (folder / part).glob("*.safetensors")
    _rename(file, pairs)
    survey(folder, family, DRAWING)


def test_weights_in_several_files_pass(tmp_path: Path) -> None:
    pipe = tiny_pipeline("sd15")
    save_pipeline(pipe, tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    pipe.unet.save_pretrained(tmp_path / "unet", max_shard_size="100KB")
    shards = sorted((tmp_path / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    survey(tmp_path, "sd15", DRAWING)
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=f"{shards[1].name} can't be read: No such file"):
        survey(tmp_path, "sd15", DRAWING)


def _without_part(folder: Path) -> None:
    _edit_json(folder / "model_index.json", text_encoder=[None, None])


def _without_weights(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )


def _without_config(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()


def _without_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def _without_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def _scaled_in_folder(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.weight"] = weights["conv_out.weight"].to(torch.float8_e4m3fn)
    save_file({**weights, "conv_out.scale_weight": torch.tensor(2.0)}, path)


def _whole_numbers(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(path), "conv_out.bias": torch.ones(4, dtype=torch.int8)}, path)


def _of_another_width(folder: Path) -> None:
    other = tiny_pipeline("sdxl").text_encoder_2  # wider
    other.text_model.save_pretrained(folder / "text_encoder")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_part, "the model has no text_encoder: model_index.json doesn't name one"),
        (_without_weights, "unet has no weights: unet/diffusion_pytorch_model.safetensors is missing"),
        (_without_config, "vae/config.json is missing"),
        (_without_scheduler, "scheduler/scheduler_config.json is missing"),
        (_without_tokenizer, "the model has no tokenizer: the folder tokenizer is missing or empty"),
        (_scaled_in_folder, "unet is float8 with scales, which is supported in single-file checkpoints only"),
        (_whole_numbers, "unet: 1 weights are no floating-point numbers but I8, such as conv_out.bias"),
        (
            _of_another_width,
            "the unet doesn't fit the text_encoder: its cross_attention_dim is 32, which would have to be 48",
        ),
    ],
)
def test_folder_that_is_no_whole_model_is_refused(
    model_of: ModelOf, models_dir: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = _folder(model_of, models_dir, "sd15", tmp_path)
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        survey(folder, "sd15", DRAWING)
    assert message in str(caught.value).splitlines()


def test_built_in_family_that_is_to_upscale_needs_its_network(
    model_of: ModelOf, models_dir: Path, tmp_path: Path
) -> None:
    folder = _folder(model_of, models_dir, "tiny", tmp_path)
    shutil.rmtree(folder / "upscaler")
    survey(folder, "tiny", DRAWING)
    with pytest.raises(CheckpointError, match=r"upscaler/model\.safetensors is missing, which upscales"):
        survey(folder, "tiny", ["upscale"])


def test_unknown_family_is_refused(model_of: ModelOf, models_dir: Path) -> None:
    with pytest.raises(CheckpointError, match="no worker can run models of the family sd35; there are tiny, sd15,"):
        survey(model_of("sd15").folder(models_dir), "sd35")


@pytest.mark.parametrize(
    ("family", "channels", "latent", "operations"),
    [
        ("sd15", 4, 4, {*DRAWING}),
        ("sd15", 9, 4, {"inpaint"}),
        ("sdxl", 9, 4, {"inpaint"}),
        ("sd15", 8, 4, set()),  # edited by instructions
        ("sd15", 5, 4, set()),  # with a map of depth
        ("flux", 64, 16, {*DRAWING}),
        ("flux", 384, 16, set()),  # FLUX Fill
        ("zimage", 16, 16, {*DRAWING}),
    ],
)
def test_channels_decide_the_operations(family: str, channels: int, latent: int, operations: set[str]) -> None:
    assert drawing_operations(family, channels, latent) == operations
