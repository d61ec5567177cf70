"""Models as single-file checkpoints: the names that the original authors' code gave to weights, in one safetensors."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.tiny_models import described, save_pipeline, tiny_pipeline
from gpu_worker.models.files import ModelSpec

Weights = dict[str, torch.Tensor]

_RESNET = (
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".conv_shortcut.", ".skip_connection."),
)
_UNET_ENDS = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
_OPEN_CLIP = (
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
    ("self_attn.", "attn."),
)


def single_file_model(models_dir: Path, family: str) -> ModelSpec:
    """Saves a model of a family as a checkpoint with its config beside it, the same weights as `tiny_model` has."""
    pipe = tiny_pipeline(family)
    model_id = f"{family}-single"
    save_single_file(pipe, family, models_dir / model_id / "1", file_weights(pipe, family))
    return described(models_dir, model_id, family)


def file_weights(pipe: Any, family: str) -> Weights:
    """Returns the weights of a pipeline that checkpoints of its family hold, in the names that they give them."""
    weights, _ = _CHECKPOINTS[family](pipe)
    return dict(weights)


def save_single_file(
    pipe: Any, family: str, folder: Path, weights: Weights, metadata: Mapping[str, str] | None = None
) -> None:
    """Saves weights as a checkpoint, with the config of a pipeline beside it and the weights of its other parts."""
    save_pipeline(pipe, folder / "config")
    for part in _CHECKPOINTS[family](pipe)[1]:
        for path in (folder / "config" / part).glob("*.safetensors"):
            path.unlink()
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, folder / "model.safetensors", metadata=None if metadata is None else dict(metadata))
    shutil.rmtree(folder / "config" / "upscaler", ignore_errors=True)


def _stable_diffusion(pipe: Any) -> tuple[Weights, list[str]]:
    clip = {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in pipe.text_encoder.state_dict().items()
    }
    return _unet(pipe.unet) | vae_weights(pipe.vae) | clip, ["unet", "vae", "text_encoder"]


def _stable_diffusion_xl(pipe: Any) -> tuple[Weights, list[str]]:
    clip = {
        f"conditioner.embedders.0.transformer.text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in pipe.text_encoder.state_dict().items()
    }
    weights = _unet(pipe.unet) | vae_weights(pipe.vae) | clip | _open_clip(pipe.text_encoder_2)
    return weights, ["unet", "vae", "text_encoder", "text_encoder_2"]


def _transformer_alone(pipe: Any) -> tuple[Weights, list[str]]:
    # With the names of diffusers: those of FLUX's authors are only converted for the true width.
    return dict(pipe.transformer.state_dict()), ["transformer"]


def _z_image(pipe: Any) -> tuple[Weights, list[str]]:
    weights = dict(pipe.transformer.state_dict())
    for name in [name for name in weights if name.endswith("attention.to_q.weight")]:
        parts = [weights.pop(name.replace("to_q", f"to_{letter}")) for letter in "qkv"]
        weights[name.replace("to_q", "qkv")] = torch.cat(parts)
    renamed = (
        ("all_final_layer.2-1.", "final_layer."),
        ("all_x_embedder.2-1.", "x_embedder."),
        (".attention.norm_k.", ".attention.k_norm."),
        (".attention.norm_q.", ".attention.q_norm."),
        (".attention.to_out.0.", ".attention.out."),
    )
    return {_replaced(name, renamed): tensor for name, tensor in weights.items()}, ["transformer"]


def _unet(unet: Any) -> Weights:
    per_block = unet.config.layers_per_block + 1
    renamed = {}
    for name, tensor in unet.state_dict().items():
        block = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
        new = _replaced(name, _UNET_ENDS) if block is None else _unet_block(unet, block, per_block)
        renamed["model.diffusion_model." + (_replaced(new, _RESNET) if "resnets" in name else new)] = tensor
    return renamed


def _unet_block(unet: Any, block: re.Match[str], per_block: int) -> str:
    way, kind, rest = block[1], block[3], block[5]
    index, layer = int(block[2]), int(block[4])
    if kind == "downsamplers":
        return f"input_blocks.{(index + 1) * per_block}.0.{rest.replace('conv.', 'op.')}"
    if kind == "upsamplers":
        place = 2 if "CrossAttn" in unet.config.up_block_types[index] else 1
        return f"output_blocks.{(index + 1) * per_block - 1}.{place}.{rest}"
    place = 0 if kind == "resnets" else 1
    if way == "down":
        return f"input_blocks.{1 + index * per_block + layer}.{place}.{rest}"
    return f"output_blocks.{index * per_block + layer}.{place}.{rest}"


def vae_weights(vae: Any) -> Weights:
    """Returns the weights of a decoder and its encoder in Stability's names."""
    blocks = len(vae.config.block_out_channels)
    renamed = {}
    for name, tensor in vae.state_dict().items():
        new = re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{blocks - 1 - int(found[1])}", name)
        new = re.sub(r"down_blocks\.(\d+)", r"down.\1", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new)
        new = re.sub(r"resnets\.(\d+)", r"block.\1", new)
        attention = "mid_block.attentions.0." in new
        new = _replaced(
            new,
            (
                ("mid_block.attentions.0.", "mid.attn_1."),
                ("attn_1.group_norm.", "attn_1.norm."),
                ("attn_1.to_q.", "attn_1.q."),
                ("attn_1.to_k.", "attn_1.k."),
                ("attn_1.to_v.", "attn_1.v."),
                ("attn_1.to_out.0.", "attn_1.proj_out."),
                ("downsamplers.0.", "downsample."),
                ("upsamplers.0.", "upsample."),
                ("conv_norm_out.", "norm_out."),
                ("conv_shortcut.", "nin_shortcut."),
            ),
        )
        # The original's attention is made of convolutions of one pixel.
        renamed["first_stage_model." + new] = tensor[..., None, None] if attention and tensor.ndim == 2 else tensor
    return renamed


def _open_clip(text_encoder: Any) -> Weights:
    weights = dict(text_encoder.state_dict())
    renamed = {"text_projection": weights.pop("text_projection.weight").T}
    for name in [name for name in weights if ".q_proj." in name]:
        parts = [weights.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        joined = name.replace("q_proj.weight", "in_proj_weight").replace("q_proj.bias", "in_proj_bias")
        renamed[_replaced(joined, _OPEN_CLIP)] = torch.cat(parts)
    renamed |= {_replaced(name, _OPEN_CLIP): tensor for name, tensor in weights.items()}
    return {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in renamed.items()}


def _replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name


_CHECKPOINTS = {
    "tiny": _stable_diffusion,
    "sd15": _stable_diffusion,
    "sdxl": _stable_diffusion_xl,
    "flux": _transformer_alone,
    "zimage": _z_image,
}
SINGLE_FILE_FAMILIES = tuple(_CHECKPOINTS)
