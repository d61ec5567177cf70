"""Pictures of strangers: what is refused before memory is taken for it, and what becomes of what isn't plain RGB."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from svc_common.decoding import PictureRefusedError, decode_mask, decode_opacity, decode_source
from tests.factories.pictures import (
    claimed_png_bytes,
    moving_picture_bytes,
    picture_bytes,
    turned_picture_bytes,
)

RED = (200, 40, 40)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def header(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def real_bomb_png(side: int) -> bytes:
    """A picture that is whole: 2.5 gigapixels of black, in a few kilobytes."""
    deflate = zlib.compressobj(9)
    block = bytes(1 << 20)
    rows = side * (3 * side + 1)
    data = b"".join(deflate.compress(block) for _ in range(min(rows >> 20, 64))) + deflate.flush()
    return png_of(header(side, side), png_chunk(b"IDAT", data))


def claimed_webp(width: int, height: int) -> bytes:
    """A WebP that claims a size in its first chunk and has little else."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + sides
    body = b"WEBP" + chunk + b"VP8L" + struct.pack("<I", 8) + bytes(8)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def endless_jpeg() -> bytes:
    """A progressive JPEG with its last scan again and again, each of which costs a pass over the picture."""
    data = saved(Image.effect_noise((64, 64), 80), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * 200 + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "damaged", id="only a signature"),
        pytest.param(picture_bytes(form="GIF"), "no PNG, JPEG or WebP", id="gif whatever its name"),
        pytest.param(picture_bytes(form="TIFF"), "no PNG, JPEG or WebP", id="tiff"),
        pytest.param(SVG, "no PNG, JPEG or WebP", id="svg"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG, JPEG or WebP", id="postscript"),
        pytest.param(b"GIF89a" + picture_bytes(form="JPEG"), "no PNG, JPEG or WebP", id="gif in front of a jpeg"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + picture_bytes(form="JPEG"), "damaged", id="png signature, jpeg body"),
        pytest.param(claimed_png_bytes(50_000, 50_000), "40 megapixels", id="png that claims 2.5 gigapixels"),
        pytest.param(claimed_png_bytes(8_001, 5_000), "40 megapixels", id="png just above the limit"),
        pytest.param(claimed_webp(16_000, 16_000), "40 megapixels", id="webp that claims 256 megapixels"),
        pytest.param(claimed_webp(64, 64), "damaged", id="webp without a picture"),
        pytest.param(claimed_webp(64, 64)[:26], "damaged", id="webp cut in its header"),
        pytest.param(b"RIFF\x04\0\0\0WEBPVP8 ", "cut short", id="webp of sixteen bytes"),
        pytest.param(b"RIFF\x04\0\0\0WEBPANIM", "damaged", id="webp that begins wrong"),
        pytest.param(moving_picture_bytes("PNG"), "several frames", id="animated png"),
        pytest.param(moving_picture_bytes("WEBP"), "several frames", id="animated webp"),
        pytest.param(picture_bytes(640, 480, "JPEG")[:-2000], "damaged", id="truncated jpeg"),
        pytest.param(picture_bytes(640, 480, "PNG")[:-200], "damaged", id="truncated png"),
        pytest.param(picture_bytes(640, 480, "WEBP")[:-20], "damaged", id="truncated webp"),
        pytest.param(endless_jpeg(), "too many scans", id="jpeg of 200 scans"),
        pytest.param(
            png_of(header(9, 9), png_chunk(b"IDAT", zlib.compress(bytes(3 * 81))[:-9])), "damaged", id="short rows"
        ),
        pytest.param(
            png_of(header(9, 9), png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
            "damaged",
            id="text that is a bomb",
        ),
        pytest.param(
            png_of(header(9, 9), png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
            "damaged",
            id="profile that is a bomb",
        ),
    ],
)
def test_picture_is_refused_with_what_to_do(data: bytes, says: str) -> None:
    with pytest.raises(PictureRefusedError) as caught:
        decode_source(data)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")
    with pytest.raises(PictureRefusedError):
        decode_mask(data, 8, 8)


def test_bomb_is_refused_before_memory_is_taken_for_it() -> None:
    data = real_bomb_png(50_000)
    assert len(data) < 100_000
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureRefusedError, match="40 megapixels"):
        decode_source(data)
    # Its pixels would be 7.5 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50_000


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_source_of_each_form_is_decoded(form: str) -> None:
    pixels = decode_source(picture_bytes(64, 48, form, **({"lossless": True} if form == "WEBP" else {})))
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 3


def test_bytes_after_the_picture_are_of_no_account() -> None:
    data = picture_bytes()
    polyglot = data + b"PK\x03\x04<script>alert(1)</script>"
    assert np.array_equal(decode_source(polyglot), decode_source(data))


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    pixels = decode_source(saved(Image.fromarray(ramp), "PNG"))
    assert np.array_equal(pixels, np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2))


def test_cmyk_jpeg_becomes_rgb() -> None:
    cmyk = Image.new("RGB", (32, 32), RED).convert("CMYK")
    pixels = decode_source(saved(cmyk, "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - RED).max() <= 8


def test_palette_and_grey_become_rgb() -> None:
    assert (decode_source(saved(Image.new("P", (4, 4), 0), "PNG")) == 0).all()
    assert (decode_source(saved(Image.new("1", (4, 4), 1), "PNG")) == 255).all()
    assert (decode_source(saved(Image.new("L", (4, 4), 77), "PNG")) == 77).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(form: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    pixels = decode_source(saved(image, form, lossless=True))
    assert pixels[0].tolist() == [[255, 255, 255], [127, 127, 127]]


def test_transparent_colour_of_a_palette_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert decode_source(saved(image, "PNG", transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_picture_is_turned_upright(form: str, orientation: int) -> None:
    pixels = decode_source(turned_picture_bytes(40, 24, form, orientation))
    assert pixels.shape[:2] == ((24, 40) if orientation <= 4 else (40, 24))


def test_turning_agrees_with_what_cameras_mean() -> None:
    # Orientation 6: the camera was held turned to the left, so the first row of the file is the right side.
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_source(saved(image, "PNG", exif=exif.tobytes()))
    assert pixels[:, 0].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_spoil_the_picture() -> None:
    assert decode_source(picture_bytes(8, 8, "JPEG", exif=b"Exif\0\0MM\0*garbage that is no directory")).shape == (
        8,
        8,
        3,
    )


def test_second_picture_of_a_telephone_is_left_out() -> None:
    small, large = Image.new("RGB", (8, 8)), Image.new("RGB", (16, 8), RED)
    pixels = decode_source(saved(large, "MPO", save_all=True, append_images=[small]))
    assert pixels.shape == (8, 16, 3)


def test_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = picture_bytes(icc_profile=profile)
    assert np.array_equal(decode_source(with_profile), decode_source(picture_bytes()))


def test_mask_is_luminance_at_the_size_of_its_source() -> None:
    image = Image.new("L", (2, 1), 0)
    image.putpixel((1, 0), 255)
    mask = decode_mask(saved(image, "PNG"), 40, 20)
    assert mask.shape == (20, 40)
    assert mask.dtype == np.uint8
    assert (mask[:, :10] == 0).all()
    assert (mask[:, -10:] == 255).all()


def test_mask_that_was_painted_on_a_transparent_layer_is_white_where_it_was_painted() -> None:
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    image.putpixel((1, 0), (255, 255, 255, 255))
    assert decode_mask(saved(image, "PNG"), 2, 1).tolist() == [[0, 255]]


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_opacity_of_a_picture_is_its_alpha(form: str) -> None:
    image = Image.new("RGBA", (4, 2), (*RED, 255))
    image.paste((*RED, 0), (0, 0, 2, 2))
    opacity = decode_opacity(saved(image, form, **({"lossless": True} if form == "WEBP" else {})))
    assert opacity is not None
    assert opacity.tolist() == [[0, 0, 255, 255]] * 2


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_picture_that_is_opaque_everywhere_has_no_opacity_to_read(mode: str) -> None:
    assert decode_opacity(saved(Image.new("RGBA", (4, 2), (*RED, 255)).convert(mode), "PNG")) is None
