"""Weights in float8 with a scale beside them: which scale is whose, under the names that programs give them.

`weight x scale` is the weight, whoever wrote the file: ComfyUI (`scale_weight`, later `weight_scale` and `comfy_quant`),
diffusers and compressed-tensors (`weight_scale`). A scale is one number, or one for each output. Scales of inputs matter only
to those that multiply in float8. Anything else that stands for weights is refused by name.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpu_worker.models.checkpoint_files.header import CheckpointError
from svc_common.lora_files.modules import some_of
from svc_common.safetensors_header import FLOAT8, FileHeader, TensorInfo

_WEIGHT_SCALE: Final = re.compile(r"(.+)\.(?:scale_weight|weight_scale)$")
_BESIDE: Final = re.compile(r"(?:^|\.)(?:scaled_fp8|scale_input|input_scale|comfy_quant)$")
"""Markers, and scales of inputs."""
_SCALE_TYPES: Final = frozenset({"F32", "F16", "BF16"})
_FORMAT: Final = re.compile(r"\.comfy_quant$")
_FORMATS_METADATA: Final = "_quantization_metadata"
_FORMATS: Final = frozenset({"float8_e4m3fn", "float8_e5m2"})
_LONGEST_FORMAT: Final = 4096
_UNSUPPORTED: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\.weight_scale_inv$", "float8 with a scale for each block (weight_scale_inv)"),
        (r"\.weight_scale_2$", "NVFP4 (weight_scale_2)"),
        (r"\.(?:absmax|quant_map|nested_absmax|nested_quant_map)$|\.quant_state\.", "weights of bitsandbytes"),
        (r"\.(?:SCB|weight_format)$", "8-bit weights of bitsandbytes"),
        (r"\._weight_(?:qdata|scale|zero_point)$|:_(?:qdata|scale|data)$", "weights of torchao"),
        (r"\.weight\._(?:data|scale|shift)$", "weights of quanto"),
        (r"\.(?:qweight|qzeros|g_idx)$", "weights of GPTQ or AWQ"),
        (r"\.(?:weight_packed|weight_zero_point|weight_shape)$", "packed weights of compressed-tensors"),
        (r"\.weight\.(?:lut|svd|proj_down|smooth)$|\.(?:wscales|wzeros)$", "weights of SVDQuant"),
    )
)


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales of one file."""

    of_weights: Mapping[str, str]
    """The key of the scale by that of the weight."""
    beside: frozenset[str]
    """Keys that are no weights: these scales, those of inputs, and markers."""


def scales_of(path: Path, header: FileHeader) -> Scales:
    """Finds the scales of a file; raises CheckpointError for those that can't be applied exactly."""
    for pattern, name in _UNSUPPORTED:
        keys = [key for key in header.tensors if pattern.search(key)]
        if keys:
            raise CheckpointError(f"{path.name} holds {name}, which isn't supported: {some_of(keys)}")
    _refuse_formats(path, header)
    of_weights: dict[str, str] = {}
    for key, scale in header.tensors.items():
        if match := _WEIGHT_SCALE.fullmatch(key):
            weight_key = f"{match[1]}.weight"
            if weight_key in of_weights:
                raise CheckpointError(
                    f"{path.name} has two scales for {weight_key}: {of_weights[weight_key]} and {key}"
                )
            _check(path, key, scale, weight_key, header.tensors.get(weight_key))
            of_weights[weight_key] = key
    beside = {key for key in header.tensors if _BESIDE.search(key)}
    return Scales(of_weights, frozenset({*of_weights.values(), *beside}))


def _check(path: Path, key: str, scale: TensorInfo, weight_key: str, weight: TensorInfo | None) -> None:
    if weight is None:
        raise CheckpointError(f"{path.name} has the scale {key}, but no {weight_key}")
    if weight.dtype not in FLOAT8:
        raise CheckpointError(
            f"{path.name} has the scale {key} for {weight_key}, which is {weight.dtype} and not float8"
        )
    count = math.prod(scale.shape)
    by_output = len(weight.shape) > 1 and scale.shape[:1] == weight.shape[:1] and count == weight.shape[0]
    if scale.dtype not in _SCALE_TYPES or not (count == 1 or by_output):
        raise CheckpointError(
            f"{path.name} has scales of a kind that isn't supported: {key} is {scale.dtype} {list(scale.shape)} for"
            f" {weight_key} {list(weight.shape)}"
        )


def _refuse_formats(path: Path, header: FileHeader) -> None:
    for layer, described in _formats(path, header):
        name = described.get("format") if isinstance(described, dict) else None
        if name not in _FORMATS:
            raise CheckpointError(f"{path.name} holds weights in the format {name}, which isn't supported: {layer}")


def _formats(path: Path, header: FileHeader) -> Iterator[tuple[str, Any]]:
    """Yields what ComfyUI says of the format of each layer, in tensors of JSON or in the metadata."""
    try:
        if _FORMATS_METADATA in header.metadata:
            yield from dict(json.loads(header.metadata[_FORMATS_METADATA])["layers"]).items()
        for key, tensor in header.tensors.items():
            if _FORMAT.search(key):
                with path.open("rb") as stream:
                    stream.seek(tensor.start)
                    yield key, json.loads(stream.read(min(tensor.size_bytes, _LONGEST_FORMAT)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path.name} doesn't say in which format its weights are: {error}") from error
