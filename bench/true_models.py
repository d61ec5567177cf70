"""Models of the true sizes with random weights, made on the device: good for times, not for looks.

The configurations are those of the published models' config files (Stable Diffusion 1.5 and XL, FLUX.1 [dev],
Z-Image-Turbo). Tokenizers are small ones, since a prompt's words have no part in how long a step takes; the length that
the encoders work at is the models' own.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from bench.tiny_models import clip_tokenizer, tiny_pipeline

_WEIGHT_DEVIATION: Final = 0.02
_VAE_WIDTHS: Final = (128, 256, 512, 512)


def true_pipeline(family: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Returns the pipeline of a family on a device, with normal weights of deviation 0.02."""
    with _made_on(device, dtype):
        pipe = _BUILDERS[family]()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(requires_grad=False).eval()
            for parameter in part.parameters():
                # Every one: some are made without values, and zeros would take less power than a model's weights do.
                parameter.normal_(std=_WEIGHT_DEVIATION)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Any:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(usual)


def _scheduler(kind: Any, **config: Any) -> Any:
    """Returns a scheduler with its tables on the processor, where a loaded one has them; the meta device has no numbers."""
    with torch.device("cpu"):
        return kind(**config)


def _clip_l() -> CLIPTextConfig:
    return _clip(768, 12, 12, 3072)


def _clip(width: int, layers: int, heads: int, inner: int) -> CLIPTextConfig:
    tokenizer = clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=49_408,
        hidden_size=width,
        intermediate_size=inner,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _vae(**changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=_VAE_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        **changes,
    )


def _flow_vae() -> AutoencoderKL:
    return _vae(
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _sd15() -> Any:
    return StableDiffusionPipeline(
        vae=_vae(latent_channels=4, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(_clip_l()),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=64,
            layers_per_block=2,
            block_out_channels=(320, 640, 1280, 1280),
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        scheduler=_scheduler(
            PNDMScheduler,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    unet = UNet2DConditionModel(
        sample_size=128,
        layers_per_block=2,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(latent_channels=4, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip_l()),
        text_encoder_2=CLIPTextModelWithProjection(_clip(1280, 32, 20, 5120)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad_token="!"),  # noqa: S106 - a token of text
        unet=unet,
        scheduler=_scheduler(EulerDiscreteScheduler, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def _flux() -> Any:
    t5 = T5Config(
        vocab_size=32_128,
        d_model=4096,
        d_ff=10_240,
        d_kv=64,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    return FluxPipeline(
        scheduler=_scheduler(FlowMatchEulerDiscreteScheduler, shift=3.0, use_dynamic_shifting=True),
        vae=_flow_vae(),
        text_encoder=CLIPTextModel(_clip_l()),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tiny_pipeline("flux").tokenizer_2,
        transformer=FluxTransformer2DModel(guidance_embeds=True),
    )


def _zimage() -> Any:
    text = Qwen3Config(
        vocab_size=151_936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        rope_theta=1e6,
        tie_word_embeddings=True,
    )
    return ZImagePipeline(
        scheduler=_scheduler(FlowMatchEulerDiscreteScheduler, shift=3.0),
        vae=_flow_vae(),
        text_encoder=Qwen3Model(text),
        tokenizer=tiny_pipeline("zimage").tokenizer,
        transformer=ZImageTransformer2DModel(axes_lens=[1536, 512, 512]),
    )


_BUILDERS: dict[str, Callable[[], Any]] = {"sd15": _sd15, "sdxl": _sdxl, "flux": _flux, "zimage": _zimage}
