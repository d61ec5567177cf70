"""Checkpoints as people publish them, from the push to the picture, against weights and schedulers that were set by hand.

The kinds were reported for other programs: float8 with scales (leejet/stable-diffusion.cpp#1898), files without a text encoder
(huggingface/diffusers#8228), marks of v-prediction (kohya-ss/sd-scripts#1715), checkpoints for inpainting that were to draw
from text (invoke-ai/InvokeAI#1184).
"""

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from numpy.typing import NDArray
from PIL import Image
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2

from bench.tiny_models import save_pipeline, tiny_pipeline, with_channels
from studio.cli.model_push import bucket_of, check_checkpoint, checked_manifest, upload
from studio.stack.connections import ObjectStoreConnection
from studio.stack.servers.s3 import url_of
from svc_models.domain.manifest import parse_manifest
from tests.cases.pushed_models import push, write_manifest
from tests.e2e.stage import Job, Person, Stage, create_request, until
from tests.factories.single_files import Weights, file_weights, save_single_file

_Pixels = NDArray[np.int64]
_DRAW: Final[Mapping[str, Any]] = {
    "width_px": 64,
    "height_px": 64,
    "step_count": 3,
    "seed": 7,
    "guidance_scale": 3.0,
}
_PROMPT: Final = "a red circle"
_UNET: Final = "model.diffusion_model."
# The bare pipeline encodes both prompts in one batch; sums differ in their last bits.
_ROUNDING: Final = 1


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A file of scaled float8, and the same weights multiplied by hand."""

    file: Weights
    by_hand: Weights


def _scaled(spelling: str, dtype: torch.dtype, *, by_output: bool = False) -> _Scaled:
    """Returns the weights of a tiny model with every matrix and kernel of its U-Net in float8."""
    weights = _single_file()
    scaled = _Scaled(dict(weights), dict(weights))
    if spelling == "scale_weight":
        scaled.file["scaled_fp8"] = torch.empty(0).to(dtype)
    for key in [key for key in weights if key.startswith(_UNET) and key.endswith(".weight") and weights[key].ndim > 1]:
        weight, layer = weights[key].numpy(), key.removesuffix(".weight")
        largest = np.abs(weight.reshape(len(weight), -1)).max(1) if by_output else np.abs(weight).max()
        scale = np.asarray(largest / torch.finfo(dtype).max, np.float32).reshape((-1, 1) if by_output else ())
        spread = scale.reshape((-1, *(1,) * (weight.ndim - 1)) if by_output else ())
        scaled.file[key] = torch.from_numpy(weight / spread).to(dtype)
        scaled.file[f"{layer}.{spelling}"] = torch.from_numpy(scale)
        scaled.file[f"{layer}.{'scale_input' if spelling == 'scale_weight' else 'input_scale'}"] = torch.tensor(0.25)
        if spelling == "weight_scale" and not by_output:
            note = json.dumps({"format": "float8_e4m3fn"}).encode()
            scaled.file[f"{layer}.comfy_quant"] = torch.tensor(list(note), dtype=torch.uint8)
        # In float64, where the product is exact, and rounded once.
        product = scaled.file[key].to(torch.float64).numpy() * spread.astype(np.float64)
        scaled.by_hand[key] = torch.from_numpy(product.astype(np.float32))
    return scaled


def _single_file() -> Weights:
    return file_weights(tiny_pipeline("sd15"), "sd15")


_SCALED: Final = {
    "comfy": _scaled("scale_weight", torch.float8_e4m3fn),
    "comfy-quant": _scaled("weight_scale", torch.float8_e4m3fn),
    "by-output": _scaled("weight_scale", torch.float8_e4m3fn, by_output=True),
    "e5m2": _scaled("scale_weight", torch.float8_e5m2),
}
_V: Final = {"prediction_type": "v_prediction"}
_ZERO_SNR: Final = {**_V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
_MARKED: Final[Mapping[str, tuple[Weights, Mapping[str, str], Mapping[str, Any]]]] = {
    "keys": ({"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, {}, _ZERO_SNR),
    "metadata": ({}, {"modelspec.prediction_type": "v"}, _V),
}


def _without(*prefixes: str) -> Weights:
    return {key: tensor for key, tensor in _single_file().items() if not key.startswith(prefixes)}


def _count(prefix: str) -> int:
    return sum(key.startswith(prefix) for key in _single_file())


_DECODER: Final = "first_stage_model.decoder."
_NO_DECODER: Final = (
    f"vae: {_count(_DECODER)} of its {_count('first_stage_model.')} tensors are missing, such as {_DECODER}"
)


def _model_folder(folder: Path, weights: Weights, metadata: Mapping[str, str] | None = None, **manifest: Any) -> Path:
    save_single_file(tiny_pipeline("sd15"), "sd15", folder, weights, metadata)
    write_manifest(folder, "sd15", **manifest)
    return folder


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("enterprise")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module", autouse=True)
def _pushed(studio: Stage, person: Person, folders: Path) -> None:
    """Pushes every model of these cases, so that one look of the catalogue finds them all."""
    good: dict[str, Path] = {"plain": _model_folder(folders / "plain", _single_file())}
    half = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in _single_file().items() if key.startswith(_UNET)}
    good["float8"] = _model_folder(folders / "float8", _single_file() | half)
    by_hand = {key: tensor.float() for key, tensor in half.items()}
    good["float8-by-hand"] = _model_folder(folders / "float8-by-hand", _single_file() | by_hand)
    for name, scaled in _SCALED.items():
        good[name] = _model_folder(folders / f"scaled-{name}", scaled.file)
        good[f"{name}-by-hand"] = _model_folder(folders / f"scaled-{name}-by-hand", scaled.by_hand)
    for name, (keys, metadata, _) in _MARKED.items():
        good[name] = _model_folder(folders / f"marked-{name}", _single_file() | keys, metadata)
    endless = {f"{_UNET}out.2.bias": torch.full((4,), torch.nan)}
    good["endless"] = _model_folder(folders / "endless", _single_file() | endless)
    for folder in good.values():
        # What the command does, without the second that it takes to start one.
        check_checkpoint(folder, checked_manifest(folder))
        _put(studio, folder)
    faulty = [
        _model_folder(folders / "without-text-encoder", _without("cond_stage_model.")),
        _model_folder(folders / "without-decoder", _without(_DECODER)),
        _inpainting(folders / "for-inpainting"),
    ]
    for folder in faulty:
        _put(studio, folder)
    for folder in (*good.values(), *faulty):
        path, headers = f"/api/v1/models/{folder.name}", dict(person.metadata)
        until(
            lambda path=path, headers=headers: studio.http.get(path, headers=headers).status_code == httpx.codes.OK,
            f"the catalogue to have {folder.name}",
        )


def _inpainting(folder: Path, **manifest: Any) -> Path:
    save_pipeline(with_channels(tiny_pipeline("sd15"), 9), folder)
    write_manifest(folder, "sd15", **manifest)
    return folder


def _put(stage: Stage, folder: Path) -> None:
    """Puts a model into the bucket without the checks of a push, as releases before them did."""
    secrets = stage.fleet.secrets
    connection = ObjectStoreConnection(url_of(stage.fleet.layout), secrets.s3_access_key, secrets.s3_secret_key)
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    upload(bucket_of(connection), folder, manifest, lambda _: None)


def _ended(person: Person, model_id: str) -> Job:
    request = create_request(_PROMPT, model_id=model_id, **_DRAW)
    job = person.generation.CreateJob(request, timeout=30, metadata=person.metadata)
    return person.end_of(job.job_id, within_seconds=60)


def _drawn(person: Person, model_id: str) -> _Pixels:
    ended = _ended(person, model_id)
    assert ended.state == job_pb2.JOB_STATE_COMPLETED, ended.failure
    return np.asarray(Image.open(io.BytesIO(httpx.get(ended.images[0].url).content))).astype(np.int64)


@pytest.mark.parametrize("name", _SCALED)
def test_scaled_float8_draws_what_weights_multiplied_by_hand_draw(person: Person, name: str) -> None:
    picture = _drawn(person, f"scaled-{name}")
    assert np.array_equal(picture, _drawn(person, f"scaled-{name}-by-hand"))
    # Float8 has 3 bits behind the point or 2; what is left of the picture is near it.
    assert np.abs(picture - _drawn(person, "plain")).mean() < 20


def test_float8_without_scales_draws_what_its_numbers_draw(person: Person) -> None:
    assert np.array_equal(_drawn(person, "float8"), _drawn(person, "float8-by-hand"))


@pytest.mark.parametrize("name", _MARKED)
def test_marked_checkpoint_is_sampled_as_marked(person: Person, folders: Path, name: str) -> None:
    pipe = tiny_pipeline("sd15")
    assert pipe.scheduler.config.prediction_type == "epsilon"
    # From the file beside the checkpoint: what a file leaves out has other defaults.
    config = folders / f"marked-{name}" / "config" / "scheduler"
    pipe.scheduler = EulerDiscreteScheduler.from_pretrained(config, **_MARKED[name][2])
    configured = pipe.scheduler.config
    assert {key: configured[key] for key in _MARKED[name][2]} == _MARKED[name][2]
    pipe.set_progress_bar_config(disable=True)
    bare = pipe(
        _PROMPT,
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    picture = _drawn(person, f"marked-{name}")
    assert np.abs(picture - (bare * 255).round()).max() <= _ROUNDING
    assert np.abs(picture - _drawn(person, "plain")).mean() > 10 * _ROUNDING


@pytest.mark.parametrize(
    ("model_id", "problem"),
    [
        ("without-text-encoder", "the text_encoder is missing"),
        ("without-decoder", _NO_DECODER),
        ("for-inpainting", "the inputs of its denoiser are for inpaint, and not for text_to_image"),
        ("endless", "unet: 1 weights hold numbers that are not finite, such as conv_out.bias"),
    ],
)
def test_job_of_a_faulty_model_says_whose_fault_it_is_and_costs_nothing(
    studio: Stage, model_id: str, problem: str
) -> None:
    person = studio.person("pro")
    before = person.balance()
    ended = _ended(person, model_id)
    assert ended.state == job_pb2.JOB_STATE_FAILED
    assert ended.failure.reason == error_reason_pb2.ERROR_REASON_MODEL_UNUSABLE
    assert f"The model {model_id} can't draw: its files are faulty" in ended.failure.message
    assert "Choose another model" in ended.failure.message
    assert "parameters" not in ended.failure.message.replace("no parameters change that", "")
    assert ended.attempt == 1
    assert person.balance() == before
    log = "".join(path.read_text() for path in studio.fleet.layout.logs.glob("*worker*.log"))
    assert any(model_id in line and problem in line for line in log.splitlines() if "model.unusable" in line)


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _overlapping(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    first, second = sorted(
        (name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"]
    )[:2]
    size = header[second]["data_offsets"][1] - header[second]["data_offsets"][0]
    header[second]["data_offsets"] = [0, size]
    assert header[first]["data_offsets"][0] == 0
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def _pickled(folder: Path) -> None:
    torch.save({"a": torch.ones(3)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_short, "model.safetensors is cut short: "),
        (_overlapping, "model.safetensors has a lying header: "),
        (_pickled, "model.safetensors is no safetensors file but a pickle of torch"),
    ],
)
def test_damaged_file_is_refused_at_the_push(
    studio: Stage, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = _model_folder(tmp_path / "damaged", _single_file())
    damage(folder)
    write_manifest(folder, "sd15")
    said = push(studio, folder)
    assert said.returncode != 0
    assert message in said.stderr


@pytest.mark.parametrize(
    ("weights", "messages"),
    [
        (
            _without("cond_stage_model."),
            ["the text_encoder is missing: model.safetensors has no cond_stage_model.transformer.text_model.*"],
        ),
        (_without("first_stage_model."), ["the vae is missing: model.safetensors has no first_stage_model.*"]),
        (
            _without(_DECODER, f"{_UNET}out."),
            [
                _NO_DECODER,
                f"unet: 4 of its {_count(_UNET)} tensors are missing, such as {_UNET}out.0.weight, {_UNET}out.0.bias,",
            ],
        ),
        (
            {**_single_file(), f"{_UNET}extra.weight": torch.ones(2), "stranger": torch.ones(1)},
            [
                f"unet: 1 tensors are not of the model, such as {_UNET}extra.weight",
                "model.safetensors has 1 tensors that are of no part of the model, such as stranger",
            ],
        ),
        (
            {**_single_file(), f"{_UNET}out.2.bias": torch.ones(5)},
            [
                f"unet: 1 tensors have another shape than its config says, such as {_UNET}out.2.bias with [5] instead of [4]"
            ],
        ),
        (
            {**_single_file(), f"{_UNET}out.2.weight_scale_inv": torch.ones(1, 1)},
            ["holds float8 with a scale for each block (weight_scale_inv), which isn't supported"],
        ),
        (
            {**_single_file(), "ztsnr": torch.tensor([])},
            ["says zero terminal SNR (ztsnr), which needs v-prediction"],
        ),
    ],
    ids=["text-encoder", "vae", "some", "unknown", "shape", "blocks", "contradiction"],
)
def test_checkpoint_that_is_no_whole_model_is_refused_at_the_push(
    studio: Stage, tmp_path: Path, weights: Weights, messages: list[str]
) -> None:
    said = push(studio, _model_folder(tmp_path / "broken", weights))
    assert said.returncode != 0
    for message in messages:
        assert message in said.stderr


def test_channels_decide_the_operations_at_the_push(studio: Stage, tmp_path: Path) -> None:
    said = push(studio, _inpainting(tmp_path / "inpainting"))
    assert said.returncode != 0
    assert "the unet takes 9 channels where 4 are those of its latents, so it is for inpaint alone" in said.stderr
    assert "take image_to_image, text_to_image out of the manifest's operations" in said.stderr
    said = push(studio, _inpainting(tmp_path / "inpainting-alone", operations=["inpaint"]))
    assert said.returncode == 0, said.stderr


def test_config_for_inpainting_beside_a_usual_file_is_refused_at_the_push(studio: Stage, tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "mixed", _single_file(), operations=["inpaint"])
    path = folder / "config" / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "in_channels": 9}))
    write_manifest(folder, "sd15", operations=["inpaint"])
    said = push(studio, folder)
    assert said.returncode != 0
    assert f"such as {_UNET}input_blocks.0.0.weight with [16, 4, 3, 3] instead of [16, 9, 3, 3]" in said.stderr
