"""LoRAs as people publish them, from the push to the picture, against models whose weights were changed by hand.

The kinds were reported for other programs: alpha of each module (huggingface/diffusers#14409), DoRA in kohya's names
(huggingface/diffusers#7366), LoKr and peft's names (Comfy-Org/ComfyUI#9753), modules that match nothing
(Comfy-Org/ComfyUI#1144), text encoders without out_proj (kohya-ss/sd-webui-additional-networks#188).
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pingvas.generation.v1 import job_pb2
from safetensors.torch import save_file

from bench.tiny_models import save_pipeline, tiny_pipeline
from gpu_worker.pictures.recipe import recipe_of_png
from tests.cases.pushed_models import push, pushed, write_manifest
from tests.e2e.stage import Person, Stage, create_request
from tests.factories.lora_kinds import KindOfLora, dora, lokr, lora

_Pixels = NDArray[np.int64]
_Makes = Callable[[torch.Tensor, torch.Generator], KindOfLora]
_UNET: Final = [
    f"{block}.transformer_blocks.0.{attention}.{layer}"
    for block in ("down_blocks.1.attentions.0", "up_blocks.0.attentions.1", "mid_block.attentions.0")
    for attention in ("attn1", "attn2")
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
]
_TEXT: Final = [f"encoder.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")]
_DRAW: Final[Mapping[str, Any]] = {
    "width_px": 64,
    "height_px": 64,
    "step_count": 3,
    "seed": 7,
    "guidance_scale": 3.0,
}
# A LoRA beside a layer and a changed weight round differently in float32; the LoRAs change pictures by tens of levels.
_ROUNDING: Final = 1


def _of_ranks_and_alphas() -> _Makes:
    """Makes LoRAs of which each has another rank and alpha than the one before."""
    made = iter(range(1000))

    def make(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
        number = next(made)
        return lora(weight, generator, rank=1 + number % 4, alpha=(4.0, 0.5, 1.0)[number % 3])

    return make


def _kohya(part: str, layer: str) -> str:
    return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + layer.replace(".", "_")


def _peft(_part: str, layer: str) -> str:
    return f"base_model.model.{layer}"


def _in_peft_s_names(weight: torch.Tensor, generator: torch.Generator) -> KindOfLora:
    own = lora(weight, generator, alpha=None)
    names = {"lora_A.weight": own.tensors["lora_down.weight"], "lora_B.weight": own.tensors["lora_up.weight"]}
    return KindOfLora(names, own.changed)


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("enterprise")


@pytest.fixture(scope="module")
def base(studio: Stage, person: Person, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model that LoRAs are applied to."""
    return _pushed_model(studio, person, tmp_path_factory.mktemp("base") / "lora-base", tiny_pipeline("sd15"))


def _pushed_model(studio: Stage, person: Person, folder: Path, pipe: Any) -> str:
    save_pipeline(pipe, folder)
    write_manifest(folder, "sd15")
    return pushed(studio, person, folder)


def _lora_folder(folder: Path, family: str, tensors: Mapping[str, torch.Tensor]) -> Path:
    folder.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "lora.safetensors")
    write_manifest(folder, family, is_lora=True)
    return folder


def _job_image(person: Person, model_id: str, *loras: str) -> tuple[job_pb2.JobImage, bytes]:
    uses = [job_pb2.LoraWeight(model_id=lora_id) for lora_id in loras]
    request = create_request("a red circle", model_id=model_id, loras=uses, **_DRAW)
    job = person.generation.CreateJob(request, timeout=30, metadata=person.metadata)
    ended = person.end_of(job.job_id, within_seconds=60)
    assert ended.state == job_pb2.JOB_STATE_COMPLETED, ended.failure
    return ended.images[0], httpx.get(ended.images[0].url).content


def _drawn(person: Person, model_id: str, *loras: str) -> tuple[_Pixels, bytes]:
    image, png = _job_image(person, model_id, *loras)
    assert not image.partial_loras
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64), png


@pytest.mark.parametrize(
    ("name", "part", "layers", "make", "name_of"),
    [
        ("alphas", "unet", _UNET, _of_ranks_and_alphas(), _kohya),
        ("dora", "unet", _UNET, dora, _kohya),
        ("lokr", "unet", _UNET, lokr, _kohya),
        ("peft", "unet", _UNET, _in_peft_s_names, _peft),
        ("text", "text_encoder", _TEXT, lora, _kohya),
    ],
)
def test_lora_draws_what_weights_changed_by_hand_draw(
    studio: Stage,
    person: Person,
    base: str,
    tmp_path: Path,
    name: str,
    part: str,
    layers: list[str],
    make: _Makes,
    name_of: Callable[[str, str], str],
) -> None:
    pipe, generator = tiny_pipeline("sd15"), torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}
    for layer in layers:
        weight = getattr(pipe, part).get_submodule(layer).weight
        own = make(weight.detach(), generator)
        tensors |= {f"{name_of(part, layer)}.{end}": tensor for end, tensor in own.tensors.items()}
        weight.data = own.changed.float()
    lora_folder = _lora_folder(tmp_path / f"lora-{name}", "sd15", tensors)
    # Pushed before the model, so that one look of the catalogue finds both.
    assert push(studio, lora_folder).returncode == 0
    by_hand = _pushed_model(studio, person, tmp_path / f"by-hand-{name}", pipe)
    lora_id = pushed(studio, person, lora_folder)
    picture, png = _drawn(person, base, lora_id)
    assert np.abs(picture - _drawn(person, by_hand)[0]).max() <= _ROUNDING
    assert np.abs(picture - _drawn(person, base)[0]).max() > 20 * _ROUNDING
    (entry,) = recipe_of_png(png)["loras"]
    assert (entry["applied_modules"], entry["total_modules"]) == (len(layers), len(layers))


def test_lora_of_which_half_is_unknown_says_so(studio: Stage, person: Person, base: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(_UNET):
        own = lora(tiny_pipeline("sd15").unet.get_submodule(layer).weight.detach(), generator)
        module = _kohya("unet", layer) if number % 2 == 0 else f"lora_unet_elsewhere_{number}"
        tensors |= {f"{module}.{end}": tensor for end, tensor in own.tensors.items()}
    folder = _lora_folder(tmp_path / "lora-half", "sd15", tensors)
    said = push(studio, folder)
    assert said.returncode == 0, said.stderr
    assert "12 of its 24 modules match nothing in models of the family sd15" in said.stdout
    assert "lora_unet_elsewhere_1, " in said.stdout
    image, png = _job_image(person, base, pushed(studio, person, folder))
    (entry,) = recipe_of_png(png)["loras"]
    assert (entry["applied_modules"], entry["total_modules"]) == (12, 24)
    (told,) = image.partial_loras
    assert (told.model_id, told.applied_module_count, told.total_module_count) == ("lora-half", 12, 24)


@pytest.mark.parametrize(
    ("name", "shapes", "message"),
    [
        ("oft", {"lora_unet_mid_block_attentions_0_proj_in.oft_blocks": (2, 4, 4)}, "OFT"),
        ("none", {"lora_unet_elsewhere.diff": (4, 4)}, "has nothing for models of the family sd15"),
        (
            "xl",
            {
                "lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_down.weight": (4, 1280),
                "lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_up.weight": (5120, 4),
            },
            "Stable Diffusion XL, the family sdxl",
        ),
    ],
)
def test_lora_that_can_t_be_applied_is_refused_at_the_push(
    studio: Stage, tmp_path: Path, name: str, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    tensors = {key: torch.ones(shape) for key, shape in shapes.items()}
    said = push(studio, _lora_folder(tmp_path / f"lora-{name}", "sd15", tensors))
    assert said.returncode != 0
    assert message in said.stderr
