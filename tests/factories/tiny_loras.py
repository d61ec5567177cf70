"""LoRAs for the tiny models: random low-rank changes of every attention layer of some parts."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.tiny_models import tiny_pipeline
from gpu_worker.models.files import ModelSpec, list_files

_RANK = 4
_LAYERS = ("to_q", "to_k", "to_v", "q_proj", "v_proj")


def tiny_lora(
    models_dir: Path, family: str, *, parts: tuple[str, ...], seed: int = 1, size: float = 0.5, factor: int = 1
) -> ModelSpec:
    """Saves a LoRA for some parts of a family's tiny model; a factor other than 1 makes it one for wider layers."""
    generator = torch.Generator().manual_seed(seed)
    pipe = tiny_pipeline(family)
    weights: dict[str, torch.Tensor] = {}
    for part in parts:
        for name, layer in _attention_layers(getattr(pipe, part)):
            shapes = {"lora_A": (_RANK, layer.in_features * factor), "lora_B": (layer.out_features * factor, _RANK)}
            for matrix, shape in shapes.items():
                values = torch.randn(shape, generator=generator) * size / shape[1] ** 0.5
                weights[f"{part}.{name}.{matrix}.weight"] = values
    model_id = f"lora-{family}-{'-'.join(parts)}-{seed}-{factor}"
    folder = models_dir / model_id / "1"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "lora.safetensors", metadata={"format": "pt"})
    return ModelSpec(model_id, "1", family, list_files(folder))


def _attention_layers(part: Any) -> list[tuple[str, torch.nn.Linear]]:
    return [
        (name, module)
        for name, module in part.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(_LAYERS)
    ]
