"""Pictures that people give, as pixels: what is refused before it is decoded, and what becomes of what isn't plain RGB.

Nothing here trusts a name or a header of a request. Three decoders of Pillow can be reached and no other; a picture's
size is known before memory is taken for it. Runs in the encoding threads: Pillow lets go of the interpreter lock.

Colour profiles are ignored: parsing them means one more parser for bytes of strangers, and a model doesn't know them.
"""

import contextlib
import io
import struct
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from gpu_worker.rendering import Mask, Pixels

MAX_BYTES: Final = 32 * 2**20
MAX_PIXELS: Final = 40_000_000
_MAX_SCANS: Final = 100
"""Scans of a progressive JPEG; cameras write ten. Each costs a pass over all of the picture, and may be a few bytes long."""
_SIXTEEN_BITS: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture is turned for each value of EXIF's tag Orientation."""

# Pillow's own guard, for what it looks at before this module can: it refuses twice as much and warns below that.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class PictureRefusedError(Exception):
    """A picture that can't be used; the message tells its owner why and what would do, after "The source"."""


def decode_source(data: bytes) -> Pixels:
    """Returns the RGB pixels of a PNG, JPEG or WebP, upright, with transparency laid on white.

    Raises:
        PictureRefusedError: it is something else, damaged, animated, or too large.
    """
    return np.ascontiguousarray(_decoded(data, lambda image: _opaque(image, _WHITE).convert("RGB")))


def decode_mask(data: bytes, width_px: int, height_px: int) -> Mask:
    """Returns a mask's luminance at a size, upright.

    Transparency counts as black, that is kept: a mask that was painted on a transparent layer is white where it was painted.

    Raises:
        PictureRefusedError: as for a source.
    """

    def luminance(image: Image.Image) -> Image.Image:
        return _opaque(image, _BLACK).convert("L")

    mask = Image.fromarray(_decoded(data, luminance))
    if mask.size != (width_px, height_px):
        # Not Lanczos: it rings, and a kept pixel beside the edge would be repainted a little.
        mask = mask.resize((width_px, height_px), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(mask)


def _decoded(
    data: bytes, convert: Callable[[Image.Image], Image.Image]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    decoder = _decoder(data)
    try:
        with Image.open(io.BytesIO(data), formats=[decoder]) as image:
            _refuse_large(*image.size)
            _refuse_animated(image)
            image.load()
            return np.asarray(convert(_upright(image)), dtype=np.uint8)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except UnidentifiedImageError as error:
        raise PictureRefusedError("is damaged, or is no picture. Save it anew as PNG, JPEG or WebP.") from error
    except PictureRefusedError:
        raise
    # Pillow's decoders raise what they come by: OSError when bytes are missing, and SyntaxError, ValueError, IndexError,
    # struct.error, zlib.error and others for bytes that make no sense. The bytes are a stranger's; the fault is there.
    except Exception as error:
        raise PictureRefusedError("is damaged or cut short. Save it anew as PNG, JPEG or WebP.") from error


def _decoder(data: bytes) -> str:
    """Tells by its first bytes what a file is, and refuses what can be refused without a parser."""
    if not data:
        raise PictureRefusedError("is empty. Upload it again.")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        if data.count(b"\xff\xda") > _MAX_SCANS:
            raise PictureRefusedError("has too many scans. Save it anew as PNG or as a plain JPEG.")
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        # The decoder takes memory for the whole picture when the file is opened, so its size is read before.
        _refuse_large(*_webp_size(data))
        return "WEBP"
    raise PictureRefusedError("is no PNG, JPEG or WebP, whatever its name says. Save it as one of these.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Reads width and height from the first chunk (RFC 9649); refuses a file that has none."""
    kind = data[12:16]
    try:
        if kind == b"VP8X":
            width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        else:
            raise PictureRefusedError("is damaged. Save it anew as PNG, JPEG or WebP.")
    except struct.error as error:
        raise PictureRefusedError("is cut short. Save it anew as PNG, JPEG or WebP.") from error
    return width, height


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large()


def _too_large() -> PictureRefusedError:
    return PictureRefusedError(f"has more than {MAX_PIXELS // 1_000_000} megapixels. Make it smaller.")


def _refuse_animated(image: Image.Image) -> None:
    # Not by the number of frames alone: a JPEG of a telephone has a second, smaller picture that nobody sees (MPO).
    if getattr(image, "is_animated", False) and image.format in ("PNG", "WEBP"):
        raise PictureRefusedError("has several frames. Save one of them as a picture of its own.")


def _upright(image: Image.Image) -> Image.Image:
    orientation = None
    # What a camera wrote beside the picture may be broken while the picture isn't.
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image, ground: tuple[int, int, int, int]) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        # Pillow's own conversion cuts everything above 255 off.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    upper = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", upper.size, ground), upper)
