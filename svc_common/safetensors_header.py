"""The header of a safetensors file, read without trust: each tensor's type, shape and place.

The format: 8 bytes of the header's length, little-endian; the header, a JSON object of tensors with their places, and
`__metadata__` of texts; then the tensors' bytes without gaps.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, TypeAlias

Shape: TypeAlias = tuple[int, ...]

FLOAT8: Final = frozenset({"F8_E4M3", "F8_E5M2"})
FLOATS: Final = FLOAT8 | {"F16", "BF16", "F32", "F64"}
_BYTES_OF: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_LENGTH_BYTES: Final = 8
_LONGEST_HEADER: Final = 100_000_000
"""What the safetensors library allows."""
_METADATA: Final = "__metadata__"
_OTHER_FORMATS: Final = (
    (b"PK\x03\x04", "a pickle of torch (a ZIP archive)"),
    (b"\x80\x02", "a pickle of torch"),
    (b"\x80\x04", "a pickle"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose content was never fetched"),
    (b"<", "a page of HTML or XML"),
)

_LONGEST_MAGIC: Final = max(len(magic) for magic, _ in _OTHER_FORMATS)


class HeaderError(Exception):
    """A file that isn't what its header says, or is another format; the message says what is wrong, without the file's name."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file."""

    dtype: str
    shape: Shape
    start: int
    """Of its bytes, from the beginning of the file."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says that it holds."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)


def parse_header(stream: BinaryIO, size_bytes: int, longest: int = _LONGEST_HEADER) -> FileHeader:
    """Reads the header of a file of so many bytes from its beginning; of the numbers behind it, nothing is read.

    Raises:
        HeaderError: it lies, is cut short, is longer than `longest` bytes, or the file is of another format.
    """
    beginning = stream.read(_LONGEST_MAGIC)
    length = int.from_bytes(beginning[:_LENGTH_BYTES], "little")
    # A header's length may begin as other formats do, so it is looked at first.
    if beginning[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{" or length > _LONGEST_HEADER:
        other = next((name for magic, name in _OTHER_FORMATS if beginning.startswith(magic)), None)
        raise HeaderError("is no safetensors file" + (f" but {other}" if other else ""))
    if length > longest:
        raise HeaderError(f"has a header of {length} bytes; at most {longest} are read")
    data_start = _LENGTH_BYTES + length
    if data_start > size_bytes:
        raise HeaderError(f"is cut short in its header: {size_bytes} bytes instead of {data_start} and more")
    stream.seek(_LENGTH_BYTES)
    try:
        document = json.loads(stream.read(length), object_pairs_hook=_without_repetitions)
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"is no safetensors file: its header isn't JSON: {error}") from error
    metadata = document.pop(_METADATA, None) or {}
    tensors = {name: _tensor(name, entry, data_start) for name, entry in document.items()}
    _check_places(tensors, data_start, size_bytes)
    return FileHeader(tensors, {str(key): str(value) for key, value in dict(metadata).items()})


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise HeaderError(f"names {repeated} twice in its header")
    return document


def _tensor(name: str, entry: Any, data_start: int) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    except (TypeError, KeyError, ValueError) as error:
        raise HeaderError(f"describes {name} in a way that isn't safetensors'") from error
    if not whole:
        raise HeaderError(f"describes {name} in a way that isn't safetensors'")
    if dtype not in _BYTES_OF:
        raise HeaderError(f"holds numbers of the type {dtype}, which isn't supported: {name}")
    size_bytes = math.prod(shape) * _BYTES_OF[dtype]
    if end - start != size_bytes:
        raise HeaderError(f"gives {name} {end - start} bytes, but {dtype} {list(shape)} takes {size_bytes}")
    return TensorInfo(dtype, shape, data_start + start, size_bytes)


def _check_places(tensors: Mapping[str, TensorInfo], data_start: int, size_bytes: int) -> None:
    """Raises HeaderError unless the tensors fill the file without gaps and without overlapping."""
    end, before = data_start, "the header"
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].size_bytes)):
        if tensor.start != end:
            relation = "overlaps" if tensor.start < end else "leaves a gap after"
            raise HeaderError(f"has a lying header: {name} {relation} {before}")
        end, before = tensor.start + tensor.size_bytes, name
    if size_bytes < end:
        raise HeaderError(f"is cut short: {size_bytes} bytes instead of {end}")
    if size_bytes > end:
        raise HeaderError(f"has {size_bytes - end} bytes that belong to no tensor")
