"""Notes in files of strangers: found wherever programs put them, never at the price of more memory or time than their size."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.picture_notes import (
    MOST_TEXT_BYTES,
    USER_COMMENT,
    NoteFaultError,
    _exif_values,
    notes_in,
    without_pixels,
)
from tests.factories.noted import comfyui_file, commented, noted_png
from tests.factories.pictures import picture_bytes

WANTED = frozenset({"recipe", "prompt", "workflow", USER_COMMENT})
KOREAN = "파란 배 🚤"


def chunk(kind: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *chunks, chunk(b"IDAT", b"\0"), chunk(b"IEND", b"")))


def fault_in(data: bytes) -> str:
    with pytest.raises(NoteFaultError) as refused:
        notes_in(data, WANTED)
    return refused.value.cause


@pytest.mark.parametrize("text", ["a fox", "un café", KOREAN, ""])
@pytest.mark.parametrize("compressed", [False, True])
def test_text_of_every_kind_of_chunk_is_found(text: str, compressed: bool) -> None:
    notes = notes_in(noted_png(recipe=text, Software="x", compressed=compressed), WANTED)
    assert (notes.texts, notes.others) == ({"recipe": text}, ["Software"])


def test_utf_8_in_a_chunk_that_is_meant_for_latin_1_is_read_as_what_it_is() -> None:
    assert notes_in(png(chunk(b"tEXt", b"recipe\0" + KOREAN.encode())), WANTED).texts == {"recipe": KOREAN}
    assert notes_in(png(chunk(b"tEXt", b"recipe\0caf\xe9")), WANTED).texts == {"recipe": "café"}
    assert fault_in(png(chunk(b"iTXt", b"recipe\0\0\0\0\0\xe9"))) == "text"


def test_notes_behind_the_pixels_are_found_and_the_first_of_a_keyword_counts() -> None:
    notes = [chunk(b"tEXt", b"recipe\0" + text) for text in (b"first", b"second")]
    data = png(chunk(b"IDAT", b"\0"), *notes)
    assert notes_in(data, WANTED).texts == {"recipe": "first"}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + KOREAN.encode("utf-16-be") + ": Steps, a, b, c, d, e".encode("utf-16-be"),
        b"UNICODE\0" + KOREAN.encode("utf-16-le") + ": Steps, a, b, c, d, e".encode("utf-16-le"),
        b"ASCII\0\0\0" + f"{KOREAN}: Steps, a, b, c, d, e".encode(),
        b"\0" * 8 + f"{KOREAN}: Steps, a, b, c, d, e".encode(),
    ],
)
def test_comment_of_an_exif_block_is_found_in_whatever_it_is_written(kind: str, comment: bytes) -> None:
    assert notes_in(commented(kind, comment), WANTED).texts == {USER_COMMENT: f"{KOREAN}: Steps, a, b, c, d, e"}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_notes_in_fields_for_the_camera_are_found_by_the_name_in_front(kind: str) -> None:
    assert notes_in(comfyui_file(kind, '{"a": 1}', '{"b": 2}'), WANTED).texts == {
        "prompt": '{"a": 1}',
        "workflow": '{"b": 2}',
    }


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_picture_without_notes_has_none(form: str) -> None:
    notes = notes_in(picture_bytes(form=form), WANTED)
    assert (notes.texts, notes.others) == ({}, [])


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PN", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"\0" * 100])
def test_file_that_is_no_picture_is_refused(data: bytes) -> None:
    assert fault_in(data) == "type"


def test_damaged_notes_are_refused_and_not_guessed() -> None:
    whole = noted_png(recipe="a fox " * 10)
    place = whole.index(b"a fox")
    assert fault_in(whole[: place + 20]) == "damaged"
    assert fault_in(whole[:place] + b"A" + whole[place + 1 :]) == "damaged"
    assert fault_in(png(chunk(b"zTXt", b"recipe\0\0" + zlib.compress(b"a fox" * 9)[:-6]))) == "damaged"
    assert fault_in(png(chunk(b"zTXt", b"recipe\0\0no zlib"))) == "damaged"


def test_damage_elsewhere_hinders_nothing() -> None:
    assert notes_in(png(chunk(b"tEXt", b"recipe\0x"), chunk(b"tEXt", b"other\0y", crc=1)), WANTED).texts == {
        "recipe": "x"
    }
    cut = noted_png(recipe="x")
    assert notes_in(cut[: cut.index(b"IDAT") + 30], WANTED).texts == {"recipe": "x"}


def test_note_of_a_mebibyte_is_read_and_one_beyond_the_limit_is_not() -> None:
    assert len(notes_in(noted_png(recipe="x" * 2**20), WANTED).texts["recipe"]) == 2**20
    assert fault_in(noted_png(recipe="x" * (MOST_TEXT_BYTES + 1))) == "size"
    bomb = zlib.compress(b"x" * (64 * MOST_TEXT_BYTES), 9)
    assert fault_in(png(chunk(b"zTXt", b"recipe\0\0" + bomb))) == "size"
    each = zlib.compress(b"x" * MOST_TEXT_BYTES, 9)
    together = [chunk(b"zTXt", keyword + b"\0\0" + each) for keyword in (b"recipe", b"prompt", b"workflow")]
    assert fault_in(png(*together)) == "size"


def test_file_of_the_smallest_parts_is_given_up() -> None:
    assert fault_in(png(*[chunk(b"tIME", b"")] * 100_000)) == "size"


def test_of_an_exif_block_whose_fields_overlap_no_more_is_read_than_a_true_one_has() -> None:
    entry = struct.pack("<HHII", 0x0110, 2, 2_000_000, 8)
    tiff = b"II*\0" + struct.pack("<IH", 8, 60_000) + entry * 60_000 + b"\0" * 2_000_000
    assert len(list(_exif_values(tiff))) == 5


@pytest.mark.parametrize(
    "data",
    [
        noted_png(recipe="a fox", prompt=KOREAN, Software="x"),
        noted_png(recipe="a fox" * 99, compressed=True),
        commented("JPEG", b"ASCII\0\0\0a fox"),
        commented("WEBP", b"ASCII\0\0\0a fox"),
        comfyui_file("JPEG", "{}", "{}"),
        comfyui_file("WEBP", '{"a": "odd"}', "{}"),
        comfyui_file("PNG", "{}", "{}"),
    ],
)
def test_picture_without_its_pixels_has_the_same_notes(data: bytes) -> None:
    bare = without_pixels(data)
    assert len(bare) < len(data) / 2
    assert notes_in(bare, WANTED) == notes_in(data, WANTED)
    assert without_pixels(bare) == bare


def test_file_that_is_no_picture_stays_as_it_is_without_pixels() -> None:
    assert without_pixels(b"GIF89a") == b"GIF89a"


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.binary(max_size=200), st.integers(0, 400), st.integers(0, 400))
def test_mutilated_file_is_read_or_refused(form: str, junk: bytes, start: int, end: int) -> None:
    whole = comfyui_file(form, '{"a": 1}', "{}")
    data = whole[:start] + junk + whole[max(start, end) :]
    causes = []
    for each in (data, without_pixels(data)):
        try:
            notes_in(each, WANTED)
        except NoteFaultError as fault:
            causes.append(fault.cause)
    assert {*causes} <= {"type", "damaged", "size", "text"}
