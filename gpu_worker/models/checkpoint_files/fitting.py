"""Whether the parts of a model fit each other, and which operations their sizes allow."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pingvas.vocabulary import Operation

Configs = Mapping[str, Mapping[str, Any]]
"""The configuration of each part."""

DRAWING: Final = frozenset({Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE, Operation.INPAINT})
_MASK_CHANNELS: Final = 1
_PATCH_CELLS: Final = 4
"""FLUX packs 2 x 2 cells of latents into one input."""
_TIME_IDS: Final = 6
"""Numbers of sizes and places that XL's U-Net is told."""


def drawing_operations(family: str, in_channels: int, latent_channels: int) -> frozenset[Operation]:
    """Returns what a denoiser with a number of inputs can do: more than latents are inputs of other tasks.

    A U-Net for inpainting takes the latents, the masked source's, and the mask. One for latents alone inpaints too, by
    putting the kept part back after each step.
    """
    wanted = latent_channels * _PATCH_CELLS if family == "flux" else latent_channels
    if in_channels == wanted:
        return DRAWING
    inpaints = family in {"sd15", "sdxl", "tiny"} and in_channels == 2 * latent_channels + _MASK_CHANNELS
    return frozenset({Operation.INPAINT}) if inpaints else frozenset()


def refusals(family: str, configs: Configs, operations: Collection[str]) -> Iterator[str]:
    """Yields why operations can't be had."""
    denoiser = "transformer" if "transformer" in configs else "unet"
    channels, latent = configs[denoiser].get("in_channels"), configs["vae"].get("latent_channels")
    if family.startswith("sd_x") or not isinstance(channels, int) or not isinstance(latent, int):
        return
    possible = drawing_operations(family, channels, latent)
    asked = sorted({*operations} & (DRAWING - possible))
    if asked:
        alone = f"it is for {', '.join(sorted(possible))} alone" if possible else "it is for another task"
        yield (
            f"the {denoiser} takes {channels} channels where {latent} are those of its latents, so {alone}:"
            f" take {', '.join(asked)} out of the manifest's operations"
        )


def misfits(family: str, configs: Configs) -> Iterator[str]:
    """Yields where sizes of one part don't agree with those of another; sizes that aren't told are passed over."""
    for first, first_key, first_size, second, second_size in _pairs(family, configs):
        if isinstance(first_size, int) and isinstance(second_size, int) and first_size != second_size:
            yield f"the {first} doesn't fit the {second}: its {first_key} is {first_size}, which would have to be {second_size}"


def _pairs(family: str, configs: Configs) -> Iterator[tuple[str, str, Any, str, Any]]:
    def of(part: str, key: str) -> Any:
        return configs.get(part, {}).get(key)

    latent, width = of("vae", "latent_channels"), of("text_encoder", "hidden_size")
    if family in {"sd15", "tiny", "sd_x4"}:
        yield "unet", "cross_attention_dim", of("unet", "cross_attention_dim"), "text_encoder", width
        yield "unet", "out_channels", of("unet", "out_channels"), "vae", latent
    elif family == "sdxl":
        other_width, pooled = of("text_encoder_2", "hidden_size"), of("text_encoder_2", "projection_dim")
        both = width + other_width if isinstance(width, int) and isinstance(other_width, int) else None
        yield "unet", "cross_attention_dim", of("unet", "cross_attention_dim"), "two text encoders", both
        yield "unet", "out_channels", of("unet", "out_channels"), "vae", latent
        ids, key = of("unet", "addition_time_embed_dim"), "projection_class_embeddings_input_dim"
        inputs = _TIME_IDS * ids + pooled if isinstance(ids, int) and isinstance(pooled, int) else None
        yield "unet", key, of("unet", key), "text_encoder_2", inputs
    elif family == "flux":
        joint, pooled = of("transformer", "joint_attention_dim"), of("transformer", "pooled_projection_dim")
        yield "transformer", "joint_attention_dim", joint, "text_encoder_2", of("text_encoder_2", "d_model")
        yield "transformer", "pooled_projection_dim", pooled, "text_encoder", width
    elif family == "zimage":
        yield "transformer", "cap_feat_dim", of("transformer", "cap_feat_dim"), "text_encoder", width
