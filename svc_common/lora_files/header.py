"""Names, shapes and metadata of a LoRA's file, without its numbers."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from svc_common.safetensors_header import FileHeader, HeaderError, parse_header

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
    """Reads the header of a LoRA's file; raises LoraFileError for one that is no safetensors file, or another than it says."""
    try:
        with path.open("rb") as stream:
            header = parse_header(stream, os.fstat(stream.fileno()).st_size)
        beside = path.with_name(ADAPTER_CONFIG_NAME)
        return lora_header(header, beside.read_text("utf-8") if beside.is_file() else "{}")
    except (HeaderError, OSError, ValueError) as error:
        raise LoraFileError(f"can't be read: {error}") from error


def lora_header(header: FileHeader, config: str = "{}") -> LoraHeader:
    """Returns what a LoRA's file holds; `config` is peft's configuration as JSON, for a file that has none inside.

    Raises:
        LoraFileError: the configuration is no JSON object.
    """
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    return LoraHeader(shapes, _config(header.metadata.get(_METADATA_KEY) or config))


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoraFileError(f"has a configuration of peft that is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise LoraFileError("has a configuration of peft that is no JSON object")
    return config
