"""Pictures as people have them, upscaled and drawn upon by the whole fleet."""

import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms
from pingvas.generation.v1 import job_pb2

from tests.e2e.stage import Person, Stage
from tests.e2e.test_operations import completed, pixels_of, upload
from tests.unit.svc_common.test_pictures_as_seen import COLOURS, adobe_rgb_profile, chunk, grey_png, in_srgb, tiff


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("pro")


def quarters(forms: str = "PNG", **options: object) -> bytes:
    """Four colours on 96 x 64 pixels: red, green above, blue, grey below."""
    pixels = np.array(COLOURS, np.uint8).reshape(2, 2, 3).repeat(32, axis=0).repeat(48, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, forms, **options)
    return buffer.getvalue()


def seen_quarters(pixels: np.ndarray) -> list[list[int]]:
    height, width = pixels.shape[:2]
    return [pixels[y * height // 4, x * width // 4].astype(int).tolist() for y in (1, 3) for x in (1, 3)]


def with_late_exif(png: bytes) -> bytes:
    return png[:-12] + chunk(b"eXIf", tiff(6)) + png[-12:]


def with_long_text(png: bytes) -> bytes:
    text = zlib.compress(b"x" * 1_200_000)
    return png[:33] + chunk(b"tEXt", b"workflow\0" + b"x" * 1_200_000) + chunk(b"zTXt", b"w\0\0" + text) + png[33:]


@pytest.mark.parametrize("alter", [with_late_exif, with_long_text])
def test_what_stands_beside_the_pixels_changes_nothing(person: Person, alter: Callable[[bytes], bytes]) -> None:
    source = job_pb2.ImageSource(upload_id=upload(person, alter(quarters())))
    (large,) = completed(person, job_pb2.Upscale(source=source))
    assert (large.width_px, large.height_px) == (192, 128)
    assert np.abs(np.subtract(seen_quarters(pixels_of(large)), COLOURS)).max() <= 3
    (drawn,) = completed(person, job_pb2.ImageToImage(prompt="a", source=source, step_count=2, strength=0.5))
    assert (drawn.width_px, drawn.height_px) == (96, 64)


def test_webp_larger_than_a_mebibyte_is_drawn_upon_upright(person: Person) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (640, 600, 3), np.uint8)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(noise).save(buffer, "WEBP", lossless=True, exif=exif)
    assert len(buffer.getvalue()) > 1 << 20
    source = job_pb2.ImageSource(upload_id=upload(person, buffer.getvalue(), "image/webp"))
    (drawn,) = completed(person, job_pb2.ImageToImage(prompt="a", source=source, step_count=1, strength=1.0))
    assert (drawn.width_px, drawn.height_px) == (640, 600)


def test_colour_profile_is_followed(person: Person) -> None:
    data = quarters(icc_profile=adobe_rgb_profile())
    source = job_pb2.ImageSource(upload_id=upload(person, data))
    (large,) = completed(person, job_pb2.Upscale(source=source))
    assert np.abs(np.subtract(seen_quarters(pixels_of(large)), [in_srgb(colour) for colour in COLOURS])).max() <= 4


def test_what_inpaint_keeps_is_the_source_in_srgb_exactly(person: Person) -> None:
    data = quarters(icc_profile=adobe_rgb_profile())
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (0, 0, 48, 64))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    operation = job_pb2.Inpaint(
        prompt="a",
        source=job_pb2.ImageSource(upload_id=upload(person, data)),
        mask=job_pb2.ImageSource(upload_id=upload(person, buffer.getvalue())),
        step_count=2,
        mask_feather_px=0,
    )
    profile = ImageCms.ImageCmsProfile(io.BytesIO(adobe_rgb_profile()))
    stored = Image.open(io.BytesIO(data)).convert("RGB")
    shown = np.asarray(ImageCms.profileToProfile(stored, profile, ImageCms.createProfile("sRGB"), 1))
    result = pixels_of(completed(person, operation)[0])
    assert np.array_equal(result[:, 48:], shown[:, 48:])


def test_transparent_grey_of_sixteen_bits_is_white(person: Person) -> None:
    row = grey_png(16, [1000] * 64 + [30000] * 64, 1000)
    pixels = zlib.compress((b"\0" + b"\x03\xe8" * 64 + b"\x75\x30" * 64) * 64)
    place = row.index(b"IDAT") - 4
    header = chunk(b"IHDR", b"\0\0\0\x80\0\0\0\x40\x10\0\0\0\0")
    data = row[:8] + header + row[33:place] + chunk(b"IDAT", pixels) + row[-12:]
    (large,) = completed(person, job_pb2.Upscale(source=job_pb2.ImageSource(upload_id=upload(person, data))))
    white, grey, *_ = seen_quarters(pixels_of(large))
    assert min(white) >= 252
    assert np.abs(np.subtract(grey, 117)).max() <= 3
