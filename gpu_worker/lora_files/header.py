"""Names, shapes and metadata of a safetensors file, without its numbers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from safetensors import SafetensorError, safe_open

Shape: TypeAlias = tuple[int, ...]

_METADATA_KEY: Final = "lora_adapter_metadata"
"""Where diffusers' `save_lora_adapter` keeps the configuration of peft, each key with the name of its part before it."""
ADAPTER_CONFIG_NAME: Final = "adapter_config.json"
"""The file that peft's `save_pretrained` writes beside its weights."""


class LoraFileError(Exception):
    """A file that is no LoRA that can be applied exactly; the message says why, and names what it is about."""


@dataclass(frozen=True, slots=True)
class LoraHeader:
    """What a file holds: the shape of each tensor, and peft's configuration where there is one."""

    shapes: Mapping[str, Shape]
    config: Mapping[str, Any] = field(default_factory=dict)


def read_header(path: Path) -> LoraHeader:
    """Reads the header of a LoRA's file; raises LoraFileError for one that is no safetensors file."""
    try:
        with safe_open(path, framework="np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
        return LoraHeader(shapes, _config(metadata.get(_METADATA_KEY), path.with_name(ADAPTER_CONFIG_NAME)))
    except (SafetensorError, OSError, ValueError) as error:
        raise LoraFileError(f"can't be read: {error}") from error


def _config(inside: str | None, beside: Path) -> dict[str, Any]:
    text = inside or (beside.read_text("utf-8") if beside.is_file() else "{}")
    config = json.loads(text)
    if not isinstance(config, dict):
        raise LoraFileError("has a configuration of peft that is no JSON object")
    return config
