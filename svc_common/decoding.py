"""Pictures that people give, as pixels: what is refused before it is decoded, and what becomes of what isn't plain RGB.

Nothing here trusts a name or a header of a request. Three decoders of Pillow can be reached and no other; a picture's
size is known before memory is taken for it. Runs in the encoding threads: Pillow lets go of the interpreter lock.

A picture is taken as browsers show it: turned as `pictures` reads its orientation, and in sRGB. The rest of what stands
beside the pixels is left out before a decoder sees it, so no workflow or preview can spoil a picture, whatever its length.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from svc_common.colour import to_srgb
from svc_common.masks import repainted_by
from svc_common.pictures import PictureFaultError, facts_in

Pixels: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.uint8]

MAX_BYTES: Final = 32 * 2**20
MAX_PIXELS: Final = 40_000_000
_MAX_SCANS: Final = 100
"""Scans of a progressive JPEG; cameras write ten. Each costs a pass over all of the picture, and may be a few bytes long."""
_SIXTEEN_BITS: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_LARGEST_PROFILE_BYTES: Final = 16 * 2**20
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_GREY: Final = 0
_WIDE_SAMPLE_BITS: Final = 16
_OPAQUE: Final = 255
_WHITE: Final = (255, 255, 255, 255)
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
    """Returns how much of each pixel a mask repaints, at a size, upright; `masks` says what its transparency means.

    Raises:
        PictureRefusedError: as for a source.
    """
    mask = Image.fromarray(_decoded(data, repainted_by))
    if mask.size != (width_px, height_px):
        # Not Lanczos: it rings, and a kept pixel beside the edge would be repainted a little.
        mask = mask.resize((width_px, height_px), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(mask)


def decode_opacity(data: bytes) -> Mask | None:
    """Returns how opaque each pixel of a picture is, upright, 0 to 255, or None for one that has no transparency at all.

    Raises:
        PictureRefusedError: as for a source.
    """
    opacity = _decoded(data, _opacity)
    return None if int(opacity.min()) == _OPAQUE else np.ascontiguousarray(opacity)


def _opacity(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").getchannel("A")


def _decoded(
    data: bytes, convert: Callable[[Image.Image], Image.Image | NDArray[np.uint8]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    decoder = _decoder(data)
    try:
        turn = _TURNS.get(_orientation(data))
        data, profile = _pixels_and_profile(data) if decoder == "PNG" else (data, None)
        with Image.open(io.BytesIO(data), formats=[decoder]) as image:
            _refuse_large(*image.size)
            _refuse_animated(image)
            image.load()
            profile = profile or image.info.get("icc_profile")
            plain = _in_srgb(_eight_bits(image, data), profile)
            return np.asarray(convert(plain if turn is None else plain.transpose(turn)), dtype=np.uint8)
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


def _orientation(data: bytes) -> int:
    try:
        return facts_in(data).orientation
    except PictureFaultError:
        return 1  # what is the matter with it, its decoder tells


def _pixels_and_profile(data: bytes) -> tuple[bytes, bytes | None]:
    """Returns a PNG with nothing in it but pixels, and the colour profile that stood before them.

    Pillow refuses texts and profiles that unpack to more than a mebibyte, and takes an eXIf wherever it stands. A picture
    without such chunks is returned as it is.
    """
    kept, profile, place, pixels_began, is_plain = [_PNG_SIGNATURE], None, len(_PNG_SIGNATURE), False, True
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        pixels_began |= kind == b"IDAT"
        if kind in _PIXEL_CHUNKS or kind[0] & 0x20 == 0:  # a critical chunk that is unknown is for the decoder to judge
            kept.append(data[place:end])
        else:
            is_plain = False
            if kind == b"iCCP" and not pixels_began:
                profile = profile or _unpacked_profile(data[place + 8 : end - 4])
        place = end
        if kind == b"IEND":
            break
    return (data if is_plain else b"".join(kept)), profile


def _unpacked_profile(chunk: bytes) -> bytes | None:
    """Returns the profile of an iCCP chunk (name, 0, method, deflated bytes); None when it is broken."""
    _, _, packed = chunk.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _LARGEST_PROFILE_BYTES) or None
    except zlib.error:
        return None


def _eight_bits(image: Image.Image, data: bytes) -> Image.Image:
    """Returns a picture with samples of eight bits, and with alpha as a band where a colour was named transparent."""
    transparent = image.info.get("transparency")
    if image.mode in _SIXTEEN_BITS:
        wide = np.asarray(image).astype(np.uint32)
        return _with_alpha(_rounded(wide), None if transparent is None else wide != transparent)
    if image.format == "PNG" and isinstance(transparent, int | tuple) and image.mode in ("1", "L", "RGB"):
        bits, colour_type = data[24], data[25]
        if colour_type == _PNG_GREY:
            # Pillow gives the samples the full range of a byte, but not the transparent one.
            grey = np.asarray(image.convert("L"))
            return _with_alpha(grey, grey != transparent * 255 // (2**bits - 1))
        if bits == _WIDE_SAMPLE_BITS and isinstance(transparent, tuple):
            # Of 16 bits a channel Pillow keeps the upper eight.
            rgb = np.asarray(image)
            return _with_alpha(rgb, (rgb != [value >> 8 for value in transparent]).any(axis=2))
    if image.has_transparency_data:
        return image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return image.convert("RGB" if image.mode == "P" else "L") if image.mode in ("P", "1") else image


def _rounded(wide: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Returns samples of 16 bits as the nearest of eight: 65535 is 255, as PNG's specification has it."""
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _with_alpha(colours: NDArray[np.uint8], is_opaque: NDArray[np.bool_] | None) -> Image.Image:
    image = Image.fromarray(colours)
    if is_opaque is not None:
        image.putalpha(Image.fromarray(is_opaque.astype(np.uint8) * np.uint8(255)))
    return image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns a picture in sRGB; transparency isn't a colour and stays as it is."""
    if profile is None:
        return image
    if image.mode not in ("RGBA", "LA"):
        return to_srgb(image, profile)
    alpha = image.getchannel("A")
    colours = to_srgb(image.convert("RGB" if image.mode == "RGBA" else "L"), profile).convert("RGB")
    colours.putalpha(alpha)
    return colours


def _opaque(image: Image.Image, ground: tuple[int, int, int, int]) -> Image.Image:
    if not image.has_transparency_data:
        return image
    upper = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", upper.size, ground), upper)
