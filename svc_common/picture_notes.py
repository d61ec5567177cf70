"""Finds the notes that programs write into pictures: text chunks of PNG, and EXIF in PNG, JPEG and WebP.

No pixel is decoded, and none needs to be there: `without_pixels` cuts them out, so that what is sent to be read is small and
the picture itself stays where it is. Files come from strangers. Each is walked through once, by the lengths that its parts
tell, and what is decompressed is bounded before it is. What the notes say is left to the caller.
"""

import re
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_TEXT_BYTES: Final = 2 * 1024 * 1024
"""As much text as one note may have; graphs of a few hundred nodes have one mebibyte."""
_MOST_BYTES_TOGETHER: Final = 2 * MOST_TEXT_BYTES
_MOST_PARTS: Final = 20_000
"""Chunks or segments of a file: libpng cuts a picture of 100 MB into as many."""
_MOST_NAMED: Final = 20
_LONGEST_KEYWORD: Final = 79  # PNG specification, 11.3.3.2

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_END_OF_JPEG: Final = b"\xff\xd9"
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF_PREFIX: Final = b"Exif\0\0"
_RIFF_HEADER_BYTES: Final = 12
_PIXELS_OF_PNG: Final = frozenset({b"IDAT", b"fdAT"})
_WITHOUT_PIXELS_IN_WEBP: Final = frozenset({b"VP8X", b"EXIF"})

_IMAGE_DESCRIPTION, _MAKE, _MODEL = 0x010E, 0x010F, 0x0110
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_NOTED: Final = frozenset({_EXIF_IFD, _USER_COMMENT, _IMAGE_DESCRIPTION, _MAKE, _MODEL})
_TIFF_ASCII: Final = 2
_ENTRY_BYTES: Final = 12
_CHARSET_BYTES: Final = 8
_INLINE_BYTES: Final = 4
# "prompt:{...}": how ComfyUI names a note in a field of EXIF that is meant for something else.
_NAMED: Final = re.compile(r"\s*(?P<name>[A-Za-z_]{1,79})\s*:\s*(?P<text>\{.*)", re.DOTALL)

USER_COMMENT: Final = "UserComment"
"""Keyword under which the comment of an EXIF block is found, which has none."""


class NoteFaultError(Exception):
    """A file whose notes can't be read; `cause` is a word for programs, the message a clause for people."""

    def __init__(self, cause: str, fault: str) -> None:
        super().__init__(fault)
        self.cause = cause


@dataclass(slots=True)
class Notes:
    """Holds the notes of one picture."""

    texts: dict[str, str] = field(default_factory=dict)
    """The first note of each keyword that was asked for."""
    others: list[str] = field(default_factory=list)
    """Keywords of the first notes that were not asked for."""


def notes_in(data: bytes, wanted: Container[str]) -> Notes:
    """Returns the notes of a picture that have the wanted keywords, and names the others.

    Raises:
        NoteFaultError: it isn't PNG, JPEG or WebP ("type"); it ends within a note, or a note isn't what its check sum or
            compression says ("damaged"); a note isn't UTF-8 ("text"); it has too many parts or too long notes ("size").
    """
    reader = _Reader(wanted)
    if data.startswith(_PNG):
        _read_png(data, reader)
    elif data.startswith(_JPEG):
        for marker, segment in _jpeg_segments(data):
            if marker == _APP1 and segment.startswith(_EXIF_PREFIX):
                reader.add_exif(segment)
    elif (data[:4], data[8:_RIFF_HEADER_BYTES]) == (b"RIFF", b"WEBP"):
        for kind, chunk, length in _webp_chunks(data):
            if kind == b"EXIF":
                reader.add_exif(_whole(chunk, length))
    else:
        raise NoteFaultError("type", "it is neither PNG nor JPEG nor WebP")
    return reader.notes


def without_pixels(data: bytes) -> bytes:
    """Returns a file without the pixels, in which `notes_in` finds the same; what isn't PNG, JPEG or WebP is left as it is."""
    if data.startswith(_PNG):
        kept = (_png_chunk(kind, chunk, crc) for kind, chunk, _, crc in _png_chunks(data) if kind not in _PIXELS_OF_PNG)
        return b"".join((_PNG, *kept))
    if data.startswith(_JPEG):
        segments = (_jpeg_segment(marker, segment) for marker, segment in _jpeg_segments(data) if marker == _APP1)
        return b"".join((_JPEG, *segments, _END_OF_JPEG))
    if (data[:4], data[8:_RIFF_HEADER_BYTES]) == (b"RIFF", b"WEBP"):
        chunks = (
            struct.pack("<4sI", kind, length) + chunk + b"\0" * (length % 2)
            for kind, chunk, length in _webp_chunks(data)
            if kind in _WITHOUT_PIXELS_IN_WEBP
        )
        body = b"".join((b"WEBP", *chunks))
        return struct.pack("<4sI", b"RIFF", len(body)) + body
    return data


class _Reader:
    """Takes notes up as they are found."""

    def __init__(self, wanted: Container[str]) -> None:
        self._wanted = wanted
        self._room = _MOST_BYTES_TOGETHER
        self.notes = Notes()

    def wants(self, keyword: str) -> bool:
        """Tells whether to read a note; one that isn't wanted is named instead."""
        if keyword in self._wanted:
            return keyword not in self.notes.texts
        if len(self.notes.others) < _MOST_NAMED and keyword not in self.notes.others:
            self.notes.others.append(keyword)
        return False

    def add(self, keyword: str, text: bytes, *, is_latin: bool = False) -> None:
        """Takes up a note."""
        if len(text) > MOST_TEXT_BYTES or len(text) > self._room:
            raise _too_large()
        self._room -= len(text)
        try:
            self.notes.texts[keyword] = text.decode()
        except UnicodeDecodeError:
            # What PNG calls Latin-1 is UTF-8 in files of many programs: only what can't be that is taken at its word.
            if not is_latin:
                raise NoteFaultError("text", f'its note "{keyword}" isn\'t UTF-8') from None
            self.notes.texts[keyword] = text.decode("latin-1")

    def add_exif(self, exif: bytes) -> None:
        """Takes up what an EXIF block says: its comment, and notes in its text fields. A damaged block says nothing."""
        for tag, value in _exif_values(exif.removeprefix(_EXIF_PREFIX)):
            if tag == _USER_COMMENT:
                if self.wants(USER_COMMENT) and (comment := _comment(value)):
                    self.add(USER_COMMENT, comment.encode(errors="replace"))
            elif named := _NAMED.match(value.rstrip(b"\0").decode("utf-8", "replace")):
                keyword = named["name"].lower()
                if self.wants(keyword):
                    self.add(keyword, named["text"].encode())


def _read_png(data: bytes, reader: _Reader) -> None:
    for kind, chunk, length, crc in _png_chunks(data):
        if kind == b"eXIf":
            reader.add_exif(_whole(chunk, length))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, rest = chunk.partition(b"\0")
            name = keyword[:_LONGEST_KEYWORD].decode("latin-1")
            if not reader.wants(name):
                continue
            if zlib.crc32(_whole(chunk, length), zlib.crc32(kind)).to_bytes(4) != crc:
                raise NoteFaultError("damaged", f'the check sum of its note "{name}" is wrong')
            if kind == b"tEXt":
                reader.add(name, rest, is_latin=True)
            elif kind == b"zTXt":
                reader.add(name, _inflated(rest[1:]), is_latin=True)
            else:
                reader.add(name, _international(rest))


def _international(rest: bytes) -> bytes:
    """Returns the text of an iTXt chunk behind its keyword: flag, method, language, translated keyword, text."""
    is_compressed = rest[:1] == b"\1"
    _, _, rest = rest[2:].partition(b"\0")
    _, _, text = rest.partition(b"\0")
    return _inflated(text) if is_compressed else text


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MOST_TEXT_BYTES + 1)
    except zlib.error:
        raise NoteFaultError("damaged", "a compressed note in it can't be unpacked") from None
    if len(text) > MOST_TEXT_BYTES:
        raise _too_large()
    if not inflate.eof:
        raise NoteFaultError("damaged", "a compressed note in it ends too early")
    return text


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """Yields kind, content, announced length and check sum of each chunk; content and sum are short where the file ends."""
    place = len(_PNG)
    for _ in range(_MOST_PARTS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        # A slice copies, and pixels are most of a file.
        content = b"" if kind in _PIXELS_OF_PNG else data[place + 8 : end]
        yield kind, content, length, data[end : end + 4]
        if kind == b"IEND":
            return
        place = end + 4
    raise _too_many_parts()


def _png_chunk(kind: bytes, content: bytes, crc: bytes) -> bytes:
    return struct.pack(">I4s", len(content), kind) + content + crc


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields marker and content of the segments before the pixels."""
    place = len(_JPEG)
    for _ in range(_MOST_PARTS):
        while data[place : place + 2] == b"\xff\xff":  # any number may stand before a marker
            place += 1
        if data[place : place + 1] != b"\xff" or place + 4 > len(data):
            return
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + max(2, length)
    raise _too_many_parts()


def _jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yields kind, content and announced length of each chunk; the content is short where the file ends."""
    place = _RIFF_HEADER_BYTES
    for _ in range(_MOST_PARTS):
        if place + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, data[place + 8 : place + 8 + length], length
        place += 8 + length + length % 2
    raise _too_many_parts()


def _exif_values(tiff: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields tag and bytes of the fields that notes stand in."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return
    try:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        for tag, kind, value in _ifd(tiff, order, place):
            if tag == _EXIF_IFD:
                (inner,) = struct.unpack(f"{order}I", value[:4])
                yield from ((each, held) for each, _, held in _ifd(tiff, order, inner) if each == _USER_COMMENT)
            elif kind == _TIFF_ASCII and tag in (_IMAGE_DESCRIPTION, _MAKE, _MODEL):
                yield tag, value
    except struct.error:
        return


def _ifd(tiff: bytes, order: str, place: int) -> Iterator[tuple[int, int, bytes]]:
    """Yields tag, type and bytes of those fields of a directory in which notes can be.

    Fields may overlap, so that many of them would be far more bytes than the file has; a directory has each of them once.
    """
    left = len(_NOTED)
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    for index in range(count):
        entry = place + 2 + _ENTRY_BYTES * index
        tag, kind, size = struct.unpack_from(f"{order}HHI", tiff, entry)
        start = entry + 8
        if tag != _EXIF_IFD and size > _INLINE_BYTES:
            (start,) = struct.unpack_from(f"{order}I", tiff, start)
        if tag in _NOTED:
            yield tag, kind, tiff[start : start + max(size, _INLINE_BYTES)]
            left -= 1
            if not left:
                return


def _comment(value: bytes) -> str:
    """Decodes the comment of an EXIF block, behind the eight letters that name its character set."""
    charset, text = value[:_CHARSET_BYTES], value[_CHARSET_BYTES:]
    if charset != b"UNICODE\0":
        return text.rstrip(b"\0 ").decode("utf-8", "replace")
    # Nobody agrees on the order of the bytes, but a recipe has Latin letters and colons: their high byte is 0.
    is_little = text[1::2].count(0) > text[::2].count(0)
    return text.decode("utf-16-le" if is_little else "utf-16-be", "replace").rstrip("\0")


def _whole(content: bytes, length: int) -> bytes:
    if len(content) < length:
        raise NoteFaultError("damaged", "it ends within a note")
    return content


def _too_large() -> NoteFaultError:
    return NoteFaultError("size", f"its notes are larger than {MOST_TEXT_BYTES // 1024 // 1024} MiB")


def _too_many_parts() -> NoteFaultError:
    return NoteFaultError("size", f"its file has more than {_MOST_PARTS} parts")
