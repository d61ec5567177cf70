"""Tells type and size of a picture by the beginning of its bytes. Nothing is decoded, so nothing can be blown up.

Whether the rest can be decoded is left to who decodes it. Sides are those of the picture as it is seen: turned as its
EXIF orientation says.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from svc_common.errors import Reason, ServiceError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_WEBP: Final = (b"RIFF", b"WEBP")
_LONGEST_SIGNATURE: Final = 12

_ORIENTATION_TAG: Final = 0x0112
_TIFF_SHORT: Final = 3
# Orientations from here on lie on their side; those before are upright, mirrored or upside down.
_FIRST_SIDEWAYS: Final = 5
_EXIF_PREFIX: Final = b"Exif\0\0"

# Start of frame of every coding (baseline, progressive, lossless ...), among which three numbers mean something else:
# Huffman tables, an extension, arithmetic conditioning.
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})

_WEBP_ANIMATED, _WEBP_EXIF = 0x02, 0x08
_VP8_START_CODE: Final = b"\x9d\x01\x2a"
_VP8L_SIGNATURE: Final = 0x2F
_14_BITS: Final = 0x3FFF


@dataclass(frozen=True, slots=True)
class PictureHead:
    """Holds what the beginning of a picture tells."""

    content_type: str
    width_px: int
    height_px: int


class HeadIncompleteError(Exception):
    """Means that more of the beginning is needed."""


def unusable(cause: str, fault: str) -> ServiceError:
    """Returns the refusal of what is no picture that can be used; `cause` is a word for programs, `fault` for people."""
    message = f"The picture can't be used: {fault}. Upload a PNG, JPEG or WebP picture of one frame."
    return ServiceError(Reason.SOURCE_INVALID, message, metadata={"cause": cause})


def read_head(data: bytes, *, is_all: bool) -> PictureHead:
    """Returns what the beginning of a picture tells; `is_all` says that no more of it will come.

    Raises:
        HeadIncompleteError: more is needed.
        ServiceError: SOURCE_INVALID; it isn't PNG, JPEG or WebP, is damaged, or moves.
    """
    try:
        return _read(data, is_all=is_all)
    except HeadIncompleteError:
        if is_all:
            raise unusable("damaged", "its beginning can't be read") from None
        raise


def _read(data: bytes, *, is_all: bool) -> PictureHead:
    if data.startswith(_PNG):
        return _upright("image/png", *_read_png(data))
    if data.startswith(_JPEG):
        return _upright("image/jpeg", *_read_jpeg(data))
    if (data[:4], data[8:12]) == _WEBP:
        return _upright("image/webp", *_read_webp(data, is_all=is_all))
    if len(data) < _LONGEST_SIGNATURE:
        raise HeadIncompleteError
    raise unusable("type", "it is neither PNG nor JPEG nor WebP")


def _upright(content_type: str, width_px: int, height_px: int, orientation: int) -> PictureHead:
    if min(width_px, height_px) < 1:
        raise unusable("damaged", "it has no pixels")
    if orientation >= _FIRST_SIDEWAYS:
        width_px, height_px = height_px, width_px
    return PictureHead(content_type, width_px, height_px)


def _read_png(data: bytes) -> tuple[int, int, int]:
    if _taken(data, 12, 4) != b"IHDR":
        raise unusable("damaged", "a PNG begins otherwise")
    width_px, height_px = struct.unpack(">II", _taken(data, 16, 8))
    orientation = 1
    for kind, start, length in _png_chunks(data):
        if kind == b"acTL" and int.from_bytes(_taken(data, start, 4)) > 1:
            raise _moving()
        if kind == b"eXIf":
            orientation = _orientation(_taken(data, start, length))
        if kind == b"IEND":
            raise unusable("damaged", "it has no pixels")
    return width_px, height_px, orientation


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, place and length of each chunk before the pixels."""
    place = len(_PNG)
    while True:
        length, kind = struct.unpack(">I4s", _taken(data, place, 8))
        if kind == b"IDAT":
            return
        yield kind, place + 8, length
        place += 12 + length


def _read_jpeg(data: bytes) -> tuple[int, int, int]:
    orientation = 1
    for marker, start, length in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height_px, width_px = struct.unpack(">HH", _taken(data, start + 1, 4))
            return width_px, height_px, orientation
        if marker == _APP1 and data.startswith(_EXIF_PREFIX, start):
            orientation = _orientation(_taken(data, start, length))
    raise unusable("damaged", "a JPEG without a frame")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields marker, place and length of each segment before the pixels."""
    place = len(_JPEG)
    while True:
        if _taken(data, place, 1) != b"\xff":
            raise unusable("damaged", "a segment of the JPEG begins otherwise")
        while _taken(data, place, 1) == b"\xff":  # any number of them may fill the space before a marker
            place += 1
        marker, place = data[place], place + 1
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(_taken(data, place, 2))  # counts itself
        yield marker, place + 2, length - 2
        place += max(2, length)


def _read_webp(data: bytes, *, is_all: bool) -> tuple[int, int, int]:
    kind, start = _taken(data, 12, 4), 20
    if kind == b"VP8 ":
        if _taken(data, start + 3, 3) != _VP8_START_CODE:
            raise unusable("damaged", "a WebP begins otherwise")
        width_px, height_px = struct.unpack("<HH", _taken(data, start + 6, 4))
        return width_px & _14_BITS, height_px & _14_BITS, 1
    if kind == b"VP8L":
        if _taken(data, start, 1)[0] != _VP8L_SIGNATURE:
            raise unusable("damaged", "a WebP begins otherwise")
        bits = int.from_bytes(_taken(data, start + 1, 4), "little")
        return (bits & _14_BITS) + 1, (bits >> 14 & _14_BITS) + 1, 1
    if kind != b"VP8X":
        raise unusable("damaged", "a WebP begins otherwise")
    flags = _taken(data, start, 1)[0]
    if flags & _WEBP_ANIMATED:
        raise _moving()
    width_px, height_px = (int.from_bytes(_taken(data, start + at, 3), "little") + 1 for at in (4, 7))
    orientation = _webp_orientation(data, is_all=is_all) if flags & _WEBP_EXIF else 1
    return width_px, height_px, orientation


def _webp_orientation(data: bytes, *, is_all: bool) -> int:
    """Looks for the EXIF chunk, which stands behind the pixels. Where those are too large to read on, it isn't found."""
    place = 12
    try:
        while True:
            kind, length = struct.unpack("<4sI", _taken(data, place, 8))
            if kind == b"EXIF":
                return _orientation(_taken(data, place + 8, length))
            place += 8 + length + length % 2
    except HeadIncompleteError:
        if is_all:
            return 1
        raise


def _orientation(exif: bytes) -> int:
    """Reads the orientation out of an EXIF block; 1, upright, when there is none or the block is damaged."""
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, place + 2 + 12 * entry)
            if (tag, kind) == (_ORIENTATION_TAG, _TIFF_SHORT):
                return int(value)
    except struct.error:
        pass
    return 1


def _taken(data: bytes, start: int, length: int) -> bytes:
    taken = data[start : start + length]
    if len(taken) < length:
        raise HeadIncompleteError
    return taken


def _moving() -> ServiceError:
    return unusable("frames", "it has several frames")
