"""Headers, scales and markers of checkpoints' files: lies are found, and what can't be applied is refused by name."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gpu_worker.models.checkpoint_files.header import CheckpointError, read_header
from gpu_worker.models.checkpoint_files.prediction import sampling_changes
from gpu_worker.models.checkpoint_files.scales import scales_of
from svc_common.safetensors_header import FileHeader, TensorInfo

_PICKLE = b"PK\x03\x04" + bytes(100)


def _file(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def _entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_header_is_read_as_the_library_wrote_it(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.tensor([]), "c": torch.ones(4).to(torch.float8_e4m3fn)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"modelspec.title": "x"})
    header = read_header(tmp_path / "x.safetensors")
    assert {key: (each.dtype, each.shape) for key, each in header.tensors.items()} == {
        "a.weight": ("F32", (2, 3)),
        "b": ("F32", (0,)),
        "c": ("F8_E4M3", (4,)),
    }
    assert header.metadata == {"modelspec.title": "x"}
    content = (tmp_path / "x.safetensors").read_bytes()
    place = header.tensors["a.weight"]
    assert content[place.start : place.start + place.size_bytes] == struct.pack("<6f", *[1.0] * 6)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": _entry(0, 8, [2])}, bytes(7), "is cut short: "),
        ({"a": _entry(0, 8, [2])}, bytes(9), "has 1 bytes that belong to no tensor"),
        ({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, bytes(12), "lying header: b overlaps a"),
        ({"a": _entry(0, 8, [2]), "b": _entry(12, 20, [2])}, bytes(20), "lying header: b leaves a gap after a"),
        ({"a": _entry(0, 8, [3])}, bytes(8), r"gives a 8 bytes, but F32 \[3\] takes 12"),
        ({"a": _entry(0, 8, [-2])}, bytes(8), "describes a in a way"),
        ({"a": _entry(0, 8, [2], "Q4")}, bytes(8), "type Q4, which isn't supported: a"),
        ({"a": {"dtype": "F32"}}, b"", "describes a in a way"),
        (b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": 1}', b"", "names a twice"),
        (b"{", b"", "its header isn't JSON"),
        (b"[]", b"", "is no safetensors file"),
    ],
)
def test_lying_header_is_refused(tmp_path: Path, header: Any, data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^x\.safetensors .*{message}"):
        read_header(_file(tmp_path / "x.safetensors", header, data))


@pytest.mark.parametrize("length", range(2, 300))
def test_header_of_any_length_is_read(tmp_path: Path, length: int) -> None:
    # Lengths begin as HTML (60) and others do.
    assert not read_header(_file(tmp_path / "x.safetensors", b"{}".ljust(length))).tensors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_PICKLE, "no safetensors file but a pickle of torch"),
        (b"\x80\x02}q\x00", "a pickle of torch"),
        (b"GGUF" + bytes(40), "a GGUF file"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"", "is no safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "is no safetensors file"),
        (struct.pack("<Q", 500) + b"{}", "cut short in its header"),
    ],
)
def test_other_format_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_header(tmp_path / "x.safetensors")


def test_pickle_that_torch_writes_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="a pickle of torch"):
        read_header(tmp_path / "x.safetensors")


def _header(shapes: dict[str, tuple[str, tuple[int, ...]]], **metadata: str) -> FileHeader:
    tensors = {key: TensorInfo(dtype, shape, 0, 0) for key, (dtype, shape) in shapes.items()}
    return FileHeader(tensors, {key.replace("__", "."): value for key, value in metadata.items()})


@pytest.mark.parametrize("spelling", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (8, 1)])
def test_scale_is_found_in_every_spelling(tmp_path: Path, spelling: str, shape: tuple[int, ...]) -> None:
    header = _header(
        {
            "a.weight": ("F8_E4M3", (8, 4)),
            f"a.{spelling}": ("F32", shape),
            "a.scale_input": ("F32", ()),
            "b.weight": ("F8_E4M3", (8, 4)),
            "b.input_scale": ("F32", ()),
            "scaled_fp8": ("F8_E4M3", (0,)),
        }
    )
    scales = scales_of(tmp_path / "x", header)
    assert scales.of_weights == {"a.weight": f"a.{spelling}"}
    assert scales.beside == {f"a.{spelling}", "a.scale_input", "b.input_scale", "scaled_fp8"}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a.weight_scale_inv": ("F32", (1, 1))}, "a scale for each block"),
        ({"a.weight_scale_2": ("F32", ())}, "NVFP4"),
        ({"a.weight.quant_state.bitsandbytes__nf4": ("U8", (9,))}, "bitsandbytes"),
        ({"a.qweight": ("I32", (9, 9))}, "GPTQ"),
        ({"a._weight_qdata": ("F8_E4M3", (9, 9))}, "torchao"),
        ({"a.weight._data": ("F8_E4M3", (9, 9))}, "quanto"),
        ({"a.scale_weight": ("F32", ())}, "no a.weight"),
        ({"a.weight": ("F16", (8, 4)), "a.scale_weight": ("F32", ())}, "F16 and not float8"),
        (
            {"a.weight": ("F8_E4M3", (8, 4)), "a.scale_weight": ("F32", (1, 4))},
            r"kind that isn't supported: .*\[1, 4\]",
        ),
        ({"a.weight": ("F8_E4M3", (8, 4)), "a.scale_weight": ("F32", (2, 2))}, r"\[2, 2\] for a\.weight \[8, 4\]"),
        ({"a.weight": ("F8_E4M3", (8, 4)), "a.weight_scale": ("F8_E8M0", (8, 1))}, "F8_E8M0"),
        (
            {"a.weight": ("F8_E4M3", (8, 4)), "a.weight_scale": ("F32", ()), "a.scale_weight": ("F32", ())},
            "two scales for a.weight",
        ),
    ],
)
def test_what_can_t_be_scaled_exactly_is_refused_by_name(
    tmp_path: Path, shapes: dict[str, tuple[str, tuple[int, ...]]], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        scales_of(tmp_path / "x", _header(shapes))


@pytest.mark.parametrize(("name", "is_taken"), [("float8_e4m3fn", True), ("float8_e5m2", True), ("mxfp8", False)])
@pytest.mark.parametrize("place", ["tensor", "metadata"])
def test_format_that_comfyui_notes_is_read(tmp_path: Path, name: str, is_taken: bool, place: str) -> None:
    note = json.dumps({"format": name})
    tensors = {"a.weight": torch.ones(8, 4).to(torch.float8_e4m3fn), "a.weight_scale": torch.tensor(2.0)}
    metadata = None
    if place == "tensor":
        tensors["a.comfy_quant"] = torch.tensor(list(note.encode()), dtype=torch.uint8)
    else:
        metadata = {"_quantization_metadata": json.dumps({"layers": {"a": {"format": name}}})}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata=metadata)
    if is_taken:
        assert scales_of(path, read_header(path)).of_weights == {"a.weight": "a.weight_scale"}
    else:
        with pytest.raises(CheckpointError, match="in the format mxfp8, which isn't supported"):
            scales_of(path, read_header(path))


_EMPTY = ("F32", (0,))
_ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("header", "configured", "changes"),
    [
        (_header({}), "epsilon", {}),
        (_header({"v_pred": _EMPTY}), "epsilon", {"prediction_type": "v_prediction"}),
        (_header({"v_pred": _EMPTY}), None, {"prediction_type": "v_prediction"}),
        (_header({"v_pred": _EMPTY}), "v_prediction", {}),
        (_header({"v_pred": _EMPTY, "ztsnr": _EMPTY}), "epsilon", {"prediction_type": "v_prediction", **_ZERO_SNR}),
        (_header({"ztsnr": _EMPTY}), "v_prediction", _ZERO_SNR),
        (_header({}, modelspec__prediction_type="v"), "epsilon", {"prediction_type": "v_prediction"}),
        (_header({}, modelspec__predict_key="v"), "epsilon", {"prediction_type": "v_prediction"}),
        (_header({}, modelspec__prediction_type="epsilon"), "v_prediction", {}),
        (
            _header({}, modelspec__predict_key="v", ss_zero_terminal_snr="True"),
            "epsilon",
            {"prediction_type": "v_prediction", **_ZERO_SNR},
        ),
    ],
)
def test_markers_win_over_the_usual_config(header: FileHeader, configured: str | None, changes: dict[str, Any]) -> None:
    assert sampling_changes(header, {} if configured is None else {"prediction_type": configured}) == changes


@pytest.mark.parametrize(
    ("header", "configured", "message"),
    [
        (_header({"v_pred": _EMPTY}), "sample", "says v-prediction, but the scheduler's config sample"),
        (_header({"ztsnr": _EMPTY}), "epsilon", "needs v-prediction"),
        (_header({"edm_vpred.sigma_max": _EMPTY}), "epsilon", "EDM"),
    ],
)
def test_marker_that_contradicts_or_isn_t_supported_is_refused(
    header: FileHeader, configured: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        sampling_changes(header, {"prediction_type": configured})
