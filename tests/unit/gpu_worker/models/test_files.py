"""A model is loaded only when its files are exactly what the catalogue says, and nothing that runs code."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_worker.models.files import (
    MANIFEST_NAME,
    FileVerifier,
    ModelFile,
    ModelFilesError,
    ModelSpec,
    file_sha256,
    list_files,
    manifest_entries,
    read_specification,
    verify_files,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "w.safetensors").write_bytes(b"weights")
    (folder / "model_index.json").write_bytes(b"{}")
    (folder / MANIFEST_NAME).write_bytes(b"{}")
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were read, as they are read."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("gpu_worker.models.files.file_sha256", counted)
    return names


def test_listing_describes_every_file_but_the_manifest(folder: Path) -> None:
    assert [(file.path, file.size_bytes) for file in list_files(folder)] == [
        ("model_index.json", 2),
        ("unet/w.safetensors", 7),
    ]
    verify_files(folder, list_files(folder))


def test_file_with_one_changed_byte_is_refused(folder: Path) -> None:
    files = list_files(folder)
    (folder / "unet" / "w.safetensors").write_bytes(b"weighty")
    with pytest.raises(ModelFilesError, match=r"unet/w\.safetensors does not have the SHA-256"):
        verify_files(folder, files)


def test_file_is_hashed_once_and_again_after_any_change(folder: Path, hashed: list[str]) -> None:
    files, verifier = list_files(folder), FileVerifier()
    hashed.clear()
    verifier.verify(folder, files)
    verifier.verify(folder, files)
    assert hashed == ["model_index.json", "w.safetensors"]

    other = folder.parent / "other"
    other.write_bytes(b"weighty")  # of the same size, put in place of the file with the same time of modification
    stat = (folder / "unet" / "w.safetensors").stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(folder / "unet" / "w.safetensors")
    with pytest.raises(ModelFilesError, match="SHA-256"):
        verifier.verify(folder, files)
    assert hashed == ["model_index.json", "w.safetensors", "w.safetensors"]


def test_verifier_of_the_next_process_hashes_again(folder: Path, hashed: list[str]) -> None:
    files = list_files(folder)
    hashed.clear()
    for _ in range(2):
        FileVerifier().verify(folder, files)
    assert len(hashed) == 4


def test_file_that_is_known_to_be_wrong_stays_refused(folder: Path) -> None:
    files, verifier = list_files(folder), FileVerifier()
    (folder / "unet" / "w.safetensors").write_bytes(b"weighty")
    for _ in range(2):
        with pytest.raises(ModelFilesError, match="SHA-256"):
            verifier.verify(folder, files)


def test_file_cut_short_is_refused_by_its_size(folder: Path) -> None:
    files = list_files(folder)
    (folder / "unet" / "w.safetensors").write_bytes(b"weigh")
    with pytest.raises(ModelFilesError, match="has 5 bytes, the specification says 7"):
        verify_files(folder, files)


def test_missing_file_is_named(folder: Path) -> None:
    files = list_files(folder)
    (folder / "model_index.json").unlink()
    with pytest.raises(ModelFilesError, match=r"model_index\.json is missing"):
        verify_files(folder, files)


@pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.ckpt", "w.pkl", "pipeline.py", "noextension"])
def test_file_that_is_not_safetensors_is_refused_even_when_it_is_specified(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"weights")
    with pytest.raises(ModelFilesError, match="weights must be safetensors"):
        verify_files(folder, list_files(folder))


def test_file_that_nobody_specified_is_refused(folder: Path) -> None:
    files = list_files(folder)
    (folder / "unet" / "extra.safetensors").write_bytes(b"x")
    with pytest.raises(ModelFilesError, match=r"unet/extra\.safetensors is not among"):
        verify_files(folder, files)


@pytest.mark.parametrize("path", ["../x.json", "/etc/x.json", "unet/../../x.json"])
def test_path_that_leaves_the_folder_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(ModelFilesError, match="leaves the model's folder"):
        verify_files(folder, (ModelFile(path, 0, ""),))


@pytest.mark.parametrize("name", ["..", "", "a/b", "/a", ".hidden"])
def test_model_name_that_leaves_the_models_folder_is_refused(tmp_path: Path, name: str) -> None:
    spec = ModelSpec("model", "1", "tiny", ())
    assert spec.folder(tmp_path) == tmp_path / "model" / "1"
    for bad in (replace(spec, model_id=name), replace(spec, revision=name)):
        with pytest.raises(ModelFilesError, match="not a plain file name"):
            bad.folder(tmp_path)


def test_manifest_gives_the_specification_back(folder: Path) -> None:
    spec = ModelSpec("model", "3", "tiny", list_files(folder))
    manifest = {"model_id": "model", "revision": "3", "family": "tiny", "files": manifest_entries(spec.files)}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert read_specification(folder / MANIFEST_NAME) == spec


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 3}', b'{"model_id": "m", "files": [{}]}', b"\xff"])
def test_broken_manifest_is_refused_with_its_path(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"manifest\.json is not a readable manifest"):
        read_specification(folder / MANIFEST_NAME)
