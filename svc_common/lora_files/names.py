"""Names of layers: from any of the ways in which LoRAs name them to those of diffusers and transformers.

Every layer of a part gets all the names that it is known by: its own, that of its authors' code (Stability's, Black Forest
Labs', OpenCLIP's, ...), and each with underscores for full stops, as kohya's trainer writes them. A name of a file is then
looked up. So a name either is a layer's, or is unknown; nothing is guessed from what else is in the file.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from svc_common.lora_files.header import Shape

Layers: TypeAlias = Mapping[str, Shape]
"""The layers of one part with the shapes of their weights."""

DENOISERS: Final = {"tiny": "unet", "sd15": "unet", "sdxl": "unet", "flux": "transformer", "zimage": "transformer"}
_DENOISER: Final = "denoiser"
_ENCODERS: Final = ("text_encoder", "text_encoder_2")
_PREFIXES: Final = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"(?:model\.)?diffusion_model\.|lora_unet_+|lora_transformer_+|unet\.|transformer\.(?!text_model)", _DENOISER),
        (
            r"lora_te2_+|lora_te3_+|text_encoder_2\.|(?:text_encoders?\.)?(?:clip_g|t5xxl)\.(?:transformer\.)?",
            "text_encoder_2",
        ),
        (r"conditioner\.embedders\.1\.model\.", "text_encoder_2"),
        (r"lora_te1?_+|text_encoder\.|(?:text_encoders?\.)?(?:clip_l|qwen3_4b)\.(?:transformer\.)?", "text_encoder"),
        (r"(?:conditioner\.embedders\.0|cond_stage_model)\.(?:transformer|model)\.", "text_encoder"),
    )
)
_WRAPPING: Final = re.compile(r"^(?:base_model\.model\.|lycoris_+|module\.)+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a layer's weight that a module's rows from `source` on are for."""

    layer: str
    start: int
    count: int
    source: int


Pieces: TypeAlias = tuple[Piece, ...]


def place(name: str, family: str) -> tuple[tuple[str, ...], str]:
    """Returns the parts that a module of a file can be in, and its name there with underscores."""
    rest = _WRAPPING.sub("", name)
    for pattern, part in _PREFIXES:
        if match := pattern.match(rest):
            parts = (DENOISERS[family],) if part is _DENOISER else _encoders(part, family)
            return parts, _plain(rest[match.end() :])
    return (DENOISERS[family], *_ENCODERS), _plain(rest)


def known_names(part: str, layers: Layers) -> dict[str, Pieces]:
    """Returns every name, with underscores, that layers of a part are known by."""
    names: dict[str, Pieces] = {_underscored(layer): (Piece(layer, 0, shape[0], 0),) for layer, shape in layers.items()}
    for name, fused in _other_names(part, layers):
        if all(layer in layers for layer in fused):
            names.setdefault(_underscored(name), _in_sequence(fused, layers))
    if "norm_out.linear" in layers:
        # diffusers has scale before shift where Black Forest Labs has shift before scale.
        half = layers["norm_out.linear"][0] // 2
        swapped = (Piece("norm_out.linear", half, half, 0), Piece("norm_out.linear", 0, half, half))
        names["final_layer_adaLN_modulation_1"] = swapped
    return names


def _encoders(part: str, family: str) -> tuple[str, ...]:
    # Z-Image has one, by whatever number trainers call it.
    return ("text_encoder",) if family == "zimage" else (part,)


def _underscored(name: str) -> str:
    return _plain(name.replace("text_model.", "", 1))


def _plain(name: str) -> str:
    """Returns a name with underscores and without what trainers put around it."""
    plain = name.replace(".", "_")
    plain = re.sub(r"^_*(?:text_model_|model_(?=layers_|embed_tokens))", "", plain)
    plain = re.sub(r"_processor_((?:to|add)_\w+)_lora$", r"_\1", plain)
    plain = re.sub(r"_self_attn_to_(q|k|v|out)(?:_lora)?$", r"_self_attn_\1_proj", plain)
    plain = re.sub(r"_(to_(?:q|k|v|out))_lora$", r"_\1", plain)
    return re.sub(r"_to_out$", "_to_out_0", plain)


def _in_sequence(fused: tuple[str, ...], layers: Layers) -> Pieces:
    pieces, source = [], 0
    for layer in fused:
        count = layers[layer][0]
        pieces.append(Piece(layer, 0, count, source))
        source += count
    return tuple(pieces)


def _other_names(part: str, layers: Layers) -> Iterator[tuple[str, tuple[str, ...]]]:
    if part == "unet":
        yield from of_stability(layers)
    elif part == "transformer":
        for layer in layers:
            yield from of_black_forest(layer)
            yield from of_z_image(layer)
    else:
        for layer in layers:
            yield from of_open_clip(layer)


_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS: Final = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_BLOCK: Final = re.compile(
    r"(down|up|mid)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def of_stability(layers: Layers) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the names in Stability's code, which counts resnets, attentions and samplers through all levels."""
    depth = len({match[1] for layer in layers if (match := re.match(r"down_blocks\.0\.resnets\.(\d+)\.", layer))})
    attending = {match[1] for layer in layers if (match := re.match(r"(up_blocks\.\d+)\.attentions\.", layer))}
    for layer in layers:
        if layer in _UNET_ENDS:
            yield _UNET_ENDS[layer], (layer,)
            continue
        if not (match := _UNET_BLOCK.fullmatch(layer)):
            continue
        way, kind, rest = match[1], match[3], match[5]
        level, index = int(match[2] or 0), int(match[4])
        inner = _RESNET.get(rest, rest) if kind == "resnets" else rest
        if way == "mid":
            yield f"middle_block.{1 if kind == 'attentions' else 2 * index}.{inner}", (layer,)
        elif kind == "downsamplers":
            yield f"input_blocks.{(level + 1) * (depth + 1)}.0.op", (layer,)
        elif kind == "upsamplers":
            place = 2 if f"up_blocks.{level}" in attending else 1
            yield f"output_blocks.{level * (depth + 1) + depth}.{place}.conv", (layer,)
        else:
            block = level * (depth + 1) + index + (1 if way == "down" else 0)
            blocks = "input_blocks" if way == "down" else "output_blocks"
            yield f"{blocks}.{block}.{1 if kind == 'attentions' else 0}.{inner}", (layer,)


_FLUX_ENDS: Final = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "proj_out": "final_layer.linear",
}
_FLUX_DOUBLE: Final = {
    "norm1.linear": ("img_mod.lin",),
    "norm1_context.linear": ("txt_mod.lin",),
    "attn.to_out.0": ("img_attn.proj", "processor.proj_lora1"),
    "attn.to_add_out": ("txt_attn.proj", "processor.proj_lora2"),
    "attn.norm_q": ("img_attn.norm.query_norm",),
    "attn.norm_k": ("img_attn.norm.key_norm",),
    "attn.norm_added_q": ("txt_attn.norm.query_norm",),
    "attn.norm_added_k": ("txt_attn.norm.key_norm",),
    "ff.net.0.proj": ("img_mlp.0",),
    "ff.net.2": ("img_mlp.2",),
    "ff_context.net.0.proj": ("txt_mlp.0",),
    "ff_context.net.2": ("txt_mlp.2",),
}
_FLUX_SINGLE: Final = {
    "norm.linear": ("modulation.lin",),
    "proj_out": ("linear2", "processor.proj_lora"),
    "attn.norm_q": ("norm.query_norm",),
    "attn.norm_k": ("norm.key_norm",),
}


def of_black_forest(layer: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the names in Black Forest Labs' code and in XLabs' LoRAs for it, which have queries, keys and values in one."""
    if layer in _FLUX_ENDS:
        yield _FLUX_ENDS[layer], (layer,)
    if not (match := re.fullmatch(r"((single_)?transformer_blocks\.(\d+)\.)(.+)", layer)):
        return
    own, rest = match[1], match[4]
    theirs = f"single_blocks.{match[3]}." if match[2] else f"double_blocks.{match[3]}."
    for name in (_FLUX_SINGLE if match[2] else _FLUX_DOUBLE).get(rest, ()):
        yield theirs + name, (layer,)
    query_key_value = tuple(f"{own}attn.to_{letter}" for letter in "qkv")
    if rest == "attn.to_q" and match[2]:
        yield theirs + "linear1", (*query_key_value, f"{own}proj_mlp")
        yield theirs + "processor.qkv_lora", query_key_value
    elif rest == "attn.to_q":
        yield theirs + "img_attn.qkv", query_key_value
        yield theirs + "processor.qkv_lora1", query_key_value
    elif rest == "attn.add_q_proj":
        added = tuple(f"{own}attn.add_{letter}_proj" for letter in "qkv")
        yield theirs + "txt_attn.qkv", added
        yield theirs + "processor.qkv_lora2", added


def of_z_image(layer: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the names in the code that Z-Image was published with."""
    if layer.endswith(".attention.to_q"):
        block = layer.removesuffix("to_q")
        yield block + "qkv", tuple(f"{block}to_{letter}" for letter in "qkv")
    for ours, theirs in ((".to_out.0", ".out"), (".norm_q", ".q_norm"), (".norm_k", ".k_norm")):
        if layer.endswith(".attention" + ours):
            yield layer.removesuffix(ours) + theirs, (layer,)
    if match := re.fullmatch(r"all_(x_embedder|final_layer)\.2-1(.*)", layer):
        yield match[1] + match[2], (layer,)


_OPEN_CLIP: Final = {
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
}


def of_open_clip(layer: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the names in OpenCLIP's code, which has queries, keys and values in one."""
    if layer.endswith("final_layer_norm"):
        yield "ln_final", (layer,)
    if not (match := re.fullmatch(r"((?:text_model\.)?encoder\.layers\.(\d+)\.)(.+)", layer)):
        return
    block = f"transformer.resblocks.{match[2]}."
    if match[3] in _OPEN_CLIP:
        yield block + _OPEN_CLIP[match[3]], (layer,)
    if match[3] == "self_attn.q_proj":
        for name in ("attn.in_proj", "attn"):
            yield block + name, tuple(f"{match[1]}self_attn.{letter}_proj" for letter in "qkv")
