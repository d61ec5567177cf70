"""Files of LoRAs as accounts upload them, for the built-in model, and files that lie."""

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save

ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1"
"""An attention layer of the built-in model, whose sides have 112 numbers."""
SIDE = 112


def lora_bytes(*, rank: int = 4, size: float = 0.3, filling: int = 0, seed: int = 1) -> bytes:
    """Returns a LoRA that the built-in model applies; `filling` is how many bytes of modules for other models are beside."""
    generator = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) * size).astype(np.float32)

    tensors = {}
    for layer in ("to_q", "to_k"):
        tensors[f"unet.{ATTENTION}.{layer}.lora_A.weight"] = drawn(rank, SIDE)
        tensors[f"unet.{ATTENTION}.{layer}.lora_B.weight"] = drawn(SIDE, rank)
    if filling:
        half = max(1, filling // 8)
        tensors["unet.other_block.to_q.lora_A.weight"] = np.zeros((1, half), np.float32)
        tensors["unet.other_block.to_q.lora_B.weight"] = np.zeros((half, 1), np.float32)
    return save(tensors)


def file_of(document: Mapping[str, object], data: bytes = b"") -> bytes:
    """Returns a safetensors file with any header, be it true or not."""
    header = json.dumps(document).encode()
    return len(header).to_bytes(8, "little") + header + data


def overlapping() -> bytes:
    """Returns a LoRA whose two matrices claim the same bytes."""
    down = {"dtype": "F32", "shape": [1, SIDE], "data_offsets": [0, SIDE * 4]}
    up = {"dtype": "F32", "shape": [SIDE, 1], "data_offsets": [0, SIDE * 4]}
    names = (f"unet.{ATTENTION}.to_q.lora_A.weight", f"unet.{ATTENTION}.to_q.lora_B.weight")
    return file_of(dict(zip(names, (down, up), strict=True)), bytes(SIDE * 4))
