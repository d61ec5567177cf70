"""What leaves the worker: the pixels come back unchanged, the hashes are true, the recipe travels with the picture."""

import hashlib
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.pictures.encode import (
    THUMBNAIL_SIDE_PX,
    encode_artifacts,
    encode_original,
    encode_thumbnail,
)
from gpu_worker.pictures.png import png_bytes
from gpu_worker.pictures.recipe import RECIPE_KEYWORD, Recipe, image_recipe
from gpu_worker.render.interface import RenderedImage, RenderResult, RenderSpec

SPEC = RenderSpec(
    model=ModelSpec("m", "7", "tiny", (ModelFile("unet/w.safetensors", 3, "ab" * 32),)),
    prompt='여우 "fox" \\ \n🐧',
    negative_prompt="",
    width_px=64,
    height_px=40,
    step_count=4,
    guidance_scale=7.5,
    seed=2**63 - 1,
    image_count=2,
    scheduler="euler",
)


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


def recipe(pixels: np.ndarray) -> Recipe:
    image = RenderedImage(index=1, seed=2**63 - 1, pixels=pixels)
    return image_recipe(SPEC, image, RenderResult((image,), 0.5, "cpu", (("torch", "2.13.0"),)))


def grainy(height: int = 40, width: int = 64) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def flat(height: int = 40, width: int = 64) -> np.ndarray:
    pixels = np.full((height, width, 3), (230, 220, 180), np.uint8)
    pixels[height // 4 : height // 2, width // 4 :] = (200, 40, 60)
    return pixels


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)), elements=st.integers(0, 255)))
def test_png_gives_the_same_pixels_back_for_any_picture(pixels: np.ndarray) -> None:
    assert np.array_equal(decoded(png_bytes(pixels, {})), pixels)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 70)), elements=st.integers(0, 255)),
    st.integers(1, 300),
)
def test_png_gives_the_same_pixels_back_for_any_number_of_colours(indices: np.ndarray, colours: int) -> None:
    palette = np.random.default_rng(colours).integers(0, 256, (colours, 3), np.uint8)
    # Wide runs, as art has them; without those no palette is made.
    pixels = palette[indices.astype(int) % colours].repeat(12, axis=1)
    assert np.array_equal(decoded(png_bytes(pixels, {})), pixels)


def art(colours: int) -> np.ndarray:
    """Stripes, each of its own colour."""
    palette = np.random.default_rng(colours).permutation(256**3)[:colours]
    stripes = np.stack([palette >> 16, palette >> 8 & 255, palette & 255], axis=-1).astype(np.uint8)
    return stripes[np.arange(264) * colours // 264][None].repeat(128, axis=0).repeat(20, axis=1)


def softened() -> np.ndarray:
    """A disc with soft edges: as many colours as there are steps between its two."""
    rows, columns = np.mgrid[-1:1:512j, -1:1:512j]
    share = np.clip(128 - 256 * 64 * (np.hypot(rows, columns) - 0.6), 0, 255)[..., None] / 255
    return (share * (200, 40, 60) + (1 - share) * (230, 220, 180)).astype(np.uint8)


def blurred_grain() -> np.ndarray:
    return np.asarray(Image.fromarray(grainy(64, 64)).resize((256, 256), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("pixels", "bits", "colour_type"),
    [
        pytest.param(grainy(256, 256), 8, 2, id="grain"),
        pytest.param(blurred_grain(), 8, 2, id="smooth"),
        pytest.param(softened(), 8, 3, id="soft edges"),
        pytest.param(np.full((9, 9, 3), 7, np.uint8), 1, 3, id="one colour"),
        pytest.param(art(2), 1, 3, id="two colours"),
        pytest.param(art(4), 2, 3, id="four colours"),
        pytest.param(art(5), 4, 3, id="five colours"),
        pytest.param(art(17), 8, 3, id="seventeen colours"),
        pytest.param(art(256), 8, 3, id="as many as a palette holds"),
        pytest.param(art(257), 8, 2, id="one more"),
    ],
)
def test_png_passes_a_strict_reader_in_each_of_its_forms(pixels: np.ndarray, bits: int, colour_type: int) -> None:
    data = png_bytes(pixels, {"note": "x"})
    assert struct.unpack_from(">BB", data, 24) == (bits, colour_type)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # every chunk's checksum
    assert np.array_equal(decoded(data), pixels)


@pytest.mark.parametrize(
    "pixels", [flat(512, 512), softened(), art(257), grainy(256, 256)], ids=["flat", "soft edges", "stripes", "grain"]
)
def test_png_is_no_larger_than_a_tenth_above_the_best(pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    assert len(png_bytes(pixels, {})) <= 1.1 * len(buffer.getvalue())


def test_png_text_keeps_unicode_and_does_not_touch_the_pixels() -> None:
    with Image.open(io.BytesIO(png_bytes(flat(), {"a": "여우 🐧", "b": ""}))) as image:
        image.load()
        assert image.text == {"a": "여우 🐧", "b": ""}  # type: ignore[attr-defined]


def test_artifacts_have_the_hash_and_size_of_their_bytes() -> None:
    artifacts = encode_artifacts(grainy(), recipe(grainy()))
    assert [(artifact.name, artifact.content_type) for artifact in artifacts] == [
        ("original.png", "image/png"),
        ("thumbnail.webp", "image/webp"),
        ("metadata.json", "application/json"),
    ]
    for artifact in artifacts:
        assert artifact.sha256 == hashlib.sha256(artifact.data).hexdigest()
        assert artifact.size_bytes == len(artifact.data)


def test_artifacts_are_the_same_bytes_when_encoded_again() -> None:
    assert encode_artifacts(grainy(), recipe(grainy())) == encode_artifacts(grainy(), recipe(grainy()))


def test_recipe_in_the_picture_equals_the_metadata_and_says_everything() -> None:
    original, _, metadata = encode_artifacts(grainy(), recipe(grainy()))
    with Image.open(io.BytesIO(original.data)) as image:
        image.load()
        in_picture = json.loads(image.text[RECIPE_KEYWORD])  # type: ignore[attr-defined]
    assert in_picture == json.loads(metadata.data)
    assert in_picture == {
        "format": "pingvas-recipe/1",
        "operation": "text_to_image",
        "model": {"model_id": "m", "revision": "7", "family": "tiny", "files": {"unet/w.safetensors": "ab" * 32}},
        "prompt": SPEC.prompt,
        "negative_prompt": "",
        "width_px": 64,
        "height_px": 40,
        "step_count": 4,
        "guidance_scale": 7.5,
        "seed": "9223372036854775807",
        "seed_bits": 53,
        "image_index": 1,
        "scheduler": "euler",
        "loras": [],
        "device": "cpu",
        "libraries": {"torch": "2.13.0"},
    }


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1024, 768, (192, 256)), (512, 1024, (256, 128)), (64, 40, (40, 64)), (256, 256, (256, 256))],
)
def test_thumbnail_keeps_the_proportions_within_its_side(height: int, width: int, expected: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(encode_thumbnail(grainy(height, width)).data)) as image:
        assert image.format == "WEBP"
        assert image.size == expected
        assert max(image.size) <= THUMBNAIL_SIDE_PX


def test_original_keeps_every_pixel() -> None:
    assert np.array_equal(decoded(encode_original(grainy(), recipe(grainy())).data), grainy())
