"""The layers and weights of `pingvas-tiny`: Stable Diffusion's own classes, small, with seeded random weights.

The weights are random but not any weights: they are scaled so that numbers keep their size from layer to layer, and the
kernels lean towards blurs so that what comes out are soft coloured shapes rather than static. They are drawn as
integers, combined in double precision and rounded to half precision, so that every machine writes the same bytes.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_SEED: Final = 1
_TEXT_WIDTH: Final = 64
_TOKENS: Final = 77
_LATENT_SIDE: Final = 32
# How much of a 3 x 3 kernel is free of the blur: at 1 pictures are static, at 0 they are fog.
_KERNEL_GRAIN: Final = 0.2
# The decoder's last layer brings its output to a standard deviation of about 0.5, the contrast of a photograph.
_CONTRAST: Final = 0.45
# Moves the input of the decoder's last activation to where it is nearly straight; its output is centred again by the
# weights that follow, which add up to zero.
_LINEAR_SHIFT: Final = 1.5
# Residual branches of the VAE weigh little beside what they are added to, so that a picture is nearly a linear map of
# its latents, as it is with trained VAEs: previews rely on that.
_VAE_RESIDUAL: Final = 0.2
_BLUR: Final = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 6.0  # of unit length, like the random kernels


def save(folder: Path) -> None:
    """Writes the model as a diffusers folder of safetensors in half precision."""
    tokenizer = _tokenizer()
    text_encoder = _text_encoder(tokenizer)
    unet = _unet()
    vae = _vae()
    for name, module in (("text_encoder", text_encoder), ("unet", unet), ("vae", vae)):
        _seed_weights(name, module)
    pipe = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    _compute_in_single_precision(folder / "text_encoder" / "config.json")


def _compute_in_single_precision(config_path: Path) -> None:
    # transformers notes the precision of the file as the one to compute in, diffusers computes in single precision
    # unless told otherwise: whoever loads the folder without naming a precision would get a pipeline of both, which
    # fails at its first step.
    config = json.loads(config_path.read_bytes())
    config["dtype"] = "float32"
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tokenizer() -> CLIPTokenizer:
    """Returns CLIP's tokenizer with its 256 bytes as the whole vocabulary: every language, one token a byte."""
    characters = _byte_characters()
    tokens = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=_TOKENS
    )


def _byte_characters() -> list[str]:
    """Returns the printable character that byte-level vocabularies write for each byte from 0 to 255."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_TEXT_WIDTH,
        intermediate_size=2 * _TEXT_WIDTH,
        projection_dim=_TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _unet() -> UNet2DConditionModel:
    # No attention at full size: among 1,024 cells it would take most of a step, and a step is to take 25 ms on a core.
    return UNet2DConditionModel(
        sample_size=_LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64, 80),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=(16, 32, 32, 48),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=8 * _LATENT_SIDE,
        scaling_factor=1.0,
    )


def _scheduler() -> EulerDiscreteScheduler:
    # Predicting velocity keeps the picture bounded whatever the network says: its first steps are the network's own
    # shapes, its last ones keep what is there. With noise prediction, random weights end in static.
    return EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="leading",
    )


def _seed_weights(module_name: str, module: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            weights = _weights(f"{module_name}.{name}", tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(weights))


def _weights(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns the weights of one parameter, which depend on its name and the seed alone."""
    if name == "vae.decoder.conv_norm_out.bias":
        return np.full(shape, _LINEAR_SHIFT, np.float64)
    if len(shape) == 1:
        return np.full(shape, 0.0 if name.endswith("bias") else 1.0, np.float64)
    if "embedding" in name and name.startswith("text_encoder"):
        # Words weigh more than their places, or all prompts of one length would look the same.
        return _uniform(name, shape) * (1.0 if "token" in name else 0.3)
    fan_in = math.prod(shape[1:])
    if shape[2:] != (3, 3):
        return _uniform(name, shape) / math.sqrt(fan_in)
    blurred: NDArray[np.float64] = _uniform(f"{name}.mix", (*shape[:2], 1, 1)) * _BLUR * (1 - _KERNEL_GRAIN)
    weights = (blurred + _uniform(name, shape) * _KERNEL_GRAIN) / math.sqrt(fan_in)
    if name == "vae.decoder.conv_out.weight":
        weights -= weights.mean(axis=1, keepdims=True)
        return weights * _CONTRAST
    return weights * (_VAE_RESIDUAL if name.startswith("vae.") and name.endswith("conv2.weight") else 1.0)


def _uniform(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns numbers of mean 0 and variance 1, uniform, from integers: the same on every processor."""
    digest = hashlib.sha256(f"{_SEED}/{name}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    integers = random.integers(-(2**15), 2**15, size=shape, dtype=np.int16)
    return (integers.astype(np.float64) + 0.5) * (math.sqrt(3.0) / 2**15)
