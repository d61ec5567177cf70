"""Models and LoRAs as an operator brings them: a folder with a manifest, pushed by the command."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.stage import Person, Stage, until

_MODEL: dict[str, Any] = {
    "native_width_px": 64,
    "native_height_px": 64,
    "default_step_count": 4,
    "default_guidance_scale": 5.0,
    "schedulers": ["euler", "ddim"],
    "operations": ["text_to_image", "image_to_image", "inpaint"],
    "cost": {"millicredits_per_megapixel_step": 380.5, "fixed_millicredits": 60},
}


def write_manifest(folder: Path, family: str, *, is_lora: bool = False, **changes: Any) -> None:
    """Writes the manifest of a model or LoRA that is named after its folder; `changes` replace what it says."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    ]
    manifest = {
        "model_id": folder.name,
        "display_name": folder.name,
        "family": family,
        "revision": "1",
        "licence": "CC0-1.0",
        "minimum_tier": "free",
        "files": files,
        **({"kind": "lora"} if is_lora else _MODEL),
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def push(stage: Stage, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `pingvas admin models push` and returns what came of it: `returncode`, `stdout` and `stderr`."""
    pingvas = Path(sys.executable).with_name("pingvas")
    command = [pingvas, "admin", "models", "push", "--data-dir", stage.fleet.layout.data_dir, folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pushed(stage: Stage, person: Person, folder: Path) -> str:
    """Pushes a folder that must be taken, waits until the catalogue has it, and returns its model id."""
    result = push(stage, folder)
    assert result.returncode == 0, result.stderr
    path = f"/api/v1/models/{folder.name}"
    until(
        lambda: stage.http.get(path, headers=dict(person.metadata)).status_code == httpx.codes.OK,
        f"the catalogue to have {folder.name}",
    )
    return folder.name
