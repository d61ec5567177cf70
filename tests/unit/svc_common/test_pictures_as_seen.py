"""Pictures as they are seen: turned, in sRGB, of every depth; each file is put together here, byte by byte.

Chromium 156 was shown the files of the first test: it gives the sizes expected here, but for WebP, which it doesn't turn.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from svc_common.decoding import decode_source
from svc_common.pictures import facts_in

UPRIGHT, SIDEWAYS = (3, 2), (2, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(orientation: int, *, order: str = "<", kind: int = 3, count: int = 1, place: int = 8) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}HHHIHH", 1, 0x0112, kind, count, orientation, 0)
    return mark + struct.pack(f"{order}I", place) + directory + bytes(4)


def png(*, before: bytes = b"", after: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(9)) * 2))
    return b"\x89PNG\r\n\x1a\n" + head + before + pixels + after + chunk(b"IEND", b"")


def grey_png(bits: int, samples: list[int], transparent: int) -> bytes:
    """One row of grey samples, one of which is named transparent."""
    row = int("".join(f"{sample:0{bits}b}" for sample in samples).ljust(-(-bits * len(samples) // 8) * 8, "0"), 2)
    line = b"\0" + row.to_bytes(-(-bits * len(samples) // 8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", len(samples), 1, bits, 0, 0, 0, 0))
    named = chunk(b"tRNS", struct.pack(">H", transparent))
    return b"\x89PNG\r\n\x1a\n" + head + named + chunk(b"IDAT", zlib.compress(line)) + chunk(b"IEND", b"")


def jpeg(*segments: bytes, behind_frame: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", UPRIGHT).save(buffer, "JPEG")
    data = buffer.getvalue()
    scan = data.index(b"\xff\xda")
    return data[:2] + b"".join(segments) + data[2:scan] + behind_frame + data[scan:]


def app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def webp(*, flags: int, exif: bytes = b"", first: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", UPRIGHT).save(buffer, "WEBP", lossless=True)
    canvas = struct.pack("<4sIB3x", b"VP8X", 10, flags) + b"\2\0\0\1\0\0"
    body = b"WEBP" + canvas + first + buffer.getvalue()[12:]
    if exif:
        body += b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


EXIF6 = b"Exif\0\0" + tiff(6)
XMP6 = b"http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation='6'/>"
RAW_PROFILE = b"\nexif\n 32\n" + tiff(6).hex().encode()
FILLER = b"junk" + struct.pack("<I", 3 * 2**20) + bytes(3 * 2**20)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    ("data", "seen"),
    [
        pytest.param(png(before=chunk(b"eXIf", tiff(6))), SIDEWAYS, id="png"),
        pytest.param(png(before=chunk(b"eXIf", tiff(6, order=">"))), SIDEWAYS, id="png, big-endian"),
        pytest.param(png(after=chunk(b"eXIf", tiff(6))), UPRIGHT, id="png, behind the pixels (w3c/png#310)"),
        pytest.param(
            png(before=chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_PROFILE))),
            UPRIGHT,
            id="png, as text",
        ),
        pytest.param(png(before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP6)), UPRIGHT, id="png, xmp"),
        pytest.param(png(before=chunk(b"eXIf", tiff(1)) + chunk(b"eXIf", tiff(6))), UPRIGHT, id="png, first of two"),
        pytest.param(
            png(before=chunk(b"tEXt", b"w\0" + b"x" * 2**21) + chunk(b"eXIf", tiff(6))), SIDEWAYS, id="png, far"
        ),
        pytest.param(jpeg(app1(EXIF6)), SIDEWAYS, id="jpeg, before JFIF"),
        pytest.param(jpeg(behind_frame=app1(EXIF6)), SIDEWAYS, id="jpeg, behind the frame's header"),
        pytest.param(jpeg(app1(XMP6)), UPRIGHT, id="jpeg, xmp"),
        pytest.param(jpeg(app1(XMP6), app1(EXIF6)), SIDEWAYS, id="jpeg, behind xmp"),
        pytest.param(jpeg(app1(EXIF6), app1(b"Exif\0\0" + tiff(1))), SIDEWAYS, id="jpeg, first of two"),
        pytest.param(jpeg(app1(b"Exif\0\0" + tiff(6, order=">"))), SIDEWAYS, id="jpeg, big-endian"),
        pytest.param(jpeg(app1(b"Exif\0\0" + tiff(0))), UPRIGHT, id="jpeg, 0"),
        pytest.param(jpeg(app1(b"Exif\0\0" + tiff(9))), UPRIGHT, id="jpeg, 9"),
        pytest.param(jpeg(app1(b"Exif\0\0" + tiff(6, kind=1))), UPRIGHT, id="jpeg, of another type"),
        pytest.param(jpeg(app1(b"Exif\0\0" + tiff(6, place=9999))), UPRIGHT, id="jpeg, beyond its segment"),
        pytest.param(webp(flags=8, exif=tiff(6)), SIDEWAYS, id="webp"),
        pytest.param(webp(flags=8, exif=EXIF6), SIDEWAYS, id="webp, with a prefix"),
        pytest.param(webp(flags=8, exif=tiff(6), first=FILLER), SIDEWAYS, id="webp, behind three mebibytes"),
        pytest.param(webp(flags=0, exif=tiff(6)), UPRIGHT, id="webp, not announced"),
    ],
)
def test_size_and_pixels_are_turned_as_the_picture_is_seen(data: bytes, seen: tuple[int, int]) -> None:
    assert facts_in(data).seen_size_px == seen
    assert decode_source(data).shape == (seen[1], seen[0], 3)


@pytest.mark.parametrize("long_text", [b"tEXtw\0" + bytes(3 * 2**20), b"zTXtw\0\0" + zlib.compress(bytes(3 * 2**20))])
def test_text_of_megabytes_spoils_no_picture(long_text: bytes) -> None:
    for data in (png(before=chunk(long_text[:4], long_text[4:])), png(after=chunk(long_text[:4], long_text[4:]))):
        assert facts_in(data).seen_size_px == UPRIGHT
        assert not decode_source(data).any()


@pytest.mark.parametrize(
    ("bits", "samples", "transparent", "seen"),
    [
        (1, [0, 1, 0], 0, [255, 255, 255]),
        (1, [0, 1, 0], 1, [0, 255, 0]),
        (2, [0, 1, 2, 3], 1, [0, 255, 170, 255]),
        (4, [0, 5, 10, 15], 5, [0, 255, 170, 255]),
        (8, [0, 5, 10, 15], 5, [0, 255, 10, 15]),
        (16, [0, 257, 258, 30000, 65535], 257, [0, 255, 1, 117, 255]),
        (16, [384, 386, 65535], 0, [1, 2, 255]),  # 384 / 257 is 1.49
    ],
)
def test_transparent_grey_is_white_at_every_depth(
    bits: int, samples: list[int], transparent: int, seen: list[int]
) -> None:
    pixels = decode_source(grey_png(bits, samples, transparent))
    assert pixels[0].tolist() == [[value] * 3 for value in seen]


def adobe_rgb_profile() -> bytes:
    """A matrix profile with the primaries of Adobe RGB (1998), adapted to D50, and its gamma of 563/256."""
    columns = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    columns[b"wtpt"] = (0.9642, 1.0, 0.8249)
    tags = {
        name: b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)
        for name, values in columns.items()
    }
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 563)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"Adobe\0" + bytes(80)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body, place = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = place + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def in_srgb(colour: tuple[int, int, int]) -> list[int]:
    """Computes what an Adobe RGB colour is in sRGB by the published matrices (D65 both)."""
    linear = (np.array(colour) / 255) ** (563 / 256)
    matrix = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
    light = np.clip(matrix @ linear, 0, 1)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return [round(float(value) * 255) for value in encoded]


COLOURS = [(220, 40, 40), (40, 200, 60), (40, 60, 220), (128, 128, 128)]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("colour", COLOURS)
def test_profile_is_followed(form: str, colour: tuple[int, int, int]) -> None:
    buffer = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    Image.new("RGB", (16, 16), colour).save(buffer, form, icc_profile=adobe_rgb_profile(), **options)
    pixels = decode_source(buffer.getvalue())
    assert np.abs(pixels.astype(int) - in_srgb(colour)).max() <= (3 if form == "JPEG" else 2)


def test_profile_leaves_transparency_alone() -> None:
    image = Image.new("RGBA", (2, 1), (220, 40, 40, 255))
    image.putpixel((1, 0), (220, 40, 40, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=adobe_rgb_profile())
    red, white = decode_source(buffer.getvalue())[0].astype(int)
    assert np.abs(red - in_srgb((220, 40, 40))).max() <= 2
    assert white.tolist() == [255, 255, 255]


@pytest.mark.parametrize("profile", [b"junk", adobe_rgb_profile()[:200], b"\0" * 128])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_broken_profile_is_left_aside(form: str, profile: bytes) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (220, 40, 40)).save(buffer, form, icc_profile=profile)
    assert np.abs(decode_source(buffer.getvalue()).astype(int) - (220, 40, 40)).max() <= 4
