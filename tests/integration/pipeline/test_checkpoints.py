"""Checkpoints in the true pipeline: every weight is one of the files', and what can't draw is the model's fault."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from diffusers import AutoencoderKL
from pingvas.vocabulary import Operation
from prometheus_client import REGISTRY
from safetensors.torch import load_file, save_file

from bench.tiny_models import described, save_pipeline, tiny_pipeline, with_channels
from gpu_worker.attempt.failures import failure_of
from gpu_worker.models.checkpoint_files.header import CheckpointError
from gpu_worker.models.files import ModelFilesError, ModelSpec, ModelUnusableError, list_files
from gpu_worker.render.families.loading import load_pipeline
from gpu_worker.render.families.schedulers import DIFFUSION_SCHEDULERS, make_scheduler
from gpu_worker.render.loaded_model import load_model
from gpu_worker.render.pipeline import DiffusersPipeline
from svc_common.errors import Reason
from tests.factories.renders import draw, render_spec
from tests.factories.single_files import Weights, file_weights, save_single_file, vae_weights
from tests.integration.pipeline.conftest import ModelOf

_CPU = torch.device("cpu")


def _edited(models_dir: Path, model: ModelSpec, name: str, edit: Callable[[Path], None]) -> ModelSpec:
    """Adds a copy of a model whose files are edited, and whose specification says what they are then."""
    copy = replace(model, model_id=name)
    folder = copy.folder(models_dir)
    shutil.copytree(model.folder(models_dir), folder)
    edit(folder)
    return replace(copy, files=list_files(folder))


def _single(models_dir: Path, name: str, family: str, changes: Mapping[str, torch.Tensor]) -> ModelSpec:
    pipe = tiny_pipeline(family)
    weights: Weights = file_weights(pipe, family) | changes
    save_single_file(pipe, family, models_dir / name / "1", weights)
    return described(models_dir, name, family)


def _weights(folder: Path, part: str) -> tuple[Path, Weights]:
    (path,) = (folder / part).glob("*.safetensors")
    return path, load_file(path)


@pytest.mark.parametrize(
    ("family", "part", "pairs"),
    [
        ("sd15", "vae", {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}),
        ("sd15", "text_encoder", {"": "text_model."}),
        ("flux", "text_encoder_2", {"shared.": "encoder.embed_tokens."}),
        ("zimage", "text_encoder", {"": "model."}),
    ],
)
def test_older_names_in_folders_draw_the_same_picture(
    models_dir: Path, pipeline: DiffusersPipeline, model_of: ModelOf, family: str, part: str, pairs: dict[str, str]
) -> None:
    def rename(folder: Path) -> None:
        path, weights = _weights(folder, part)
        for old, new in pairs.items():
            if old:
                weights = {key.replace(old, new): tensor for key, tensor in weights.items()}
            else:
                weights = {new + key.removeprefix(new): tensor for key, tensor in weights.items()}
        save_file(weights, path, metadata={"format": "pt"})

    model = model_of(family)
    older = _edited(models_dir, model, f"older-{family}-{part}", rename)
    assert np.array_equal(draw(pipeline, render_spec(older)), draw(pipeline, render_spec(model)))


@pytest.mark.parametrize(
    ("family", "part", "key"),
    [
        ("sd15", "text_encoder", "text_model.embeddings.position_ids"),
        ("sd15", "text_encoder", "logit_scale"),
        ("zimage", "text_encoder", "lm_head.weight"),
    ],
)
def test_idle_tensors_in_folders_change_nothing(
    models_dir: Path, pipeline: DiffusersPipeline, model_of: ModelOf, family: str, part: str, key: str
) -> None:
    def add(folder: Path) -> None:
        path, weights = _weights(folder, part)
        save_file({**weights, key: torch.ones(1)}, path, metadata={"format": "pt"})

    idle = _edited(models_dir, model_of(family), f"idle-{key}", add)
    assert np.array_equal(draw(pipeline, render_spec(idle)), draw(pipeline, render_spec(model_of(family))))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("way", ["missing", "unexpected"])
def test_libraries_alone_find_weights_that_are_missing_or_too_many(
    models_dir: Path, tmp_path: Path, model_of: ModelOf, part: str, way: str
) -> None:
    folder = shutil.copytree(model_of("sd15").folder(models_dir), tmp_path / "model")
    path, weights = _weights(folder, part)
    if way == "missing":
        weights.pop(max(weights))
    else:
        weights["elsewhere.weight"] = torch.ones(1)
    save_file(weights, path, metadata={"format": "pt"})
    # Without the survey, which would tell it first.
    with pytest.raises(CheckpointError, match=f"{part} has 1 {way} keys: "):
        load_pipeline(type(tiny_pipeline("sd15")), folder, torch.float32, safety_checker=None)


def test_weights_that_a_single_file_lacks_are_never_left_to_chance(models_dir: Path) -> None:
    pipe = tiny_pipeline("sd15")
    weights = file_weights(pipe, "sd15")
    weights.pop("model.diffusion_model.middle_block.1.proj_in.weight")
    folder = models_dir / "chance" / "1"
    save_single_file(pipe, "sd15", folder, weights)
    with pytest.raises(Exception, match="meta"):  # what diffusers says, whatever the class
        load_pipeline(type(pipe), folder, torch.float32, safety_checker=None)
    with pytest.raises(
        ModelUnusableError, match=r"1 of its 208 tensors are missing, such as .*middle_block\.1\.proj_in"
    ):
        load_model(described(models_dir, "chance", "sd15"), models_dir, _CPU)


def test_model_of_xl_with_scaled_float8_in_every_part_draws_as_multiplied_by_hand(
    models_dir: Path, pipeline: DiffusersPipeline
) -> None:
    weights = file_weights(tiny_pipeline("sdxl"), "sdxl")
    layers = [
        key.removesuffix(".weight") for key, tensor in weights.items() if key.endswith("weight") and tensor.ndim == 2
    ]
    layers = [layer for layer in layers if not layer.endswith("embedding") and f"{layer}.weight" in weights]
    assert len({layer.split(".")[0] for layer in layers}) == 2  # text encoders and the U-Net; the decoder's are kernels
    scaled: Weights = {}
    by_hand: Weights = {}
    for layer in layers:
        weight = weights[f"{layer}.weight"]
        scale = weight.abs().max() / 448
        stored = (weight / scale).to(torch.float8_e4m3fn)
        scaled |= {f"{layer}.weight": stored, f"{layer}.scale_weight": scale}
        by_hand[f"{layer}.weight"] = (stored.double() * scale.double()).float()
    scaled_model = _single(models_dir, "scaled-xl", "sdxl", scaled)
    by_hand_model = _single(models_dir, "scaled-xl-by-hand", "sdxl", by_hand)
    picture = draw(pipeline, render_spec(scaled_model))
    assert np.array_equal(picture, draw(pipeline, render_spec(by_hand_model)))


def test_encoders_and_decoder_of_flux_in_one_file_draw_the_same_picture(
    models_dir: Path, pipeline: DiffusersPipeline, model_of: ModelOf
) -> None:
    # As ComfyUI's checkpoints have them; the transformer is apart, as its names are only converted at the true width.
    pipe, folder = tiny_pipeline("flux"), models_dir / "flux-parts" / "1"
    save_pipeline(pipe, folder / "config")
    clip = {
        f"text_encoders.clip_l.transformer.text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in pipe.text_encoder.state_dict().items()
    }
    clip["text_encoders.clip_l.transformer.text_projection.weight"] = torch.eye(32)
    t5 = {f"text_encoders.t5xxl.transformer.{key}": each for key, each in pipe.text_encoder_2.state_dict().items()}
    vae = {f"vae.{key.removeprefix('first_stage_model.')}": each for key, each in vae_weights(pipe.vae).items()}
    for part in ("text_encoder", "text_encoder_2", "vae"):
        _weights(folder / "config", part)[0].unlink()
    save_file({key: each.clone().contiguous() for key, each in (clip | t5 | vae).items()}, folder / "all.safetensors")
    in_one = draw(pipeline, render_spec(described(models_dir, "flux-parts", "flux")))
    assert np.array_equal(in_one, draw(pipeline, render_spec(model_of("flux"))))


@pytest.mark.parametrize("scheduler", DIFFUSION_SCHEDULERS)
def test_every_scheduler_of_a_marked_checkpoint_is_set_as_marked(models_dir: Path, scheduler: str) -> None:
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    model_id = f"marked-{scheduler}"
    host = load_model(_single(models_dir, model_id, "sdxl", marks), models_dir, _CPU)
    made = make_scheduler(scheduler, host.pipe.scheduler.config, 20)
    assert made.config.prediction_type == "v_prediction"
    assert made.config.rescale_betas_zero_snr
    # With rescaled betas nothing of the picture is left at the end of the schedule, where the first step is.
    assert made.alphas_cumprod[-1] < 1e-6
    made.set_timesteps(20)
    if scheduler != "lcm":  # whose steps are those that it was distilled with
        assert made.config.timestep_spacing == "trailing"
        assert int(made.timesteps[0]) == 999


def test_inpainting_checkpoint_inpaints_and_does_nothing_else(models_dir: Path, pipeline: DiffusersPipeline) -> None:
    save_pipeline(with_channels(tiny_pipeline("sd15"), 9), models_dir / "for-inpainting" / "1")
    model = described(models_dir, "for-inpainting", "sd15")
    assert draw(pipeline, render_spec(model, operation=Operation.INPAINT)).std() > 10
    for operation in (Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE):
        with pytest.raises(ModelUnusableError, match=f"are for inpaint, and not for {operation}"):
            draw(pipeline, render_spec(model, operation=operation))


def _nothing_fits(folder: Path) -> None:
    # A decoder for other latents than the U-Net makes, and its own config beside it.
    shutil.rmtree(folder / "vae")
    config: dict[str, Any] = dict(tiny_pipeline("sd15").vae.config)
    AutoencoderKL.from_config({**config, "latent_channels": 16}).save_pretrained(folder / "vae")


def _no_words(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "model": {"type": "BPE", "vocab": 1}}))


def _unknown_class(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "unet": ["diffusers", "UNetOfTomorrow"]}))


@pytest.mark.parametrize("damage", [_nothing_fits, _no_words, _unknown_class])
def test_whatever_fails_in_a_load_is_the_model_s_fault(
    models_dir: Path, own_pipeline: DiffusersPipeline, model_of: ModelOf, damage: Callable[[Path], None]
) -> None:
    model = _edited(models_dir, model_of("sd15"), f"damaged-{damage.__name__.strip('_')}", damage)
    with pytest.raises(ModelUnusableError):
        draw(own_pipeline, render_spec(model))
    assert own_pipeline.loaded_models == frozenset()
    assert draw(own_pipeline, render_spec(model_of("sd15"))).std() > 10


def test_model_s_fault_is_told_to_owners_and_to_operators() -> None:
    before = REGISTRY.get_sample_value("model_faults_total", {"model_id": "xl-1"}) or 0
    with structlog.testing.capture_logs() as logs:
        failure = failure_of(ModelUnusableError("xl-1", "the vae is missing"))
    assert failure.reason is Reason.MODEL_UNUSABLE
    assert "xl-1" in failure.message
    assert "the vae" not in failure.message
    assert [(log["event"], log["model_id"], log["problem"], log["log_level"]) for log in logs] == [
        ("model.unusable", "xl-1", "the vae is missing", "error")
    ]
    assert REGISTRY.get_sample_value("model_faults_total", {"model_id": "xl-1"}) == before + 1
    assert failure_of(ModelFilesError("unet is missing")).reason is Reason.MODEL_LOAD_FAILED
