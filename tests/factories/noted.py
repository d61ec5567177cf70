"""Pictures with notes in them, as programs write them: made with Pillow, which is what most of those programs write with."""

import io
from typing import Any, Final

from PIL import ExifTags, Image, PngImagePlugin

_MODEL, _MAKE = 0x0110, 0x010F

COMFYUI_GRAPH: Final[dict[str, Any]] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 18446744073709551615,
            "steps": 25,
            "cfg": 6.5,
            "sampler_name": "euler_ancestral",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["10", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "SD15\\pingvas_tiny.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": ["20", 0], "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a heron", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["10", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["11", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "ink.safetensors",
            "strength_model": 0.7,
            "strength_clip": 0.7,
            "model": ["4", 0],
            "clip": ["4", 1],
        },
    },
    "11": {"class_type": "VAELoader", "inputs": {"vae_name": "vae-ft-mse.safetensors"}},
    "20": {"class_type": "PrimitiveInt", "inputs": {"value": 768}},
}
"""As it was run, with a link in place of a number, a LoRA, and a VAE of its own, which nothing here corresponds to."""

INVOKEAI_METADATA: Final[dict[str, Any]] = {
    "generation_mode": "txt2img",
    "positive_prompt": "a heron",
    "negative_prompt": "fog",
    "width": 512,
    "height": 768,
    "seed": 4294967295,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0,
    "steps": 30,
    "scheduler": "dpmpp_2m_k",
    "seamless_x": False,
    "model": {"key": "4d", "hash": "blake3:ab", "name": "Pingvas Tiny", "base": "sd-1", "type": "main"},
    "loras": [
        {"model": {"key": "5e", "hash": "blake3:cd", "name": "Ink", "base": "sd-1", "type": "lora"}, "weight": 0.75}
    ],
    "clip_skip": 1,
    "app_version": "5.6.0",
}

A1111_PARAMETERS: Final = """a heron, (blue:1.2)
at dawn <lora:ink:0.8>
Negative prompt: fog,
rain
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 4294967295, Size: 512x768, Model hash: 6ce0161689, \
Model: pingvas_tiny, Clip skip: 2, Lora hashes: "ink: 3e, chalk: 4f", Hashes: {"model": "6ce0161689", "vae": "c6"}, \
Version: v1.10.1"""


def noted_png(*, compressed: bool = False, **texts: str) -> bytes:
    """Returns a PNG with text chunks in front of its pixels; Pillow makes them iTXt where Latin-1 isn't enough."""
    notes = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        notes.add_text(keyword, text, zip=compressed)
    return _saved("PNG", pnginfo=notes)


def commented(kind: str, comment: bytes) -> bytes:
    """Returns a JPEG or WebP whose EXIF block has a comment, with its character set in front."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return _saved(kind, exif=exif.tobytes())


def comfyui_file(kind: str, run: str, drawn: str) -> bytes:
    """Returns a JPEG or WebP as ComfyUI writes it: notes in fields that are meant for the camera."""
    exif = Image.Exif()
    exif[_MODEL], exif[_MAKE] = f"prompt:{run}", f"workflow:{drawn}"
    return _saved(kind, exif=exif.tobytes())


def _saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((96, 64), 60).convert("RGB").save(file, kind, **options)
    return file.getvalue()
