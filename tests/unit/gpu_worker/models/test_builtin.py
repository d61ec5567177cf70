"""Putting the built-in model into a models folder: once, whole or not at all, and repaired when it is damaged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_worker.models.builtin import MODEL_ID, REVISION, SHIPPED, install, is_whole, write_manifest
from gpu_worker.models.files import MANIFEST_NAME, ModelFilesError
from svc_models.domain.manifest import parse_manifest


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A small folder in place of the repository's."""
    folder = tmp_path / "shipped"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "w.safetensors").write_bytes(b"weights")
    write_manifest(folder)
    return folder


def test_install_does_nothing_when_the_folder_holds_what_its_manifest_says(tmp_path: Path, shipped: Path) -> None:
    manifest = install(tmp_path / "models", shipped)
    assert manifest == tmp_path / "models" / MODEL_ID / REVISION / MANIFEST_NAME
    before = manifest.stat()
    assert install(tmp_path / "models", shipped) == manifest
    after = manifest.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "manifest"])
def test_install_repairs_a_folder_when_it_is_damaged(tmp_path: Path, shipped: Path, damage: str) -> None:
    manifest = install(tmp_path, shipped)
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
    install(tmp_path, shipped)
    assert is_whole(manifest.parent)
    assert weights.read_bytes() == b"weights"


def test_install_refuses_shipped_files_that_are_damaged_and_leaves_nothing(tmp_path: Path, shipped: Path) -> None:
    (shipped / "unet" / "w.safetensors").write_bytes(b"weight!")
    with pytest.raises(ModelFilesError, match="SHA-256"):
        install(tmp_path / "models", shipped)
    assert not (tmp_path / "models").exists()


def test_files_are_readable_by_other_users(tmp_path: Path, shipped: Path) -> None:
    folder = install(tmp_path, shipped).parent
    assert (folder / "unet" / "w.safetensors").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755


def test_shipped_model_is_whole_and_small_and_its_manifest_fits_the_catalogue() -> None:
    assert is_whole(SHIPPED)
    manifest = parse_manifest((SHIPPED / MANIFEST_NAME).read_bytes())
    assert (manifest.model_id, manifest.revision, manifest.family) == (MODEL_ID, REVISION, "tiny")
    assert (manifest.native_width_px, manifest.native_height_px) == (256, 256)
    assert {operation.name.lower() for operation in manifest.operations} == {
        "text_to_image",
        "image_to_image",
        "inpaint",
        "upscale",
    }
    assert sum(file.size_bytes for file in manifest.files) <= 20_000_000
    assert {Path(file.path).suffix for file in manifest.files} <= {".safetensors", ".json", ".txt"}


def test_manifest_in_the_repository_is_the_one_that_would_be_written(tmp_path: Path) -> None:
    folder = install(tmp_path).parent
    before = json.loads((folder / MANIFEST_NAME).read_bytes())
    write_manifest(folder)
    assert json.loads((folder / MANIFEST_NAME).read_bytes()) == before


def test_torch_is_not_imported_when_nothing_is_rendered() -> None:
    modules = ("models.builtin", "pictures.encode", "pictures.preview", "render.residency", "render.interface")
    imports = ", ".join(f"gpu_worker.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
