"""The files of a model on disk: their specification, their hashes, and the refusal of anything else.

Owns the rule that only safetensors and text are ever loaded, and only when every byte is as specified. Leaves fetching
files to whoever fills the models folder, and loading them to `families`.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

MANIFEST_NAME = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Weights are safetensors; the rest is text that configures tokenizers and layers. Pickles (.bin, .pt, .ckpt) and Python
# (.py) run code when loaded, so they are refused even where the specification lists them.
_ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})


class ModelFilesError(Exception):
    """The files of a model are absent or not what its specification says."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: its path inside the model's folder, with forward slashes, and its content."""

    path: str
    size_bytes: int
    sha256: str
    """Lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model to load and what its files must be, as the catalogue says."""

    model_id: str
    revision: str
    family: str
    files: tuple[ModelFile, ...]

    def folder(self, models_dir: Path) -> Path:
        """Returns the model's folder; raises ModelFilesError for a name that could leave models_dir."""
        for name in (self.model_id, self.revision):
            if not _NAME.fullmatch(name):
                raise ModelFilesError(f"the model name {name!r} is not a plain file name")
        return models_dir / self.model_id / self.revision


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path) -> tuple[ModelFile, ...]:
    """Describes every file below a model's folder but the manifest, in the order of their paths."""
    return tuple(
        ModelFile(path, (folder / path).stat().st_size, file_sha256(folder / path)) for path in _paths_below(folder)
    )


def verify_files(folder: Path, files: tuple[ModelFile, ...]) -> None:
    """Checks that a folder holds exactly the specified files; raises ModelFilesError naming the first that is wrong.

    A file that nobody specified is refused too: loaders look for files by name, and would take it.
    """
    for file in files:
        _refuse_unsafe_path(file.path)
        _verify_file(folder / file.path, file)
    unlisted = set(_paths_below(folder)) - {file.path for file in files}
    if unlisted:
        raise ModelFilesError(f"{min(unlisted)} is not among the files of the model's specification")


def read_specification(manifest_path: Path) -> ModelSpec:
    """Reads what a model's manifest says of its files; raises ModelFilesError when it is absent or broken."""
    try:
        manifest = json.loads(manifest_path.read_bytes())
        files = tuple(ModelFile(file["path"], file["size_bytes"], file["sha256"]) for file in manifest["files"])
        return ModelSpec(manifest["model_id"], manifest["revision"], manifest["family"], files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{manifest_path} is not a readable manifest: {error}") from error


def manifest_entries(files: tuple[ModelFile, ...]) -> list[dict[str, object]]:
    """Returns files in the form that a manifest holds."""
    return [asdict(file) for file in files]


def _paths_below(folder: Path) -> list[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(path for path in paths if path != MANIFEST_NAME)


def _refuse_unsafe_path(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ModelFilesError(f"{path} leaves the model's folder")
    if pure.suffix not in _ALLOWED_SUFFIXES:
        raise ModelFilesError(f"{path} is refused: weights must be safetensors, everything else plain text")


def _verify_file(path: Path, file: ModelFile) -> None:
    if not path.is_file():
        raise ModelFilesError(f"{file.path} is missing")
    # The size first: it refuses a file cut short without reading gigabytes of it.
    if path.stat().st_size != file.size_bytes:
        raise ModelFilesError(f"{file.path} has {path.stat().st_size} bytes, the specification says {file.size_bytes}")
    if file_sha256(path) != file.sha256:
        raise ModelFilesError(f"{file.path} does not have the SHA-256 of the specification")
