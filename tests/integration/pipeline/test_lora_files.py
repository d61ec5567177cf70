"""LoRAs as people publish them, in every kind and under every name, against weights that were changed by hand."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors.torch import save_file

from bench.tiny_models import tiny_pipeline
from gpu_worker.models.files import ModelSpec, list_files
from gpu_worker.render.families.lora_layers import LoraLayers
from gpu_worker.render.families.loras import LoraAdapters
from gpu_worker.render.interface import LoraMismatchError, LoraUse
from tests.factories.lora_kinds import CONVOLUTIONS, KINDS, KindOfLora, Tensors, lora

_ATTENTION: Final = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
_LINEAR: Final = {
    "sd15": ("unet", f"{_ATTENTION}.to_q", f"lora_unet_{_ATTENTION.replace('.', '_')}_to_q"),
    "sdxl": ("text_encoder_2", "text_model.encoder.layers.1.mlp.fc1", "lora_te2_text_model_encoder_layers_1_mlp_fc1"),
    "flux": ("transformer", "transformer_blocks.0.ff.net.0.proj", "lora_unet_double_blocks_0_img_mlp_0"),
    "zimage": ("transformer", "layers.0.feed_forward.w2", "lora_unet_layers_0_feed_forward_w2"),
    "tiny": ("text_encoder", "encoder.layers.0.mlp.fc2", "lora_te_text_model_encoder_layers_0_mlp_fc2"),
}
# A file's name of a module, and the layers that it changes, the rows of each after the other's.
_SD: Final = {
    f"unet.{_ATTENTION}.to_q": ("unet", f"{_ATTENTION}.to_q"),
    f"base_model.model.{_ATTENTION}.to_q": ("unet", f"{_ATTENTION}.to_q"),
    f"base_model.model.unet.{_ATTENTION}.to_k": ("unet", f"{_ATTENTION}.to_k"),
    f"{_ATTENTION}.to_v": ("unet", f"{_ATTENTION}.to_v"),
    f"lycoris_{_ATTENTION.replace('.', '_')}_to_v": ("unet", f"{_ATTENTION}.to_v"),
    f"lora_unet_{_ATTENTION.replace('.', '_')}_to_out_0": ("unet", f"{_ATTENTION}.to_out.0"),
    "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_q": ("unet", f"{_ATTENTION}.to_q"),
    "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q": ("unet", f"{_ATTENTION}.to_q"),
    "lora_unet_input_blocks_2_0_op": ("unet", "down_blocks.0.downsamplers.0.conv"),
    "lora_unet_input_blocks_3_0_skip_connection": ("unet", "down_blocks.1.resnets.0.conv_shortcut"),
    "lora_unet_middle_block_2_in_layers_2": ("unet", "mid_block.resnets.1.conv1"),
    "lora_unet_middle_block_1_proj_in": ("unet", "mid_block.attentions.0.proj_in"),
    "lora_unet_output_blocks_1_1_proj_out": ("unet", "up_blocks.0.attentions.1.proj_out"),
    "lora_unet_output_blocks_1_2_conv": ("unet", "up_blocks.0.upsamplers.0.conv"),
    "lora_unet_output_blocks_2_0_emb_layers_1": ("unet", "up_blocks.1.resnets.0.time_emb_proj"),
    "lora_unet_time_embed_2": ("unet", "time_embedding.linear_2"),
    "lora_unet_out_2": ("unet", "conv_out"),
    "lora_te_text_model_encoder_layers_1_self_attn_q_proj": ("text_encoder", "encoder.layers.1.self_attn.q_proj"),
    "lora_te_encoder_layers_1_self_attn_v_proj": ("text_encoder", "encoder.layers.1.self_attn.v_proj"),
    "text_encoder.text_model.encoder.layers.0.mlp.fc1": ("text_encoder", "encoder.layers.0.mlp.fc1"),
    "base_model.model.text_model.encoder.layers.0.mlp.fc2": ("text_encoder", "encoder.layers.0.mlp.fc2"),
}
_NAMES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "sd15": _SD,
    "sdxl": {
        "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k": (
            "unet",
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        ),
        "lora_unet_label_emb_0_0": ("unet", "add_embedding.linear_1"),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": ("text_encoder", "encoder.layers.0.mlp.fc1"),
        "text_encoder_2.text_model.encoder.layers.0.mlp.fc1": ("text_encoder_2", "text_model.encoder.layers.0.mlp.fc1"),
        "base_model.model.encoder.layers.0.mlp.fc1": ("text_encoder_2", "text_model.encoder.layers.0.mlp.fc1"),
        "lora_te2_text_projection": ("text_encoder_2", "text_projection"),
        "lora_te2_transformer_resblocks_1_mlp_c_fc": ("text_encoder_2", "text_model.encoder.layers.1.mlp.fc1"),
        "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj": (
            "text_encoder_2",
            *(f"text_model.encoder.layers.1.self_attn.{letter}_proj" for letter in "qkv"),
        ),
    },
    "flux": {
        "transformer.transformer_blocks.0.attn.to_q": ("transformer", "transformer_blocks.0.attn.to_q"),
        "lora_transformer_single_transformer_blocks_0_attn_to_k": (
            "transformer",
            "single_transformer_blocks.0.attn.to_k",
        ),
        "diffusion_model.double_blocks.0.img_attn.qkv": (
            "transformer",
            *(f"transformer_blocks.0.attn.to_{letter}" for letter in "qkv"),
        ),
        "lora_unet_double_blocks_0_txt_attn_qkv": (
            "transformer",
            *(f"transformer_blocks.0.attn.add_{letter}_proj" for letter in "qkv"),
        ),
        "lora_unet_single_blocks_0_linear1": (
            "transformer",
            *(f"single_transformer_blocks.0.attn.to_{letter}" for letter in "qkv"),
            "single_transformer_blocks.0.proj_mlp",
        ),
        "lora_unet_single_blocks_0_linear2": ("transformer", "single_transformer_blocks.0.proj_out"),
        "lora_unet_double_blocks_0_txt_mod_lin": ("transformer", "transformer_blocks.0.norm1_context.linear"),
        "lora_unet_single_blocks_0_modulation_lin": ("transformer", "single_transformer_blocks.0.norm.linear"),
        "lora_unet_txt_in": ("transformer", "context_embedder"),
        "lora_unet_guidance_in_out_layer": ("transformer", "time_text_embed.guidance_embedder.linear_2"),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": ("text_encoder", "encoder.layers.0.mlp.fc1"),
        "lora_te2_encoder_block_0_layer_0_SelfAttention_q": (
            "text_encoder_2",
            "encoder.block.0.layer.0.SelfAttention.q",
        ),
        "lora_te3_encoder_block_0_layer_1_DenseReluDense_wo": (
            "text_encoder_2",
            "encoder.block.0.layer.1.DenseReluDense.wo",
        ),
    },
    "zimage": {
        "diffusion_model.layers.0.attention.to_q": ("transformer", "layers.0.attention.to_q"),
        "diffusion_model.layers.0.attention.qkv": (
            "transformer",
            *(f"layers.0.attention.to_{letter}" for letter in "qkv"),
        ),
        "lora_unet_layers_0_attention_out": ("transformer", "layers.0.attention.to_out.0"),
        "base_model.model.context_refiner.0.feed_forward.w3": ("transformer", "context_refiner.0.feed_forward.w3"),
        "diffusion_model.layers.0.adaLN_modulation.0": ("transformer", "layers.0.adaLN_modulation.0"),
        "text_encoder.model.layers.1.mlp.down_proj": ("text_encoder", "layers.1.mlp.down_proj"),
        "lora_te1_layers_0_self_attn_o_proj": ("text_encoder", "layers.0.self_attn.o_proj"),
    },
}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.fixture
def applied(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Applies the tensors of a file to a tiny pipeline, which must be as it was when the LoRA is switched off."""
    folder = tmp_path / "loras" / "lora" / "1"
    folder.mkdir(parents=True)
    done: list[tuple[LoraAdapters, dict[str, torch.Tensor], LoraLayers]] = []

    def apply(
        pipe: Any, family: str, tensors: Tensors, *, weight: float = 1.0, metadata: dict[str, str] | None = None
    ) -> LoraAdapters:
        before = {name: tensor.clone() for name, tensor in _state(pipe).items()}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "l.safetensors", metadata)
        adapters = LoraAdapters(pipe, family, tmp_path / "loras", torch.no_grad())
        done.append((adapters, before, adapters._layers))
        adapters.apply([LoraUse(ModelSpec("lora", "1", family, list_files(folder)), weight)])
        return adapters

    yield apply
    for adapters, before, layers in done:
        adapters.apply([])
        now = {f"{part}.{name}": module.weight for (part, name), module in layers._layers.items()}
        assert all(torch.equal(now[name.removesuffix(".weight")], value) for name, value in before.items())


def _state(pipe: Any) -> dict[str, torch.Tensor]:
    parts = ("unet", "transformer", "text_encoder", "text_encoder_2")
    return {
        f"{part}.{name}.weight": module.weight
        for part in parts
        if (network := pipe.components.get(part)) is not None
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter)
    }


def _expect(layer: Any, changed: torch.Tensor, bias_change: torch.Tensor | None = None) -> None:
    """Checks what a layer computes against the weight that it should have."""
    base = getattr(layer, "base_layer", layer)
    bias = None if base.bias is None else base.bias.double()
    if isinstance(base, torch.nn.Linear):
        entry = torch.randn((5, changed.shape[1]))
        right = torch.nn.functional.linear(entry.double(), changed, bias)
    else:
        entry = torch.randn((2, changed.shape[1], 6, 6))
        right = torch.nn.functional.conv2d(entry.double(), changed, bias, base.stride, base.padding)
    with torch.no_grad():
        torch.testing.assert_close(layer(entry).double(), right, rtol=1e-5, atol=1e-5)
    assert bias_change is None or bias is not None


def _keys(module: str, kind: KindOfLora) -> Tensors:
    return {f"{module}.{end}": tensor for end, tensor in kind.tensors.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", _LINEAR)
def test_every_kind_changes_a_layer_as_its_formula_says(
    applied: Callable[..., Any], generator: torch.Generator, family: str, kind: str
) -> None:
    pipe = tiny_pipeline(family)
    part, name, module = _LINEAR[family]
    layer = getattr(pipe, part).get_submodule(name)
    own = KINDS[kind](layer.weight.detach(), generator)
    tensors = _keys(module, own)
    if own.bias_change is not None and layer.bias is None:
        del tensors[f"{module}.diff_b"]
    bias = None if layer.bias is None else layer.bias.detach().clone()
    applied(pipe, family, tensors)
    _expect(getattr(pipe, part).get_submodule(name), own.changed, own.bias_change if bias is not None else None)
    if own.bias_change is not None and bias is not None:
        torch.testing.assert_close(layer.bias.double(), bias.double() + own.bias_change)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("name", ["down_blocks.1.resnets.0.conv1", "conv_in", "mid_block.attentions.0.proj_in"])
def test_every_kind_changes_a_convolution_as_its_formula_says(
    applied: Callable[..., Any], generator: torch.Generator, name: str, kind: str
) -> None:
    pipe = tiny_pipeline("sd15")
    weight = pipe.unet.get_submodule(name).weight.detach()
    own = CONVOLUTIONS[kind](weight, generator)
    applied(pipe, "sd15", _keys(f"lora_unet_{name.replace('.', '_')}", own))
    _expect(pipe.unet.get_submodule(name), own.changed)


@pytest.mark.parametrize(
    ("family", "module", "layers"),
    [(family, module, layers) for family, names in _NAMES.items() for module, layers in names.items()],
)
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_every_name_reaches_its_layers(
    applied: Callable[..., Any],
    generator: torch.Generator,
    family: str,
    module: str,
    layers: tuple[str, ...],
    kind: str,
) -> None:
    pipe = tiny_pipeline(family)
    network = getattr(pipe, layers[0])
    own = KINDS[kind](torch.cat([network.get_submodule(name).weight.detach() for name in layers[1:]]), generator)
    applied(pipe, family, _keys(module, own))
    row = 0
    for name in layers[1:]:
        count = len(network.get_submodule(name).weight)
        _expect(network.get_submodule(name), own.changed[row : row + count])
        row += count


@pytest.mark.parametrize(
    ("module", "down", "up", "layers"),
    [
        (f"unet.{_ATTENTION}.processor", "to_q_lora.down.weight", "to_q_lora.up.weight", f"unet {_ATTENTION}.to_q"),
        (
            f"unet.{_ATTENTION}.processor",
            "to_out_lora.down.weight",
            "to_out_lora.up.weight",
            f"unet {_ATTENTION}.to_out.0",
        ),
        (f"unet.{_ATTENTION}.to_k", "lora.down.weight", "lora.up.weight", f"unet {_ATTENTION}.to_k"),
        (f"unet.{_ATTENTION}.to_k", "lora_A.default.weight", "lora_B.default.weight", f"unet {_ATTENTION}.to_k"),
        (f"base_model.model.{_ATTENTION}.to_k", "lora_A", "lora_B", f"unet {_ATTENTION}.to_k"),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn",
            "to_out_lora.down.weight",
            "to_out_lora.up.weight",
            "text_encoder encoder.layers.0.self_attn.out_proj",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn",
            "q_proj.lora_linear_layer.down.weight",
            "q_proj.lora_linear_layer.up.weight",
            "text_encoder encoder.layers.0.self_attn.q_proj",
        ),
    ],
)
def test_every_naming_of_matrices_is_known(
    applied: Callable[..., Any], generator: torch.Generator, module: str, down: str, up: str, layers: str
) -> None:
    pipe = tiny_pipeline("sd15")
    part, name = layers.split()
    network = getattr(pipe, part)
    own = lora(network.get_submodule(name).weight.detach(), generator, alpha=None)
    tensors = {f"{module}.{down}": own.tensors["lora_down.weight"], f"{module}.{up}": own.tensors["lora_up.weight"]}
    applied(pipe, "sd15", tensors)
    _expect(network.get_submodule(name), own.changed)


@pytest.mark.parametrize(
    ("module", "part", "layers"),
    [
        ("double_blocks.0.processor.qkv_lora1", "transformer_blocks.0.attn.to_{}", "qkv"),
        ("double_blocks.0.processor.qkv_lora2", "transformer_blocks.0.attn.add_{}_proj", "qkv"),
        ("double_blocks.0.processor.proj_lora2", "transformer_blocks.0.attn.{}", ("to_add_out",)),
        ("single_blocks.0.processor.qkv_lora", "single_transformer_blocks.0.attn.to_{}", "qkv"),
        ("single_blocks.0.processor.proj_lora", "single_transformer_blocks.0.{}", ("proj_out",)),
    ],
)
def test_xlabs_loras_reach_their_layers(
    applied: Callable[..., Any], generator: torch.Generator, module: str, part: str, layers: Any
) -> None:
    pipe = tiny_pipeline("flux")
    names = [part.format(layer) for layer in layers]
    own = lora(
        torch.cat([pipe.transformer.get_submodule(name).weight.detach() for name in names]), generator, alpha=None
    )
    tensors = {f"{module}.{way}.weight": own.tensors[f"lora_{way}.weight"] for way in ("down", "up")}
    applied(pipe, "flux", tensors)
    for name, changed in zip(names, own.changed.chunk(len(names)), strict=True):
        _expect(pipe.transformer.get_submodule(name), changed)


def test_black_forest_labs_final_modulation_has_shift_before_scale(
    applied: Callable[..., Any], generator: torch.Generator
) -> None:
    pipe = tiny_pipeline("flux")
    layer = pipe.transformer.norm_out.linear
    theirs = torch.cat(layer.weight.detach().chunk(2)[::-1])
    own = lora(theirs, generator)
    applied(pipe, "flux", _keys("lora_unet_final_layer_adaLN_modulation_1", own))
    _expect(layer, torch.cat(own.changed.chunk(2)[::-1]))


def test_each_module_has_its_own_alpha_and_rank(applied: Callable[..., Any], generator: torch.Generator) -> None:
    pipe = tiny_pipeline("sd15")
    right, tensors = {}, {}
    for number, letter in enumerate("qkv"):
        name = f"{_ATTENTION}.to_{letter}"
        weight = pipe.unet.get_submodule(name).weight.detach()
        right[name] = lora(weight, generator, rank=1 + number, alpha=0.5 * 4**number)
        tensors |= _keys("lora_unet_" + name.replace(".", "_"), right[name])
    applied(pipe, "sd15", tensors)
    for name, own in right.items():
        _expect(pipe.unet.get_submodule(name), own.changed)


@pytest.mark.parametrize("weight", [0.5, -1.0, 2.0])
@pytest.mark.parametrize("kind", ["lora", "dora", "lokr", "full"])
def test_weight_of_a_job_scales_the_change(
    applied: Callable[..., Any], generator: torch.Generator, kind: str, weight: float
) -> None:
    pipe = tiny_pipeline("sd15")
    name = f"{_ATTENTION}.to_q"
    base = pipe.unet.get_submodule(name).weight.detach().clone()
    own = KINDS[kind](base, generator)
    tensors = {key: tensor for key, tensor in _keys(f"unet.{name}", own).items() if not key.endswith("diff_b")}
    applied(pipe, "sd15", tensors, weight=weight)
    _expect(pipe.unet.get_submodule(name), base.double() + weight * (own.changed - base.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_stored_type_doesn_t_matter(
    applied: Callable[..., Any], generator: torch.Generator, dtype: torch.dtype
) -> None:
    pipe = tiny_pipeline("sd15")
    name = f"{_ATTENTION}.to_q"
    weight = pipe.unet.get_submodule(name).weight.detach()
    down, up = (torch.randn(shape, generator=generator).to(dtype) for shape in ((3, 32), (32, 3)))
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor([1.5]).to(dtype)}
    own = KindOfLora(tensors, weight.double() + up.double() @ down.double() * 0.5)
    applied(pipe, "sd15", _keys(f"unet.{name}", own))
    _expect(pipe.unet.get_submodule(name), own.changed)


def test_alpha_in_peft_s_configuration_counts(applied: Callable[..., Any], generator: torch.Generator) -> None:
    pipe = tiny_pipeline("sd15")
    own, bases = {}, {}
    for letter in "qk":
        name = f"{_ATTENTION}.to_{letter}"
        bases[name] = pipe.unet.get_submodule(name).weight.detach().double()
        own[name] = lora(bases[name].float(), generator, rank=4, alpha=None)
    config = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {f"{_ATTENTION}.to_k": 2}}
    tensors = {
        f"unet.{name}.lora_{letter}.weight": kind.tensors[f"lora_{way}.weight"]
        for name, kind in own.items()
        for letter, way in (("A", "down"), ("B", "up"))
    }
    applied(pipe, "sd15", tensors, metadata={"lora_adapter_metadata": json.dumps(config)})
    for letter, scale in (("q", 2.0), ("k", 0.5)):
        name = f"{_ATTENTION}.to_{letter}"
        _expect(pipe.unet.get_submodule(name), bases[name] + scale * (own[name].changed - bases[name]))


def test_norms_are_changed_by_their_differences(applied: Callable[..., Any], generator: torch.Generator) -> None:
    pipe = tiny_pipeline("sd15")
    norm = pipe.unet.get_submodule("down_blocks.1.attentions.0.norm")
    weight, bias = norm.weight.detach().clone(), norm.bias.detach().clone()
    changes = torch.randn((2, len(weight)), generator=generator)
    module = "lora_unet_down_blocks_1_attentions_0_norm"
    applied(pipe, "sd15", {f"{module}.w_norm": changes[0], f"{module}.b_norm": changes[1]})
    torch.testing.assert_close(norm.weight.detach(), weight + changes[0])
    torch.testing.assert_close(norm.bias.detach(), bias + changes[1])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"x.oft_blocks": (2, 2, 2)}, "OFT"),
        ({"x.boft_R": (2, 2)}, "BOFT"),
        ({"x.ia3_l": (2,)}, "IA3"),
        ({"x.on_input": (), "x.weight": (2,)}, "IA3"),
        ({"x.a1.weight": (2, 2), "x.b1.weight": (2, 2)}, "GLoRA"),
        ({"x.vera_lambda_b": (2,)}, "VeRA"),
        ({"bundle_emb.cat.string_to_param.*": (1, 32)}, "embeddings bundled"),
        ({"x.lora_A.weight": (2, 4), "x.lora_B.weight": (4, 2), "x.lora_B.bias": (4,)}, "biases of its own"),
        ({"x.set_weight": (2, 2)}, "replaced weights"),
        ({"x.lora_down.weight": (2, 4), "x.lora_up.weight": (4, 3)}, "ranks of its two matrices differ"),
        ({"x.lora_down.weight": (2, 4)}, "incomplete module"),
        ({f"unet.{_ATTENTION}.to_q.lora_A.weight": (2, 7), f"unet.{_ATTENTION}.to_q.lora_B.weight": (32, 2)}, "32, 7"),
        ({"nothing.lora_down.weight": (2, 4), "nothing.lora_up.weight": (4, 2)}, "nothing for any part"),
    ],
)
def test_what_can_t_be_applied_exactly_is_refused_by_name(
    applied: Callable[..., Any], keys: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(LoraMismatchError, match=message):
        applied(tiny_pipeline("sd15"), "sd15", {key: torch.zeros(shape) for key, shape in keys.items()})
