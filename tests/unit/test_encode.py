"""What leaves the worker: the pixels come back unchanged, the hashes are true, the recipe travels with the picture."""

import hashlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from gpu_worker.encode import THUMBNAIL_SIDE_PX, encode_artifacts, encode_original, encode_thumbnail
from gpu_worker.model_files import ModelFile, ModelSpec
from gpu_worker.png import png_bytes
from gpu_worker.recipe import RECIPE_KEYWORD, Recipe, image_recipe
from gpu_worker.rendering import RenderedImage, RenderResult, RenderSpec

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
        assert image.mode == "RGB"
        return np.asarray(image)


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


@pytest.mark.parametrize("pixels", [grainy(256, 256), flat(256, 256)], ids=["grainy", "flat"])
def test_png_passes_a_strict_reader_in_either_deflate_mode(pixels: np.ndarray) -> None:
    data = png_bytes(pixels, {"note": "x"})
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # every chunk's checksum
    assert np.array_equal(decoded(data), pixels)


def test_png_of_flat_art_stays_small() -> None:
    # Runs alone, the mode of grainy pictures, would need over twice the bytes.
    buffer = io.BytesIO()
    pixels = flat(512, 512)
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    assert len(png_bytes(pixels, {})) <= 1.5 * len(buffer.getvalue())


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
        "image_index": 1,
        "scheduler": "euler",
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
