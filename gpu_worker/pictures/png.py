"""PNG, written for speed: the form of the pixels, one row filter and a deflate mode, all chosen by a look at the picture.

Owns the bytes of the file, which give every pixel back exactly and which any PNG reader reads; `bench.encode` compares
them with Pillow's `optimize=True`, which tries five filters on every row and then searches for matches as hard as it can:
25 ms for flat art of 1024 x 1024 pixels, half a second for a photograph, four seconds for a smooth one.

- At most 256 colours, as flat art has: an index into a palette, of as few bits as will do.
- Grain, as photographs and decoders make it: matches are rare, so no time is spent on looking for them. The filter Average
  and Huffman codes alone are within 10 % of the least bytes, in 15 ms.
- What lies between, such as flat art with softened edges: the filter Up, which makes rows that repeat into zeros, and
  matches.

zlib-ng writes the same format as zlib and takes a third of its time.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from gpu_worker.render.interface import Pixels

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TRUECOLOR, _INDEXED = 2, 3
_FILTER_UP, _FILTER_AVERAGE = 2, 3
_CHANNELS: Final = 3
_MAX_COLOURS: Final = 256
# A tenth of the pixels may begin a run of one colour; with more, the picture is grain of few colours, for which looking its
# pixels up would cost more than the palette saves.
_MAX_RUN_SHARE: Final = 0.1
_COLOUR_SAMPLE_STRIDE: Final = 16
_SAMPLE_BANDS, _SAMPLE_BAND_ROWS = 8, 8
# What matches must save before they are worth eight times the time of Huffman codes alone.
_MATCHES_PAY_BELOW: Final = 0.9

_Rows: TypeAlias = NDArray[np.uint8]
"""Bytes of a picture's rows, of shape (height, bytes in a row)."""


@dataclass(frozen=True, slots=True)
class _Deflate:
    """A way to compress."""

    level: int
    strategy: int

    def __call__(self, data: _Rows) -> bytes:
        deflate = zlib_ng.compressobj(
            self.level, zlib_ng.DEFLATED, zlib_ng.MAX_WBITS, zlib_ng.DEF_MEM_LEVEL, self.strategy
        )
        return deflate.compress(np.ascontiguousarray(data).data) + deflate.flush()


_MATCHES: Final = _Deflate(6, zlib_ng.Z_DEFAULT_STRATEGY)
_QUICK_MATCHES: Final = _Deflate(2, zlib_ng.Z_DEFAULT_STRATEGY)
_HUFFMAN: Final = _Deflate(1, zlib_ng.Z_HUFFMAN_ONLY)


def png_bytes(pixels: Pixels, text: dict[str, str]) -> bytes:
    """Returns an RGB picture as a PNG; each entry of text becomes an uncompressed UTF-8 iTXt chunk.

    A picture of at most 256 colours may be written with a palette.
    """
    indexed = _indexed(pixels)
    chunks = _truecolor_chunks(pixels) if indexed is None else indexed
    notes = [_chunk(b"iTXt", _international_text(keyword, value)) for keyword, value in text.items()]
    # The header comes first, the notes before the pixels: readers that only want the recipe needn't read those.
    return b"".join((_SIGNATURE, chunks[0], *notes, *chunks[1:], _chunk(b"IEND", b"")))


def _truecolor_chunks(pixels: Pixels) -> list[bytes]:
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * _CHANNELS)
    filtered, deflate = _chosen(rows)
    return [_header(width, height, 8, _TRUECOLOR), _chunk(b"IDAT", deflate(filtered(rows)))]


def _chosen(rows: _Rows) -> tuple[Callable[[_Rows], _Rows], _Deflate]:
    """Tries the two ways on a few bands of rows; bands, because matches are found among neighbouring rows."""
    starts = np.linspace(0, max(0, len(rows) - _SAMPLE_BAND_ROWS), _SAMPLE_BANDS).astype(int)
    bands = [rows[start : start + _SAMPLE_BAND_ROWS] for start in np.unique(starts)]
    # The first row of a band has no row above it to be filtered with and would count for more than it is.
    repeating, grainy = (
        np.concatenate([filtered(band)[1:] if len(band) > 1 else filtered(band) for band in bands])
        for filtered in (_up, _average)
    )
    if len(_QUICK_MATCHES(repeating)) < _MATCHES_PAY_BELOW * len(_HUFFMAN(grainy)):
        return _up, _MATCHES
    return _average, _HUFFMAN


def _up(rows: _Rows) -> _Rows:
    """Filters rows: each byte less the byte above."""
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _average(rows: _Rows) -> _Rows:
    """Filters rows: each byte less the mean of the byte above and that of the pixel to the left."""
    above, left = np.zeros_like(rows), np.zeros_like(rows)
    above[1:] = rows[:-1]
    left[:, _CHANNELS:] = rows[:, :-_CHANNELS]
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_AVERAGE
    # (above + left) // 2 without leaving the bytes: the bits that both have, and half of those that one has.
    mean = above & left
    above ^= left
    above >>= 1
    mean += above
    np.subtract(rows, mean, out=filtered[:, 1:])
    return filtered


def _indexed(pixels: Pixels) -> list[bytes] | None:
    """Returns header, palette and pixels of a picture of few colours, or None for any other."""
    if Image.fromarray(pixels[::_COLOUR_SAMPLE_STRIDE]).getcolors(_MAX_COLOURS) is None:
        return None
    height, width, _ = pixels.shape
    # Four bytes a pixel, so that a colour is one number.
    colours = np.asarray(Image.fromarray(pixels).convert("RGBA")).view(np.uint32).ravel()
    starts = np.concatenate(([0], np.flatnonzero(colours[1:] != colours[:-1]) + 1))
    if len(starts) > max(_MAX_COLOURS, _MAX_RUN_SHARE * colours.size):
        return None
    palette, indices = np.unique(colours[starts], return_inverse=True)
    if len(palette) > _MAX_COLOURS:
        return None
    rows = np.repeat(indices.astype(np.uint8), np.diff(starts, append=colours.size)).reshape(height, width)
    bits = next(bits for bits in (1, 2, 4, 8) if len(palette) <= 2**bits)
    entries = palette.view(np.uint8).reshape(-1, 4)[:, :_CHANNELS]
    return [
        _header(width, height, bits, _INDEXED),
        _chunk(b"PLTE", entries.tobytes()),
        _chunk(b"IDAT", _MATCHES(_up(_packed(rows, bits)))),
    ]


def _packed(indices: _Rows, bits: int) -> _Rows:
    """Packs indices into bytes, the leftmost pixel in the highest bits; what is left of the last byte is 0."""
    in_byte = 8 // bits
    height, width = indices.shape
    packed = np.zeros((height, -(-width // in_byte)), np.uint8)
    for place in range(in_byte):
        part = indices[:, place::in_byte]
        packed[:, : part.shape[1]] |= part << np.uint8(8 - bits * (place + 1))
    return packed


def _header(width: int, height: int, bit_depth: int, colour_type: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0))


def _international_text(keyword: str, value: str) -> bytes:
    # Keyword, NUL, not compressed, method 0, no language, no translated keyword (PNG specification, 11.3.3.4).
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + value.encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib_ng.crc32(data, zlib_ng.crc32(kind)))
