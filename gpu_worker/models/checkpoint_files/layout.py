"""How a model lies in its folder: which parts it has, of which class, with which configuration, and in which files.

A folder is what diffusers' `save_pretrained` writes, or one safetensors file with such a folder, `config/`, beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpu_worker.models.checkpoint_files.header import CheckpointError

CONFIG_FOLDER: Final = "config"
INDEX_NAME: Final = "model_index.json"
SCHEDULER_CONFIG: Final = "scheduler/scheduler_config.json"
_PART_CONFIG: Final = "config.json"
_STEMS: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""What each library calls the files of weights."""
# What a model_index.json may name the classes of its parts from: any other module would be imported by diffusers.
_LIBRARIES: Final = frozenset({"diffusers", "transformers", "stable_diffusion", None})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a model."""

    name: str
    library: str
    class_name: str
    folder: Path

    @property
    def stem(self) -> str:
        """What its files of weights are called, where it has any."""
        return _STEMS[self.library]

    def config(self) -> dict[str, Any]:
        """Reads its configuration; raises CheckpointError when there is none."""
        return _read_object(self.folder / _PART_CONFIG)

    def weight_files(self) -> list[Path]:
        """Returns its own files of weights, as the libraries look for them; none when they are elsewhere, or missing."""
        whole = self.folder / f"{self.stem}.safetensors"
        if whole.is_file():
            return [whole]
        index = whole.with_name(whole.name + ".index.json")
        if not index.is_file():
            return []
        places = _read_object(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise CheckpointError(f"{_label(index)} has no map of weights")
        return [self.folder / name for name in sorted({*places.values()})]


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's folder."""

    folder: Path
    checkpoint: Path | None
    """The single file, where the model is one."""
    parts: Mapping[str, Part]
    """Those of diffusers and transformers that a model_index.json names, whether they have weights or not."""

    @property
    def config_folder(self) -> Path:
        """The folder of diffusers."""
        return self.folder if self.checkpoint is None else self.folder / CONFIG_FOLDER

    def scheduler_config(self) -> dict[str, Any]:
        """Reads the configuration of the model's own scheduler; raises CheckpointError when there is none."""
        return _read_object(self.config_folder / SCHEDULER_CONFIG)


def layout_of(folder: Path) -> Layout:
    """Finds the parts of a model.

    Raises CheckpointError when the folder is neither a diffusers folder nor a single-file checkpoint, or names parts
    from elsewhere.
    """
    checkpoint = _single_file(folder)
    config = folder if checkpoint is None else folder / CONFIG_FOLDER
    named = {name: value for name, value in _read_object(config / INDEX_NAME).items() if isinstance(value, list)}
    foreign = sorted(str(value[0]) for value in named.values() if value and value[0] not in _LIBRARIES)
    if foreign:
        raise CheckpointError(f"{INDEX_NAME} names a part of {foreign[0]}, which is not of diffusers or transformers")
    parts = {
        name: Part(name, value[0], value[1], config / name)
        for name, value in named.items()
        if len(value) == 2 and value[0] in _STEMS and isinstance(value[1], str)  # noqa: PLR2004 - library and class
    }
    return Layout(folder, checkpoint, parts)


def _single_file(folder: Path) -> Path | None:
    if (folder / INDEX_NAME).exists():
        return None
    checkpoints = sorted(folder.glob("*.safetensors"))
    if len(checkpoints) != 1 or not (folder / CONFIG_FOLDER / INDEX_NAME).exists():
        raise CheckpointError(
            f"a model is a folder with {INDEX_NAME}, or one .safetensors file with a folder {CONFIG_FOLDER} beside it"
        )
    return checkpoints[0]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{_label(path)} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{_label(path)} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{_label(path)} is no JSON object")
    return document


def _label(path: Path) -> str:
    return path.name if path.name == INDEX_NAME else f"{path.parent.name}/{path.name}"
