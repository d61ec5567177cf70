"""Makes the bytes of pictures, in every form that matters to those who look at what users bring."""

import io
import struct
import zlib
from typing import Any, Final

from PIL import Image

CONTENT_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def picture_bytes(
    width_px: int = 64,
    height_px: int = 48,
    form: str = "PNG",
    colour: tuple[int, int, int] = (200, 40, 40),
    **options: Any,
) -> bytes:
    """Returns a picture of one colour in one of Pillow's formats; `options` are those of saving it."""
    return _saved(Image.new("RGB", (width_px, height_px), colour), form, **options)


def half_white_bytes(width_px: int, height_px: int) -> bytes:
    """Returns a mask that is white at its left and black at its right."""
    mask = Image.new("L", (width_px, height_px), 0)
    mask.paste(255, (0, 0, width_px // 2, height_px))
    return _saved(mask, "PNG")


def moving_picture_bytes(form: str = "PNG", frames: int = 3) -> bytes:
    """Returns a picture of several frames."""
    first, *others = (Image.new("RGB", (64, 48), (80 * index, 40, 40)) for index in range(frames))
    return _saved(first, form, save_all=True, append_images=others)


def turned_picture_bytes(width_px: int, height_px: int, form: str, orientation: int) -> bytes:
    """Returns a picture whose EXIF block says how it is turned (1 to 8)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture_bytes(width_px, height_px, form, exif=exif.tobytes())


def claimed_png_bytes(width_px: int, height_px: int) -> bytes:
    """Returns the beginning of a PNG that claims to be so large, in a few bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, pixels, b"IEND")
    )


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
