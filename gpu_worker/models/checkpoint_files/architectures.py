"""The tensors that a part of a model has, by its class and configuration: names and shapes, without building it.

The names are those of diffusers and transformers. A configuration that isn't described here gives None: whether such a part is
whole is then left to the worker that loads it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from svc_common.safetensors_header import Shape

Config: TypeAlias = Mapping[str, Any]
Tensors: TypeAlias = dict[str, Shape]

_MOST_LAYERS: Final = 512
_GATED: Final = 2
"""A gated layer computes its gate beside its value."""


class _UnknownError(Exception):
    """A configuration that isn't described."""


def tensors_of(class_name: str, config: Config) -> Tensors | None:
    """Returns the shapes of a part's tensors, or None for a part that isn't described here."""
    if class_name not in _DESCRIPTIONS:
        return None
    defaults, description = _DESCRIPTIONS[class_name]
    try:
        _refuse_endless(config)
        return description({**defaults, **config})
    except (_UnknownError, KeyError, TypeError, ValueError, IndexError):
        return None


def describes(class_name: str) -> bool:
    """Tells whether parts of a class can be described."""
    return class_name in _DESCRIPTIONS


def _refuse_endless(config: Config) -> None:
    """Raises _UnknownError for more layers than a model has, which would take all of the memory to write down."""
    for key, value in config.items():
        counts = value if isinstance(value, list) else [value]
        if "layers" in key and any(isinstance(count, int) and count > _MOST_LAYERS for count in counts):
            raise _UnknownError(key)


def _norm(name: str, size: int) -> Tensors:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _linear(name: str, outputs: int, inputs: int, *, bias: bool = True) -> Tensors:
    weight: Tensors = {f"{name}.weight": (outputs, inputs)}
    return weight | {f"{name}.bias": (outputs,)} if bias else weight


def _convolution(name: str, outputs: int, inputs: int, side: int = 3) -> Tensors:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def _below(name: str, tensors: Tensors) -> Tensors:
    return {f"{name}.{inner}": shape for inner, shape in tensors.items()}


def _only(config: Config, **allowed: Any) -> None:
    """Raises _UnknownError when a setting that would change the tensors has another value than the described."""
    for key, value in allowed.items():
        if config[key] != value:
            raise _UnknownError(key)


def _resnet(inputs: int, outputs: int, time: int | None) -> Tensors:
    tensors = _norm("norm1", inputs) | _convolution("conv1", outputs, inputs)
    if time is not None:
        tensors |= _linear("time_emb_proj", outputs, time)
    tensors |= _norm("norm2", outputs) | _convolution("conv2", outputs, outputs)
    return tensors if inputs == outputs else tensors | _convolution("conv_shortcut", outputs, inputs, 1)


class _UNet:
    """The tensors of a U-Net with cross-attention."""

    def __init__(self, config: Config) -> None:
        _only(
            config,
            mid_block_type="UNetMidBlock2DCrossAttn",
            only_cross_attention=False,
            dual_cross_attention=False,
            encoder_hid_dim_type=None,
            class_embed_type=None,
            attention_type="default",
            time_embedding_type="positional",
            reverse_transformer_layers_per_block=None,
            cross_attention_norm=None,
            resnet_time_scale_shift="default" if config["resnet_time_scale_shift"] == "default" else "scale_shift",
        )
        self._config = config
        self._widths: list[int] = list(config["block_out_channels"])
        self._time = int(config["time_embedding_dim"] or 4 * self._widths[0])
        self._text = int(config["cross_attention_dim"])
        self._layers = int(config["layers_per_block"])
        depths = config["transformer_layers_per_block"]
        self._depths = [depths] * len(self._widths) if isinstance(depths, int) else list(depths)

    def tensors(self) -> Tensors:
        config, first = self._config, self._widths[0]
        tensors = _convolution("conv_in", first, config["in_channels"], config["conv_in_kernel"])
        tensors |= _linear("time_embedding.linear_1", self._time, first)
        tensors |= _linear("time_embedding.linear_2", self._time, self._time)
        if config["time_cond_proj_dim"] is not None:
            tensors |= _linear("time_embedding.cond_proj", first, config["time_cond_proj_dim"], bias=False)
        if config["num_class_embeds"] is not None:
            tensors["class_embedding.weight"] = (config["num_class_embeds"], self._time)
        tensors |= self._addition() | self._down() | self._mid() | self._up()
        tensors |= _norm("conv_norm_out", first)
        return tensors | _convolution("conv_out", config["out_channels"], first, config["conv_out_kernel"])

    def _addition(self) -> Tensors:
        kind = self._config["addition_embed_type"]
        if kind is None:
            return {}
        if kind == "text_time":
            inputs = self._config["projection_class_embeddings_input_dim"]
            tensors = _linear("linear_1", self._time, inputs) | _linear("linear_2", self._time, self._time)
        elif kind == "text":
            tensors = _norm("norm1", self._text) | {"pool.positional_embedding": (1, self._text)}
            for letter in "qkv":
                tensors |= _linear(f"pool.{letter}_proj", self._text, self._text)
            tensors |= _linear("proj", self._time, self._text) | _norm("norm2", self._time)
        else:
            raise _UnknownError(kind)
        return _below("add_embedding", tensors)

    def _down(self) -> Tensors:
        tensors: Tensors = {}
        width, last = self._widths[0], len(self._widths) - 1
        for level, kind in enumerate(self._config["down_block_types"]):
            attends = _attends(kind, "CrossAttnDownBlock2D", "DownBlock2D")
            before, width = width, self._widths[level]
            name = f"down_blocks.{level}"
            for layer in range(self._layers):
                tensors |= _below(f"{name}.resnets.{layer}", self._resnet(width if layer else before, width))
                if attends:
                    tensors |= _below(f"{name}.attentions.{layer}", self._transformer(width, self._depths[level]))
            if level != last:
                tensors |= _convolution(f"{name}.downsamplers.0.conv", width, width)
        return tensors

    def _mid(self) -> Tensors:
        width = self._widths[-1]
        tensors = _below("resnets.0", self._resnet(width, width)) | _below("resnets.1", self._resnet(width, width))
        return _below("mid_block", tensors | _below("attentions.0", self._transformer(width, self._depths[-1])))

    def _up(self) -> Tensors:
        tensors: Tensors = {}
        widths, depths, last = self._widths[::-1], self._depths[::-1], len(self._widths) - 1
        width = widths[0]
        for level, kind in enumerate(self._config["up_block_types"]):
            attends = _attends(kind, "CrossAttnUpBlock2D", "UpBlock2D")
            before, width, after = width, widths[level], widths[min(level + 1, last)]
            name = f"up_blocks.{level}"
            for layer in range(self._layers + 1):
                skipped = after if layer == self._layers else width
                inputs = (width if layer else before) + skipped
                tensors |= _below(f"{name}.resnets.{layer}", self._resnet(inputs, width))
                if attends:
                    tensors |= _below(f"{name}.attentions.{layer}", self._transformer(width, depths[level]))
            if level != last:
                tensors |= _convolution(f"{name}.upsamplers.0.conv", width, width)
        return tensors

    def _resnet(self, inputs: int, outputs: int) -> Tensors:
        tensors = _resnet(inputs, outputs, self._time)
        if self._config["resnet_time_scale_shift"] == "scale_shift":
            tensors |= _linear("time_emb_proj", 2 * outputs, self._time)
        return tensors

    def _transformer(self, width: int, depth: int) -> Tensors:
        if self._config["use_linear_projection"]:
            tensors = _linear("proj_in", width, width) | _linear("proj_out", width, width)
        else:
            tensors = _convolution("proj_in", width, width, 1) | _convolution("proj_out", width, width, 1)
        tensors |= _norm("norm", width)
        block = _norm("norm1", width) | _norm("norm2", width) | _norm("norm3", width)
        for name, context in (("attn1", width), ("attn2", self._text)):
            block |= _linear(f"{name}.to_q", width, width, bias=False) | _linear(f"{name}.to_out.0", width, width)
            block |= _linear(f"{name}.to_k", width, context, bias=False)
            block |= _linear(f"{name}.to_v", width, context, bias=False)
        block |= _linear("ff.net.0.proj", _GATED * 4 * width, width) | _linear("ff.net.2", width, 4 * width)
        for index in range(depth):
            tensors |= _below(f"transformer_blocks.{index}", block)
        return tensors


def _attends(kind: str, attending: str, plain: str) -> bool:
    if kind not in {attending, plain}:
        raise _UnknownError(kind)
    return kind == attending


def _autoencoder(config: Config) -> Tensors:
    widths, layers, latent = list(config["block_out_channels"]), config["layers_per_block"], config["latent_channels"]
    if {*config["down_block_types"]} != {"DownEncoderBlock2D"} or {*config["up_block_types"]} != {"UpDecoderBlock2D"}:
        raise _UnknownError("block types")
    encoder = _levels("down_blocks", "downsamplers", widths, layers)
    encoder |= _convolution("conv_in", widths[0], config["in_channels"]) | _middle(widths[-1], config)
    encoder |= _norm("conv_norm_out", widths[-1]) | _convolution("conv_out", 2 * latent, widths[-1])
    decoder = _levels("up_blocks", "upsamplers", widths[::-1], layers + 1)
    decoder |= _convolution("conv_in", widths[-1], latent) | _middle(widths[-1], config)
    decoder |= _norm("conv_norm_out", widths[0]) | _convolution("conv_out", config["out_channels"], widths[0])
    tensors = _below("encoder", encoder) | _below("decoder", decoder)
    if config["use_quant_conv"]:
        tensors |= _convolution("quant_conv", 2 * latent, 2 * latent, 1)
    if config["use_post_quant_conv"]:
        tensors |= _convolution("post_quant_conv", latent, latent, 1)
    return tensors


def _levels(blocks: str, samplers: str, widths: list[int], layers: int) -> Tensors:
    tensors: Tensors = {}
    before = widths[0]
    for level, width in enumerate(widths):
        for layer in range(layers):
            resnet = _resnet(width if layer else before, width, None)
            tensors |= _below(f"{blocks}.{level}.resnets.{layer}", resnet)
        if level != len(widths) - 1:
            tensors |= _convolution(f"{blocks}.{level}.{samplers}.0.conv", width, width)
        before = width
    return tensors


def _middle(width: int, config: Config) -> Tensors:
    tensors = _below("resnets.0", _resnet(width, width, None)) | _below("resnets.1", _resnet(width, width, None))
    if config["mid_block_add_attention"]:
        tensors |= _norm("attentions.0.group_norm", width)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            tensors |= _linear(f"attentions.0.{name}", width, width)
    return _below("mid_block", tensors)


def _clip(config: Config) -> Tensors:
    width = config["hidden_size"]
    layer = _norm("layer_norm1", width) | _norm("layer_norm2", width)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        layer |= _linear(f"self_attn.{name}", width, width)
    layer |= _linear("mlp.fc1", config["intermediate_size"], width)
    layer |= _linear("mlp.fc2", width, config["intermediate_size"])
    tensors: Tensors = {
        "embeddings.token_embedding.weight": (config["vocab_size"], width),
        "embeddings.position_embedding.weight": (config["max_position_embeddings"], width),
        **_norm("final_layer_norm", width),
    }
    for index in range(config["num_hidden_layers"]):
        tensors |= _below(f"encoder.layers.{index}", layer)
    return tensors


def _clip_with_projection(config: Config) -> Tensors:
    return _clip(config) | _linear("text_projection", config["projection_dim"], config["hidden_size"], bias=False)


def _t5(config: Config) -> Tensors:
    width, inner, heads = config["d_model"], config["d_kv"] * config["num_heads"], config["num_heads"]
    block: Tensors = {"layer.0.layer_norm.weight": (width,), "layer.1.layer_norm.weight": (width,)}
    for letter in "qkv":
        block |= _linear(f"layer.0.SelfAttention.{letter}", inner, width, bias=False)
    block |= _linear("layer.0.SelfAttention.o", width, inner, bias=False)
    for name in ("wi_0", "wi_1") if str(config["feed_forward_proj"]).startswith("gated-") else ("wi",):
        block |= _linear(f"layer.1.DenseReluDense.{name}", config["d_ff"], width, bias=False)
    block |= _linear("layer.1.DenseReluDense.wo", width, config["d_ff"], bias=False)
    tensors: Tensors = {"shared.weight": (config["vocab_size"], width), "encoder.final_layer_norm.weight": (width,)}
    for index in range(config["num_layers"]):
        tensors |= _below(f"encoder.block.{index}", block)
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return tensors | {bias: (config["relative_attention_num_buckets"], heads)}


def _qwen3(config: Config) -> Tensors:
    width, inner, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    _only(config, attention_bias=False)
    layer: Tensors = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
    layer |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
    for name, outputs, inputs in (
        ("self_attn.q_proj", queries, width),
        ("self_attn.k_proj", keys, width),
        ("self_attn.v_proj", keys, width),
        ("self_attn.o_proj", width, queries),
        ("mlp.gate_proj", inner, width),
        ("mlp.up_proj", inner, width),
        ("mlp.down_proj", width, inner),
    ):
        layer |= _linear(name, outputs, inputs, bias=False)
    tensors: Tensors = {"embed_tokens.weight": (config["vocab_size"], width), "norm.weight": (width,)}
    for index in range(config["num_hidden_layers"]):
        tensors |= _below(f"layers.{index}", layer)
    return tensors


_FREQUENCIES: Final = 256
"""Numbers that a moment is told by, in both transformers."""


def _flux(config: Config) -> Tensors:
    size, heads = config["attention_head_dim"], config["num_attention_heads"]
    width = size * heads
    outputs = config["patch_size"] ** 2 * (config["out_channels"] or config["in_channels"])
    tensors = _linear("x_embedder", width, config["in_channels"])
    tensors |= _linear("context_embedder", width, config["joint_attention_dim"])
    embedders = {"timestep_embedder": _FREQUENCIES, "text_embedder": config["pooled_projection_dim"]}
    if config["guidance_embeds"]:
        embedders["guidance_embedder"] = _FREQUENCIES
    for name, inputs in embedders.items():
        tensors |= _linear(f"time_text_embed.{name}.linear_1", width, inputs)
        tensors |= _linear(f"time_text_embed.{name}.linear_2", width, width)
    double: Tensors = {}
    for name in ("norm1.linear", "norm1_context.linear"):
        double |= _linear(name, 6 * width, width)
    for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        double |= _linear(f"attn.{name}", width, width)
    double |= {f"attn.norm_{name}.weight": (size,) for name in ("q", "k", "added_q", "added_k")}
    for name in ("ff", "ff_context"):
        double |= _linear(f"{name}.net.0.proj", 4 * width, width) | _linear(f"{name}.net.2", width, 4 * width)
    single = _linear("norm.linear", 3 * width, width) | _linear("proj_mlp", 4 * width, width)
    single |= _linear("proj_out", width, 5 * width)
    single |= {f"attn.norm_{letter}.weight": (size,) for letter in "qk"}
    for letter in "qkv":
        single |= _linear(f"attn.to_{letter}", width, width)
    for index in range(config["num_layers"]):
        tensors |= _below(f"transformer_blocks.{index}", double)
    for index in range(config["num_single_layers"]):
        tensors |= _below(f"single_transformer_blocks.{index}", single)
    return tensors | _linear("norm_out.linear", 2 * width, width) | _linear("proj_out", outputs, width)


def _z_image(config: Config) -> Tensors:
    _only(config, qk_norm=True, siglip_feat_dim=None, n_kv_heads=config["n_heads"])
    width, size = config["dim"], config["dim"] // config["n_heads"]
    moment, inner = min(width, _FREQUENCIES), int(width / 3 * 8)
    block: Tensors = {f"attention.norm_{letter}.weight": (size,) for letter in "qk"}
    block |= {f"{name}.weight": (width,) for name in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")}
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        block |= _linear(f"attention.{name}", width, width, bias=False)
    for name in ("w1", "w3"):
        block |= _linear(f"feed_forward.{name}", inner, width, bias=False)
    block |= _linear("feed_forward.w2", width, inner, bias=False)
    modulated = block | _linear("adaLN_modulation.0", 4 * width, moment)
    tensors: Tensors = {"x_pad_token": (1, width), "cap_pad_token": (1, width)}
    for patch, frames in zip(config["all_patch_size"], config["all_f_patch_size"], strict=True):
        pixels = patch * patch * frames * config["in_channels"]
        tensors |= _linear(f"all_x_embedder.{patch}-{frames}", width, pixels)
        tensors |= _linear(f"all_final_layer.{patch}-{frames}.linear", pixels, width)
        tensors |= _linear(f"all_final_layer.{patch}-{frames}.adaLN_modulation.1", width, moment)
    tensors |= _linear("t_embedder.mlp.0", 1024, _FREQUENCIES) | _linear("t_embedder.mlp.2", moment, 1024)
    tensors |= {"cap_embedder.0.weight": (config["cap_feat_dim"],)}
    tensors |= _linear("cap_embedder.1", width, config["cap_feat_dim"])
    for index in range(config["n_refiner_layers"]):
        tensors |= _below(f"noise_refiner.{index}", modulated) | _below(f"context_refiner.{index}", block)
    for index in range(config["n_layers"]):
        tensors |= _below(f"layers.{index}", modulated)
    return tensors


_CLIP_DEFAULTS: Final[Config] = {
    "vocab_size": 49_408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "max_position_embeddings": 77,
}
# The defaults of the classes, which older configurations leave out.
_DESCRIPTIONS: Final[Mapping[str, tuple[Config, Callable[[Config], Tensors]]]] = {
    "UNet2DConditionModel": (
        {
            "in_channels": 4,
            "out_channels": 4,
            "conv_in_kernel": 3,
            "conv_out_kernel": 3,
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
            "only_cross_attention": False,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "cross_attention_dim": 1280,
            "transformer_layers_per_block": 1,
            "reverse_transformer_layers_per_block": None,
            "encoder_hid_dim_type": None,
            "dual_cross_attention": False,
            "use_linear_projection": False,
            "class_embed_type": None,
            "addition_embed_type": None,
            "num_class_embeds": None,
            "resnet_time_scale_shift": "default",
            "time_embedding_type": "positional",
            "time_embedding_dim": None,
            "time_cond_proj_dim": None,
            "projection_class_embeddings_input_dim": None,
            "attention_type": "default",
            "cross_attention_norm": None,
        },
        lambda config: _UNet(config).tensors(),
    ),
    "AutoencoderKL": (
        {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ["DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D"],
            "block_out_channels": [64],
            "layers_per_block": 1,
            "latent_channels": 4,
            "use_quant_conv": True,
            "use_post_quant_conv": True,
            "mid_block_add_attention": True,
        },
        _autoencoder,
    ),
    "CLIPTextModel": (_CLIP_DEFAULTS, _clip),
    "CLIPTextModelWithProjection": (_CLIP_DEFAULTS, _clip_with_projection),
    "T5EncoderModel": ({"relative_attention_num_buckets": 32, "feed_forward_proj": "relu"}, _t5),
    "Qwen3Model": ({"attention_bias": False, "head_dim": 128}, _qwen3),
    "FluxTransformer2DModel": (
        {
            "patch_size": 1,
            "in_channels": 64,
            "out_channels": None,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": False,
        },
        _flux,
    ),
    "ZImageTransformer2DModel": (
        {
            "all_patch_size": [2],
            "all_f_patch_size": [1],
            "in_channels": 16,
            "dim": 3840,
            "n_layers": 30,
            "n_refiner_layers": 2,
            "n_heads": 30,
            "n_kv_heads": 30,
            "qk_norm": True,
            "cap_feat_dim": 2560,
            "siglip_feat_dim": None,
        },
        _z_image,
    ),
}
