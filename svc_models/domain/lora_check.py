"""Owns what the file of an own LoRA must be, told by its header alone: no number of it is ever read for this."""

import io
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError
from svc_common.lora_files.header import LoraFileError, lora_header
from svc_common.lora_files.modules import modules_of
from svc_common.lora_files.survey import survey_contents
from svc_common.own_models import own_model_id
from svc_common.safetensors_header import FLOATS, FileHeader, HeaderError, parse_header

LONGEST_HEADER: Final = 8 * 1024 * 1024
"""Some 40 times what a LoRA for every layer of the largest family has."""
MOST_TENSORS: Final = 10_000
"""Twice what LyCORIS writes for every layer of SDXL; reading the names of more would take seconds."""
LONGEST_NAME: Final = 500
HIGHEST_RANK: Final = 512
_LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """What a header tells of a LoRA that can be applied."""

    module_count: int
    unmatched_module_count: int
    rank: int


class LoraRefusedError(Exception):
    """A file that can't be applied. `cause` is one of format, size, unsupported and family; the text is for its owner."""

    def __init__(self, cause: str, problem: str) -> None:
        """Takes why, as the rest of a sentence that begins with the file."""
        super().__init__(f"The file {problem}")
        self.cause = cause


def holds_header(beginning: bytes | bytearray) -> bool:
    """Tells whether the beginning of a file is enough to examine it, be it to refuse it."""
    length = int.from_bytes(beginning[:_LENGTH_BYTES], "little")
    return len(beginning) > _LENGTH_BYTES and (length > LONGEST_HEADER or len(beginning) >= _LENGTH_BYTES + length)


def examine(beginning: bytes, size_bytes: int, family: str) -> LoraFacts:
    """Examines a file of so many bytes by its beginning, which holds its header; takes up to a second of a CPU.

    Raises:
        LoraRefusedError: it isn't safetensors, its header lies, or models of the family can't apply it.
    """
    try:
        header = parse_header(io.BytesIO(beginning), size_bytes, LONGEST_HEADER)
    except HeaderError as error:
        raise LoraRefusedError("format", str(error)) from error
    _check_size(header)
    try:
        contents = modules_of(lora_header(header))
    except LoraFileError as error:
        raise LoraRefusedError("unsupported", str(error)) from error
    rank = max((module.rank for module in contents.modules), default=0)
    if rank > HIGHEST_RANK:
        raise LoraRefusedError("size", f"has modules of the rank {rank}; at most {HIGHEST_RANK} can be used")
    try:
        surveyed = survey_contents(contents, family)
    except LoraFileError as error:
        raise LoraRefusedError("family", str(error)) from error
    return LoraFacts(len(surveyed.matched), len(surveyed.unmatched), rank)


def lora_invalid(lora_id: UUID, refusal: LoraRefusedError) -> ServiceError:
    """Returns the refusal of a file to its owner."""
    metadata = {"model_id": own_model_id(lora_id), "cause": refusal.cause}
    return ServiceError(Reason.LORA_INVALID, str(refusal), metadata=metadata)


def _check_size(header: FileHeader) -> None:
    if len(header.tensors) > MOST_TENSORS:
        problem = f"holds {len(header.tensors)} tensors; at most {MOST_TENSORS} can be used"
        raise LoraRefusedError("size", problem)
    for name, tensor in header.tensors.items():
        if len(name) > LONGEST_NAME:
            problem = f"names a tensor with {len(name)} characters; at most {LONGEST_NAME} can be used"
            raise LoraRefusedError("size", problem)
        # An alpha may be a whole number; nothing else of a LoRA is one.
        if tensor.dtype not in FLOATS and tensor.shape not in {(), (1,)}:
            raise LoraRefusedError("unsupported", f"holds numbers of the type {tensor.dtype}: {name}")
