"""Tells type, size and orientation of a picture by a few of its bytes, as it is seen. Nothing is decoded.

svc_gallery prices a job by the size as it is seen, and the worker turns the pixels: both read the orientation here, so
that they can't disagree. A reading is a generator that asks for spans of the file and is sent their bytes: whoever has
the file answers from memory, whoever has an object store from a stream of it. No span begins
before the last one did.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Span: TypeAlias = tuple[int, int]
"""Start and length in bytes. The answer is shorter where the file ends before."""
Reading: TypeAlias = Generator[Span, bytes, T]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_RIFF_HEADER_BYTES: Final = 12

_ORIENTATION_TAG: Final = 0x0112
_TIFF_SHORT: Final = 3
_UPRIGHT: Final = 1
_ORIENTATIONS: Final = range(1, 9)
# Orientations from here on lie on their side; those before are upright, mirrored or upside down.
_FIRST_SIDEWAYS: Final = 5
_EXIF_PREFIX: Final = b"Exif\0\0"
_EXIF_BYTES: Final = 64 * 1024
"""How much of an EXIF block is read: as much as a segment of a JPEG can hold. Thumbnails and notes stand behind the tags."""

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
class PictureFacts:
    """Holds what a file tells of its picture without being decoded."""

    content_type: str
    stored_width_px: int
    stored_height_px: int
    orientation: int = _UPRIGHT
    """EXIF's number, 1 to 8: how the stored picture is turned to be seen."""

    @property
    def seen_size_px(self) -> tuple[int, int]:
        """Width and height as the picture is seen."""
        if self.orientation >= _FIRST_SIDEWAYS:
            return self.stored_height_px, self.stored_width_px
        return self.stored_width_px, self.stored_height_px


class PictureFaultError(Exception):
    """A file that is no picture that can be used; `cause` is a word for programs, the message a clause for people."""

    def __init__(self, cause: str, fault: str) -> None:
        super().__init__(fault)
        self.cause = cause


def facts_in(data: bytes) -> PictureFacts:
    """Returns the facts of a file that is in memory.

    Raises:
        PictureFaultError: it isn't PNG, JPEG or WebP, is damaged, or moves.
    """
    reading = read_facts()
    try:
        start, length = next(reading)
        while True:
            start, length = reading.send(data[start : start + length])
    except StopIteration as end:
        facts: PictureFacts = end.value
        return facts


def read_facts() -> Reading[PictureFacts]:
    """Reads the facts of a file.

    Raises:
        PictureFaultError: it isn't PNG, JPEG or WebP, is damaged, or moves.
    """
    beginning = yield 0, _RIFF_HEADER_BYTES
    if beginning.startswith(_PNG):
        facts = yield from _png()
    elif beginning.startswith(_JPEG):
        facts = yield from _jpeg()
    elif (beginning[:4], beginning[8:]) == (b"RIFF", b"WEBP"):
        facts = yield from _webp(8 + int.from_bytes(beginning[4:8], "little"))
    elif len(beginning) < _RIFF_HEADER_BYTES:
        raise _unreadable()
    else:
        raise PictureFaultError("type", "it is neither PNG nor JPEG nor WebP")
    if min(facts.seen_size_px) < 1:
        raise PictureFaultError("damaged", "it has no pixels")
    return facts


def _png() -> Reading[PictureFacts]:
    """Reads up to the pixels. PNG's third edition wants an eXIf behind them ignored, as browsers do (w3c/png#310)."""
    header = yield from _exactly(8, 25)
    if header[4:8] != b"IHDR":
        raise PictureFaultError("damaged", "a PNG begins otherwise")
    width_px, height_px = struct.unpack_from(">II", header, 8)
    orientation, place = None, 33
    while True:
        length, kind = struct.unpack(">I4s", (yield from _exactly(place, 8)))
        if kind == b"IDAT":
            return PictureFacts("image/png", width_px, height_px, orientation or _UPRIGHT)
        if kind == b"IEND":
            raise PictureFaultError("damaged", "it has no pixels")
        if kind == b"acTL" and int.from_bytes((yield from _exactly(place + 8, 4))) > 1:
            raise _moving()
        if kind == b"eXIf" and orientation is None:
            orientation = _orientation((yield place + 8, min(length, _EXIF_BYTES)))
        place += 12 + length


def _jpeg() -> Reading[PictureFacts]:
    """Reads up to the first scan. The first EXIF block counts, even one behind the frame's header."""
    size: tuple[int, int] | None = None
    orientation, place = None, len(_JPEG)
    while True:
        marker, place = yield from _jpeg_marker(place)
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        length = int.from_bytes((yield from _exactly(place, 2)))  # counts itself
        if marker in _START_OF_FRAME and size is None:
            height_px, width_px = struct.unpack(">HH", (yield from _exactly(place + 3, 4)))
            size = width_px, height_px
        if marker == _APP1 and orientation is None:
            segment = yield place + 2, max(0, length - 2)
            if segment.startswith(_EXIF_PREFIX):
                orientation = _orientation(segment)
        place += max(2, length)
    if size is None:
        raise PictureFaultError("damaged", "a JPEG without a frame")
    return PictureFacts("image/jpeg", *size, orientation or _UPRIGHT)


def _jpeg_marker(place: int) -> Reading[tuple[int, int]]:
    """Reads a marker and returns it with the place behind it; any number of 0xFF may stand before its number."""
    if (yield from _exactly(place, 1)) != b"\xff":
        raise PictureFaultError("damaged", "a segment of the JPEG begins otherwise")
    while (byte := (yield from _exactly(place, 1))) == b"\xff":
        place += 1
    return byte[0], place + 1


def _webp(end: int) -> Reading[PictureFacts]:
    kind = yield from _exactly(12, 4)
    if kind == b"VP8 ":
        frame = yield from _exactly(20, 10)
        if frame[3:6] != _VP8_START_CODE:
            raise PictureFaultError("damaged", "a WebP begins otherwise")
        width_px, height_px = (side & _14_BITS for side in struct.unpack_from("<HH", frame, 6))
        return PictureFacts("image/webp", width_px, height_px)
    if kind == b"VP8L":
        frame = yield from _exactly(20, 5)
        if frame[0] != _VP8L_SIGNATURE:
            raise PictureFaultError("damaged", "a WebP begins otherwise")
        bits = int.from_bytes(frame[1:], "little")
        return PictureFacts("image/webp", (bits & _14_BITS) + 1, (bits >> 14 & _14_BITS) + 1)
    if kind != b"VP8X":
        raise PictureFaultError("damaged", "a WebP begins otherwise")
    canvas = yield from _exactly(20, 10)  # its chunk is exactly as long
    if canvas[0] & _WEBP_ANIMATED:
        raise _moving()
    width_px, height_px = (int.from_bytes(canvas[at : at + 3], "little") + 1 for at in (4, 7))
    orientation = (yield from _webp_orientation(30, end)) if canvas[0] & _WEBP_EXIF else _UPRIGHT
    return PictureFacts("image/webp", width_px, height_px, orientation)


def _webp_orientation(place: int, end: int) -> Reading[int]:
    """Looks for the first EXIF chunk, which usually stands behind the pixels, up to the end that the file names.

    Chromium doesn't turn a WebP; viewers and libraries do, and so do we (nihui/waifu2x-ncnn-vulkan#119).
    """
    while place + 8 <= end:
        header = yield place, 8
        if len(header) < 8:  # noqa: PLR2004 - a chunk's header
            break
        kind, length = struct.unpack("<4sI", header)
        if kind == b"EXIF":
            return _orientation((yield place + 8, min(length, _EXIF_BYTES)))
        place += 8 + length + length % 2
    return _UPRIGHT


def _orientation(exif: bytes) -> int:
    """Reads the orientation out of an EXIF block; 1, upright, when there is none or the block is damaged."""
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return _UPRIGHT
    try:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        for entry in range(count):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, place + 2 + 12 * entry)
            if (tag, kind, values) == (_ORIENTATION_TAG, _TIFF_SHORT, 1):
                return value if value in _ORIENTATIONS else _UPRIGHT
    except struct.error:
        pass
    return _UPRIGHT


def _exactly(start: int, length: int) -> Reading[bytes]:
    taken = yield start, length
    if len(taken) < length:
        raise _unreadable()
    return taken


def _unreadable() -> PictureFaultError:
    return PictureFaultError("damaged", "it ends before its size is told")


def _moving() -> PictureFaultError:
    return PictureFaultError("frames", "it has several frames")
