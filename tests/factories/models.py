"""Builds manifests of models, and folders of them."""

import json
from pathlib import Path
from typing import Any


def manifest_document(model_id: str = "a-model", **changes: Any) -> dict[str, Any]:
    """Returns the content of a good manifest.json, with changes."""
    document = {
        "model_id": model_id,
        "display_name": f"The model {model_id}",
        "family": "tiny",
        "revision": "1",
        "licence": "Apache-2.0",
        "native_width_px": 512,
        "native_height_px": 256,
        "minimum_tier": "free",
        "files": [
            {"path": "unet/weights.safetensors", "size_bytes": 1000, "sha256": "0a" * 32},
            {"path": "model_index.json", "size_bytes": 24, "sha256": "1b" * 32},
        ],
        "cost": {"millicredits_per_megapixel_step": 380.5, "fixed_millicredits": 60},
        "default_step_count": 20,
        "default_guidance_scale": 7.5,
        "schedulers": ["euler", "ddim"],
    }
    return document | changes


def lora_document(model_id: str = "a-lora", **changes: Any) -> dict[str, Any]:
    """Returns the content of a good manifest.json of a LoRA, with changes."""
    document = {
        "kind": "lora",
        "model_id": model_id,
        "display_name": f"The LoRA {model_id}",
        "family": "tiny",
        "revision": "1",
        "licence": "Apache-2.0",
        "minimum_tier": "free",
        "files": [{"path": "a.safetensors", "size_bytes": 1, "sha256": "00" * 32}],
    }
    return document | changes


def put_manifest(folder: Path, model_id: str = "a-model", *, within: str | None = None, **changes: Any) -> Path:
    """Writes a model's manifest below `folder` (in `within`, by default a folder of the model's name)."""
    path = folder / (within or model_id) / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest_document(model_id, **changes)))
    return path
