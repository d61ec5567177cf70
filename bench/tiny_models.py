"""Models of every family: the true classes of diffusers and transformers, a few thousand random weights each."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from gpu_worker.models.files import ModelSpec, list_files
from gpu_worker.render.super_resolution import NetworkShape, SuperResolutionNetwork, save_super_resolution

WIDTH = 32
# Of another width than the first, by which loaders of single files tell the text encoders of XL apart.
_SECOND_WIDTH = 48
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(models_dir: Path, family: str) -> ModelSpec:
    """Saves a model of a family as a diffusers folder and describes it; the same weights every time."""
    unfinished = ModelSpec(f"{family}-folder", "1", family, ())
    folder = unfinished.folder(models_dir)
    save_pipeline(tiny_pipeline(family), folder)
    if family == "tiny":
        with torch.random.fork_rng():
            torch.manual_seed(3)
            save_super_resolution(SuperResolutionNetwork(NetworkShape(width=8, block_count=1)), folder / "upscaler")
    return described(models_dir, unfinished.model_id, family)


def save_pipeline(pipe: Any, folder: Path) -> None:
    """Saves a pipeline, with a chat template inside of the tokenizer's config, where published models have it."""
    pipe.save_pretrained(folder)
    for template in folder.glob("*/chat_template.jinja"):
        pipe.tokenizer.save_pretrained(template.parent, save_jinja_files=False)
        template.unlink()


def described(models_dir: Path, model_id: str, family: str) -> ModelSpec:
    """Describes the files of a model's folder as the catalogue would."""
    return ModelSpec(model_id, "1", family, list_files(models_dir / model_id / "1"))


def tiny_pipeline(family: str) -> Any:
    """Returns the pipeline of a family with seeded random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pipe = _BUILDERS[family]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                _seed(part.eval())
    return pipe


def with_channels(pipe: Any, channels: int) -> Any:
    """Gives a pipeline another U-Net, which takes more channels than those of latents."""
    width = pipe.unet.config.cross_attention_dim
    with torch.random.fork_rng():
        torch.manual_seed(2)
        pipe.unet = _unet(cross_attention_dim=width, in_channels=channels).eval()
        _seed(pipe.unet)
    return pipe


def _seed(module: torch.nn.Module) -> None:
    # Not the usual small numbers of an untrained model: each input must be seen in the output.
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.0 if "token" in name else 1 / math.sqrt(math.prod(parameter.shape[1:])))


def _tiny() -> Any:
    scheduler = EulerDiscreteScheduler(
        beta_schedule="linear", prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
    )
    return _stable_diffusion(scheduler)


def _sd15() -> Any:
    return _stable_diffusion(
        PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        )
    )


def _stable_diffusion(scheduler: Any) -> Any:
    return StableDiffusionPipeline(
        vae=_vae(latent_channels=4),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(),
        unet=_unet(cross_attention_dim=WIDTH),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    unet = _unet(
        cross_attention_dim=WIDTH + _SECOND_WIDTH,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + _SECOND_WIDTH,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(latent_channels=4, scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(_clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(_SECOND_WIDTH)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad_token="!"),  # noqa: S106 - as XL's second one has it
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def _flux() -> Any:
    letters = [(chr(code), -4.0) for code in range(33, 127)]
    t5_vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    t5_config = T5Config(
        vocab_size=128,
        d_model=WIDTH,
        d_ff=64,
        d_kv=16,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_flow_vae(),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(t5_config),
        tokenizer_2=T5Tokenizer(vocab=t5_vocabulary, extra_ids=0),
        transformer=transformer,
    )


def _zimage() -> Any:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*_byte_characters(), *special])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=special[1:], model_max_length=1024)
    tokenizer.chat_template = _CHAT
    text_config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
    )
    transformer = ZImageTransformer2DModel(
        dim=64,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 12, 12],
        axes_lens=[1536, 64, 64],
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flow_vae(),
        text_encoder=Qwen3Model(text_config),
        tokenizer=tokenizer,
        transformer=transformer,
    )


def _sd_x4() -> Any:
    vae = AutoencoderKL(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        scaling_factor=0.08333,
    )
    return StableDiffusionUpscalePipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(),
        unet=_unet(cross_attention_dim=WIDTH, in_channels=7, num_class_embeds=1000),
        low_res_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False),
        max_noise_level=350,
    )


def _sd_x2() -> Any:
    unet = UNet2DConditionModel(
        in_channels=8,
        out_channels=5,
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
        up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
        mid_block_type=None,
        act_fn="gelu",
        attention_head_dim=8,
        norm_num_groups=None,
        conv_in_kernel=1,
        conv_out_kernel=1,
        cross_attention_dim=WIDTH,
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="fourier",
        time_cond_proj_dim=128 + WIDTH,
        timestep_post_act="gelu",
    )
    return StableDiffusionLatentUpscalePipeline(
        vae=_vae(latent_channels=4),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, prediction_type="sample"),
    )


def clip_tokenizer(**changes: Any) -> CLIPTokenizer:
    """Returns CLIP's tokenizer with the 256 bytes as its vocabulary: one token a letter."""
    characters = _byte_characters()
    tokens = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77, **changes)


def _byte_characters() -> list[str]:
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]


def _clip_config(width: int = WIDTH) -> CLIPTextConfig:
    tokenizer = clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(**changes: Any) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**settings | changes)


def _vae(**changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=128,
        **changes,
    )


def _flow_vae() -> AutoencoderKL:
    return _vae(
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        force_upcast=True,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


_BUILDERS: dict[str, Callable[[], Any]] = {
    "tiny": _tiny,
    "sd15": _sd15,
    "sdxl": _sdxl,
    "flux": _flux,
    "zimage": _zimage,
    "sd_x4": _sd_x4,
    "sd_x2": _sd_x2,
}
FAMILY_NAMES = tuple(_BUILDERS)
