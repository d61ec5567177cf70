"""The beginning of a picture tells its type and size, whatever stands in it; Pillow, which decodes, is the judge."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.picture_head import PictureHead, read_head
from tests.factories.pictures import (
    CONTENT_TYPES,
    claimed_png_bytes,
    moving_picture_bytes,
    picture_bytes,
    turned_picture_bytes,
)

FORMS = sorted(CONTENT_TYPES)
SIGNATURES = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8",
    b"\xff\xd8\xff\xe1",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8 ",
]

forms = st.sampled_from(FORMS)
sides = st.integers(1, 300)


def head_of(data: bytes) -> PictureHead:
    """Reads a head as one does who has all of the file."""
    reading = read_head()
    try:
        start, length = next(reading)
        while True:
            start, length = reading.send(data[start : start + length])
    except StopIteration as end:
        return end.value


def cause_of(data: bytes) -> str:
    with pytest.raises(ServiceError) as refused:
        head_of(data)
    assert refused.value.reason is Reason.SOURCE_INVALID
    return refused.value.metadata["cause"]


@given(sides, sides, forms)
def test_size_and_type_are_read_by_content(width_px: int, height_px: int, form: str) -> None:
    data = picture_bytes(width_px, height_px, form)
    assert head_of(data) == PictureHead(CONTENT_TYPES[form], width_px, height_px)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 10}, {"lossless": True, "icc_profile": b"x" * 101}]
)
def test_every_coding_of_webp_is_read(options: dict[str, object]) -> None:
    assert head_of(picture_bytes(301, 17, "WEBP", **options)) == PictureHead("image/webp", 301, 17)


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}, {"icc_profile": b"x" * 200_000}])
def test_every_coding_of_jpeg_is_read(options: dict[str, object]) -> None:
    assert head_of(picture_bytes(301, 17, "JPEG", **options)) == PictureHead("image/jpeg", 301, 17)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_picture_as_it_is_seen(form: str, orientation: int) -> None:
    data = turned_picture_bytes(60, 20, form, orientation)
    head = head_of(data)
    assert (head.width_px, head.height_px) == ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_moving_picture_is_refused(form: str) -> None:
    assert cause_of(moving_picture_bytes(form)) == "frames"


@pytest.mark.parametrize(
    "data", [moving_picture_bytes("GIF"), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"x" * 100]
)
def test_other_types_are_refused_whatever_they_are_called(data: bytes) -> None:
    assert cause_of(data) == "type"


@pytest.mark.parametrize("data", [b"", b"\x89PNG", picture_bytes()[:20], claimed_png_bytes(0, 5)])
def test_picture_without_a_beginning_is_damaged(data: bytes) -> None:
    assert cause_of(data) == "damaged"


def test_claimed_size_is_believed_without_decoding() -> None:
    assert head_of(claimed_png_bytes(50_000, 50_000)) == PictureHead("image/png", 50_000, 50_000)


@given(st.sampled_from(SIGNATURES), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(signature: bytes, rest: bytes) -> None:
    try:
        head_of(signature + rest)
    except ServiceError as error:
        assert error.reason is Reason.SOURCE_INVALID  # noqa: PT017 - any other exception fails the test


@given(forms, st.data())
def test_altered_pictures_are_read_or_refused(form: str, data: st.DataObject) -> None:
    altered = bytearray(turned_picture_bytes(60, 20, form, 6))
    for place in data.draw(st.lists(st.integers(0, len(altered) - 1), max_size=8)):
        altered[place] = data.draw(st.integers(0, 255))
    try:
        head = head_of(bytes(altered))
    except ServiceError as error:
        assert error.reason is Reason.SOURCE_INVALID  # noqa: PT017 - any other exception fails the test
    else:
        assert min(head.width_px, head.height_px) >= 1
