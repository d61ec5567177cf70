"""Which files of own LoRAs are refused by their header, and what the others are told to hold."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from svc_models.domain.lora_check import (
    HIGHEST_RANK,
    LONGEST_HEADER,
    MOST_TENSORS,
    LoraFacts,
    LoraRefusedError,
    examine,
    holds_header,
)
from svc_models.domain.loras import PART_BYTES, parts_of
from tests.factories import lora_kinds
from tests.factories.own_loras import ATTENTION, SIDE, file_of, lora_bytes, overlapping

_LAYER = f"unet.{ATTENTION}.to_q"


def _with(**fields: tuple[int, ...]) -> bytes:
    """Returns a file whose tensors are those fields of one layer."""
    return save({f"{_LAYER}.{name}": np.zeros(shape, np.float16) for name, shape in fields.items()})


def _refusal(content: bytes, family: str = "tiny") -> LoraRefusedError:
    with pytest.raises(LoraRefusedError) as caught:
        examine(content, len(content), family)
    return caught.value


def test_file_for_the_family_is_told_by_its_modules() -> None:
    assert examine(lora_bytes(), len(lora_bytes()), "tiny") == LoraFacts(2, 0, 4)
    filled = lora_bytes(filling=800)
    assert examine(filled, len(filled), "tiny") == LoraFacts(2, 1, 4)


@pytest.mark.parametrize("kind", [lora_kinds.lora, lora_kinds.dora, lora_kinds.dora_by_input])
def test_kinds_that_the_worker_applies_are_accepted(kind: object) -> None:
    made = kind(torch.zeros(SIDE, SIDE) + 0.1, torch.Generator().manual_seed(1))  # type: ignore[operator]
    content = save({f"{_LAYER}.{name}": tensor.numpy() for name, tensor in made.tensors.items()})
    assert examine(content, len(content), "tiny").module_count == 1


def test_lycoris_and_differences_are_accepted() -> None:
    loha = _with(**{f"hada_{name}_a": (SIDE, 2) for name in ("w1", "w2")}, hada_w1_b=(2, SIDE), hada_w2_b=(2, SIDE))
    lokr = _with(lokr_w1=(2, 2), lokr_w2=(SIDE // 2, SIDE // 2))
    difference = _with(diff=(SIDE, SIDE))
    assert [examine(each, len(each), "tiny").module_count for each in (loha, lokr, difference)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (pickle.dumps({"lora": bytes(200)}, protocol=4), "pickle"),
        (b"PK\x03\x04" + bytes(200), "pickle of torch"),
        (b"GGUF" + bytes(200), "GGUF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "no safetensors"),
        (b"", "no safetensors"),
        (overlapping(), "overlaps"),
        (lora_bytes()[:-1], "cut short"),
        (lora_bytes() + b"\0", "belong to no tensor"),
        (file_of({f"{_LAYER}.lora_A.weight": {"dtype": "F32", "shape": [4, SIDE], "data_offsets": [0, 8]}}), "takes"),
        (file_of({f"{_LAYER}.lora_A.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [-4, 0]}}), "describes"),
        ((LONGEST_HEADER + 1).to_bytes(8, "little") + b"{}", "header of"),
    ],
)
def test_file_that_is_not_what_it_says_is_refused_as_its_format(content: bytes, text: str) -> None:
    refusal = _refusal(content)
    assert (refusal.cause, text in str(refusal)) == ("format", True), str(refusal)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"oft_blocks": (4, 8, 8)}, "OFT"),
        ({"a1.weight": (4, 8), "a2.weight": (8, 4)}, "GLoRA"),
        ({"vera_lambda_b": (8,)}, "VeRA"),
        ({"lora_A.weight": (4, SIDE), "lora_B.weight": (SIDE, 5)}, "ranks"),
    ],
)
def test_kind_that_no_worker_applies_is_refused(fields: dict[str, tuple[int, ...]], text: str) -> None:
    refusal = _refusal(_with(**fields))
    assert (refusal.cause, text in str(refusal)) == ("unsupported", True), str(refusal)


def test_whole_numbers_are_refused_but_for_an_alpha() -> None:
    matrices = {"lora_down.weight": np.zeros((2, SIDE), np.int8), "lora_up.weight": np.zeros((SIDE, 2), np.int8)}
    quantized = save({f"{_LAYER}.{name}": each for name, each in matrices.items()})
    assert _refusal(quantized).cause == "unsupported"
    floats = {f"{_LAYER}.{name}": each.astype(np.float16) for name, each in matrices.items()}
    content = save({**floats, f"{_LAYER}.alpha": np.array(2)})
    assert examine(content, len(content), "tiny").rank == 2


def test_file_of_another_family_is_refused() -> None:
    assert _refusal(lora_bytes(), family="flux").cause == "family"


def test_rank_and_number_of_tensors_are_limited() -> None:
    rank = HIGHEST_RANK + 1
    assert _refusal(_with(**{"lora_A.weight": (rank, SIDE), "lora_B.weight": (SIDE, rank)})).cause == "size"
    many = {f"t{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(MOST_TENSORS + 1)}
    assert "tensors" in str(_refusal(file_of(many)))
    long_name = {"x" * 501: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    assert "characters" in str(_refusal(file_of(long_name)))


def test_header_is_examined_as_soon_as_it_is_there() -> None:
    content = lora_bytes()
    needed = 8 + int.from_bytes(content[:8], "little")
    assert [holds_header(content[:count]) for count in (0, 8, needed - 1, needed)] == [False, False, False, True]
    assert examine(content[:needed], len(content), "tiny").module_count == 2
    assert holds_header(b"\xff" * 9)


def test_parts_cover_the_file() -> None:
    for size_bytes in (1, PART_BYTES, PART_BYTES + 1, 2**31):
        parts = list(parts_of(size_bytes))
        assert sum(part.size_bytes for part in parts) == size_bytes
        assert [part.offset_bytes for part in parts] == [number * PART_BYTES for number in range(len(parts))]
        assert all(0 < part.size_bytes <= PART_BYTES for part in parts)
