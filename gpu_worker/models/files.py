"""The files of a model on disk: their specification, their hashes, and the refusal of anything else.

Owns the rule that only safetensors and text are ever loaded, and only when every byte is as specified. Leaves fetching
files to `model_fetch`, and loading them to `families`.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Final

MANIFEST_NAME = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Weights are safetensors; the rest is text that configures tokenizers and layers. Pickles (.bin, .pt, .ckpt) and Python
# (.py) run code when loaded, so they are refused even where the specification lists them.
_ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})


class ModelFilesError(Exception):
    """The files of a model are absent or not what its specification says."""


class ModelUnusableError(Exception):
    """The files of a model are what its specification says, but no picture can be made with them.

    No other attempt, worker or parameter of a job changes that.

    Attributes:
        model_id: which model.
        problem: what is wrong, for operators.

    """

    def __init__(self, model_id: str, problem: str) -> None:
        """Takes what operators need to know."""
        super().__init__(f"the model {model_id} can't be used: {problem}")
        self.model_id = model_id
        self.problem = problem


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

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.size_bytes for file in self.files)

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


class FileVerifier:
    """Checks folders against specifications, and remembers what it has read.

    A file is read again when anything about it has changed that the file system tells. What it doesn't tell (a disk
    that rots) is found when the next process loads the model.
    """

    def __init__(self) -> None:
        """Remembers nothing yet, so that a process reads each file once at least."""
        # Threads may check at once: at worst both read a file, and write down the same.
        self._hashed: dict[Path, tuple[_Identity, str]] = {}

    def verify(self, folder: Path, files: tuple[ModelFile, ...]) -> None:
        """Checks that a folder holds exactly the specified files; raises ModelFilesError naming the first that is wrong.

        A file that nobody specified is refused too: loaders look for files by name, and would take it.
        """
        refuse_unsafe_files(files)
        for file in files:
            self._verify_file(folder / file.path, file)
        unlisted = set(_paths_below(folder)) - {file.path for file in files}
        if unlisted:
            raise ModelFilesError(f"{min(unlisted)} is not among the files of the model's specification")

    def _verify_file(self, path: Path, file: ModelFile) -> None:
        if not path.is_file():
            raise ModelFilesError(f"{file.path} is missing")
        before = _Identity.of(path.stat())
        # The size first: it refuses a file cut short without reading gigabytes of it.
        if before.size_bytes != file.size_bytes:
            raise ModelFilesError(
                f"{file.path} has {before.size_bytes} bytes, the specification says {file.size_bytes}"
            )
        known, sha256 = self._hashed.get(path, (None, ""))
        if known != before:
            sha256 = file_sha256(path)
            self._hashed[path] = before, sha256
        if sha256 != file.sha256:
            raise ModelFilesError(f"{file.path} does not have the SHA-256 of the specification")


def verify_files(folder: Path, files: tuple[ModelFile, ...]) -> None:
    """Checks a folder with the verifier of this process; see `FileVerifier.verify`."""
    _PROCESS_VERIFIER.verify(folder, files)


def refuse_unsafe_files(files: tuple[ModelFile, ...]) -> None:
    """Raises ModelFilesError for a specification with a path out of the folder, or a file that may run code."""
    for file in files:
        pure = PurePosixPath(file.path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ModelFilesError(f"{file.path} leaves the model's folder")
        if pure.suffix not in _ALLOWED_SUFFIXES:
            raise ModelFilesError(f"{file.path} is refused: weights must be safetensors, everything else plain text")


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


@dataclass(frozen=True, slots=True)
class _Identity:
    """What changes when a file is written or replaced. The change time can't be set by whoever writes a file."""

    device: int
    inode: int
    size_bytes: int
    modify_time_ns: int
    change_time_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "_Identity":
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


_PROCESS_VERIFIER: Final = FileVerifier()
