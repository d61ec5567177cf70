"""Putting the built-in model into a models folder: once, whole or not at all, and repaired when it is damaged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_worker.builtin import MODEL_ID, REVISION, build, is_whole
from gpu_worker.model_files import MANIFEST_NAME


class Saver:
    """Writes a small folder in place of weights, and counts."""

    def __init__(self) -> None:
        self.saves = 0

    def __call__(self, folder: Path) -> None:
        self.saves += 1
        (folder / "unet").mkdir()
        (folder / "unet" / "w.safetensors").write_bytes(b"weights")


def save_half(folder: Path) -> None:
    (folder / "half.safetensors").write_bytes(b"w")
    raise OSError("no space left")


def test_build_does_nothing_when_the_folder_holds_what_its_manifest_says(tmp_path: Path) -> None:
    saver = Saver()
    manifest = build(tmp_path, saver)
    assert manifest == tmp_path / MODEL_ID / REVISION / MANIFEST_NAME
    before = manifest.stat().st_mtime_ns
    assert build(tmp_path, saver) == manifest
    assert saver.saves == 1
    assert manifest.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "manifest"])
def test_build_repairs_a_folder_when_it_is_damaged(tmp_path: Path, damage: str) -> None:
    saver = Saver()
    manifest = build(tmp_path, saver)
    weights = manifest.parent / "unet" / "w.safetensors"
    match damage:
        case "changed":
            weights.write_bytes(b"weighty")
        case "missing":
            weights.unlink()
        case "extra":
            (manifest.parent / "pickle.bin").write_bytes(b"x")
        case _:
            manifest.write_text("{")
    assert not is_whole(manifest.parent)
    build(tmp_path, saver)
    assert saver.saves == 2
    assert is_whole(manifest.parent)
    assert weights.read_bytes() == b"weights"


def test_build_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space left"):
        build(tmp_path, save_half)
    assert list((tmp_path / MODEL_ID).iterdir()) == []


def test_files_are_readable_by_other_users(tmp_path: Path) -> None:
    folder = build(tmp_path, Saver()).parent
    assert (folder / "unet" / "w.safetensors").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755


def test_manifest_tells_the_catalogue_everything(tmp_path: Path) -> None:
    manifest = json.loads(build(tmp_path, Saver()).read_bytes())
    assert manifest["model_id"] == "pingvas-tiny"
    assert manifest["family"] == "tiny"
    assert manifest["minimum_tier"] == "free"
    assert (manifest["native_width_px"], manifest["native_height_px"]) == (256, 256)
    assert manifest["cost"].keys() == {"millicredits_per_megapixel_step", "fixed_millicredits"}
    assert [file["path"] for file in manifest["files"]] == ["unet/w.safetensors"]
    assert manifest["default_step_count"] == 20
    assert {"display_name", "revision", "licence", "default_guidance_scale", "schedulers"} <= manifest.keys()


def test_torch_is_not_imported_when_nothing_is_rendered() -> None:
    modules = "builtin, encode, model_cache, preview, rendering"
    code = f"import sys; from gpu_worker import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
