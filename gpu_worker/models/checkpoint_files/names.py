"""Where the tensors of a part are in a single-file checkpoint: the names that the models' authors and ComfyUI give them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpu_worker.models.checkpoint_files.architectures import Tensors
from svc_common.lora_files.names import of_black_forest, of_open_clip, of_stability, of_z_image
from svc_common.safetensors_header import Shape


@dataclass(frozen=True, slots=True)
class Naming:
    """One way in which a file names the tensors of a part."""

    prefix: str
    """What its keys begin with; nothing for a file that holds this part alone."""
    tensors: Mapping[str, Shape]
    """By the file's keys."""


def namings(class_name: str, part: str, tensors: Tensors) -> Iterator[Naming]:
    """Yields the ways in which files are known to name a part's tensors."""
    for name, where, prefixes, renamed in _NAMINGS:
        if name == class_name and where in {part, None}:
            theirs = renamed(tensors)
            for prefix in prefixes:
                yield Naming(prefix, {prefix + key: shape for key, shape in theirs.items()})


def _split(name: str) -> tuple[str, str]:
    layer, _, end = name.rpartition(".")
    return layer, end


def _unet(tensors: Tensors) -> Tensors:
    layers = {layer: shape for name, shape in tensors.items() for layer, end in [_split(name)] if end == "weight"}
    theirs = {layer: name for name, (layer,) in of_stability(layers)}
    # What Stability's code doesn't have keeps its name, and is then missing in any file.
    return {f"{theirs.get(layer, layer)}.{end}": tensors[f"{layer}.{end}"] for layer, end in map(_split, tensors)}


_AUTOENCODER: Final = (
    (re.compile(r"mid_block\.attentions\.0\.group_norm\."), "mid.attn_1.norm."),
    (re.compile(r"mid_block\.attentions\.0\.to_([qkv])\."), r"mid.attn_1.\1."),
    (re.compile(r"mid_block\.attentions\.0\.to_out\.0\."), "mid.attn_1.proj_out."),
    (re.compile(r"mid_block\.resnets\.0\."), "mid.block_1."),
    (re.compile(r"mid_block\.resnets\.1\."), "mid.block_2."),
    (re.compile(r"down_blocks\.(\d+)\."), r"down.\1."),
    (re.compile(r"resnets\.(\d+)\."), r"block.\1."),
    (re.compile(r"downsamplers\.0\."), "downsample."),
    (re.compile(r"upsamplers\.0\."), "upsample."),
    (re.compile(r"conv_norm_out\."), "norm_out."),
    (re.compile(r"conv_shortcut\."), "nin_shortcut."),
)


def _autoencoder(tensors: Tensors) -> Tensors:
    levels = len({found[1] for name in tensors if (found := re.match(r"decoder\.up_blocks\.(\d+)\.", name))})
    renamed = {}
    for name, shape in tensors.items():
        # Stability counts from the bottom of its decoder, diffusers in the order of computing.
        theirs = re.sub(r"up_blocks\.(\d+)\.", lambda found: f"up.{levels - 1 - int(found[1])}.", name)
        for pattern, replacement in _AUTOENCODER:
            theirs = pattern.sub(replacement, theirs)
        renamed[theirs] = shape
    return renamed


_OPEN_CLIP_ENDS: Final = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "text_projection.weight": "text_projection",
}


def _open_clip(tensors: Tensors) -> Tensors:
    renamed: Tensors = {}
    for name, shape in tensors.items():
        layer, end = _split(name)
        found = next(of_open_clip(layer), None)
        if name in _OPEN_CLIP_ENDS:
            renamed[_OPEN_CLIP_ENDS[name]] = shape[::-1] if name == "text_projection.weight" else shape
        elif found is None:
            if ".self_attn." not in name:  # keys and values are told with the queries
                renamed[name] = shape
        elif len(found[1]) > 1:
            renamed[f"{found[0]}_{end}"] = (len(found[1]) * shape[0], *shape[1:])
        else:
            renamed[f"{found[0]}.{end}"] = shape
    return renamed


def _flux(tensors: Tensors) -> Tensors:
    renamed: Tensors = {}
    for name in tensors:
        layer, end = _split(name)
        for theirs, layers in of_black_forest(layer):
            if ".processor." in theirs:  # XLabs' names, which are of LoRAs only
                continue
            # Their norms of queries and keys have a scale, not a weight.
            their_end = "scale" if ".norm." in theirs else end
            shapes = [tensors[f"{each}.{end}"] for each in layers]
            renamed[f"{theirs}.{their_end}"] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    for end in ("weight", "bias"):
        renamed[f"final_layer.adaLN_modulation.1.{end}"] = tensors[f"norm_out.linear.{end}"]
    return renamed


def _z_image(tensors: Tensors) -> Tensors:
    renamed: Tensors = {}
    for name, shape in tensors.items():
        layer, end = _split(name)
        found = next(of_z_image(layer), None)
        if found is not None:
            renamed[f"{found[0]}.{end}"] = (len(found[1]) * shape[0], *shape[1:])
        elif not layer.endswith((".attention.to_k", ".attention.to_v")):  # told with the queries
            renamed[name] = shape
    return renamed


_STABILITY: Final = ("model.diffusion_model.",)
_AUTOENCODERS: Final = ("first_stage_model.", "vae.")
_ALONE: Final = ("",)
_CLIP_L: Final = (
    "cond_stage_model.transformer.text_model.",
    "conditioner.embedders.0.transformer.text_model.",
    "text_encoders.clip_l.transformer.text_model.",
)
_NAMINGS: Final[tuple[tuple[str, str | None, tuple[str, ...], Callable[[Tensors], Tensors]], ...]] = (
    ("UNet2DConditionModel", None, _STABILITY, _unet),
    ("AutoencoderKL", None, _AUTOENCODERS, _autoencoder),
    ("CLIPTextModel", "text_encoder", _CLIP_L, dict),
    ("CLIPTextModel", "text_encoder", ("cond_stage_model.model.",), _open_clip),
    ("CLIPTextModelWithProjection", "text_encoder_2", ("conditioner.embedders.1.model.",), _open_clip),
    ("T5EncoderModel", None, ("text_encoders.t5xxl.transformer.",), dict),
    ("FluxTransformer2DModel", None, (*_STABILITY, *_ALONE), _flux),
    ("FluxTransformer2DModel", None, _ALONE, dict),
    ("ZImageTransformer2DModel", None, (*_STABILITY, *_ALONE), _z_image),
    ("ZImageTransformer2DModel", None, _ALONE, dict),
)
"""Class, part (any where there is none), what keys begin with, and how the rest of them is made."""
