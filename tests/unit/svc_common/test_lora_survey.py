"""What a push is told about a LoRA, from names and shapes alone."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from safetensors.numpy import save_file

from svc_common.lora_files.header import LoraFileError
from svc_common.lora_files.survey import LoraSurvey, survey

_ATTENTION: Final = "transformer_blocks_0_attn"
# Names and sides (out, in) of layers of the published models.
_SD15: Final = {
    f"lora_unet_down_blocks_0_attentions_0_{_ATTENTION}1_to_q": (320, 320),
    f"lora_unet_down_blocks_0_attentions_0_{_ATTENTION}2_to_k": (320, 768),
    f"lora_unet_mid_block_attentions_0_{_ATTENTION}2_to_v": (1280, 768),
    "lora_te_text_model_encoder_layers_11_mlp_fc1": (3072, 768),
}
_SD2: Final = {
    f"lora_unet_down_blocks_0_attentions_0_{_ATTENTION}1_to_q": (320, 320),
    f"lora_unet_down_blocks_0_attentions_0_{_ATTENTION}1_to_k": (320, 320),
    f"lora_unet_down_blocks_0_attentions_0_{_ATTENTION}2_to_k": (320, 1024),
    f"lora_unet_mid_block_attentions_0_{_ATTENTION}2_to_v": (1280, 1024),
}
_SDXL: Final = {
    "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q": (640, 640),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (640, 2048),
    "lora_unet_middle_block_1_transformer_blocks_9_attn2_to_v": (1280, 2048),
    "lora_te2_text_model_encoder_layers_31_mlp_fc1": (5120, 1280),
}
_FLUX: Final = {
    "lora_unet_double_blocks_18_img_attn_qkv": (9216, 3072),
    "lora_unet_single_blocks_37_linear1": (21504, 3072),
    "lora_unet_single_blocks_37_linear2": (3072, 15360),
}
_ZIMAGE: Final = {
    "diffusion_model.layers.29.attention.to_q": (3840, 3840),
    "diffusion_model.layers.29.attention.qkv": (11520, 3840),
    "diffusion_model.layers.29.adaLN_modulation.0": (15360, 256),
}
_FILES: Final = {"sd15": _SD15, "sdxl": _SDXL, "flux": _FLUX, "zimage": _ZIMAGE}


def _surveyed(folder: Path, family: str, modules: dict[str, tuple[int, int]], **more: tuple[int, ...]) -> LoraSurvey:
    path = folder / "lora.safetensors"
    tensors = {}
    for name, (outputs, inputs) in modules.items():
        tensors |= {f"{name}.lora_down.weight": (2, inputs), f"{name}.lora_up.weight": (outputs, 2)}
    save_file({key: np.zeros(shape, np.float16) for key, shape in {**tensors, **more}.items()}, path)
    return survey(path, family)


@pytest.mark.parametrize("family", _FILES)
def test_lora_of_the_published_model_is_known_whole(tmp_path: Path, family: str) -> None:
    surveyed = _surveyed(tmp_path, family, _FILES[family])
    assert (len(surveyed.matched), surveyed.unmatched) == (len(_FILES[family]), ())


@pytest.mark.parametrize("family", _FILES)
@pytest.mark.parametrize("claimed", [*_FILES, "tiny"])
def test_lora_of_another_family_is_refused_with_its_family(tmp_path: Path, family: str, claimed: str) -> None:
    if family == claimed:
        claimed = "tiny"
    with pytest.raises(LoraFileError, match=f"the family {family}:"):
        _surveyed(tmp_path, claimed, _FILES[family])


def test_small_lora_of_xl_is_told_by_its_names(tmp_path: Path) -> None:
    with pytest.raises(LoraFileError, match="the family sdxl:"):
        _surveyed(tmp_path, "sd15", dict.fromkeys(_SDXL, (32, 32)))


def test_models_of_other_sizes_have_loras_too(tmp_path: Path) -> None:
    assert not _surveyed(tmp_path, "sd15", dict.fromkeys(_SD15, (32, 32))).unmatched
    assert not _surveyed(tmp_path, "tiny", dict.fromkeys(_SD15, (32, 32))).unmatched


def test_lora_of_stable_diffusion_2_is_refused_by_the_shape_that_differs(tmp_path: Path) -> None:
    with pytest.raises(LoraFileError, match=r"attn2_to_k with \[320, 1024\] instead of \[320, 768\]"):
        _surveyed(tmp_path, "sd15", _SD2)


def test_what_matches_nothing_is_listed(tmp_path: Path) -> None:
    surveyed = _surveyed(tmp_path, "sd15", {**_SD15, "lora_unet_elsewhere_0": (320, 320)}, what=(3,))
    assert surveyed.unmatched == ("lora_unet_elsewhere_0", "what")
    with pytest.raises(LoraFileError, match="has nothing for models of the family sd15, but lora_unet_elsewhere_0"):
        _surveyed(tmp_path, "sd15", {"lora_unet_elsewhere_0": (320, 320)})


def test_families_without_loras_have_none(tmp_path: Path) -> None:
    with pytest.raises(LoraFileError, match="family sd_x4, which have no LoRAs"):
        _surveyed(tmp_path, "sd_x4", _SD15)


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(b"not one")
    with pytest.raises(LoraFileError, match="can't be read"):
        survey(path, "sd15")
