"""Previews fit into a progress event, whatever they show."""

import io

import numpy as np
import pytest
from PIL import Image

from gpu_worker.pictures.preview import MAX_BYTES, MAX_SIDE_PX, preview_jpeg


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 128), (128, 128), (8, 128), (1, 1)])
def test_preview_fits_its_event_for_noise_of_any_shape(height: int, width: int) -> None:
    data = preview_jpeg(noise(height, width))
    assert len(data) <= MAX_BYTES
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.width / image.height == pytest.approx(width / height, rel=0.1)


def test_preview_is_made_smaller_when_the_picture_is_larger_than_a_preview() -> None:
    pixels = np.full((512, 256, 3), (200, 40, 90), np.uint8)
    with Image.open(io.BytesIO(preview_jpeg(pixels))) as image:
        assert image.size == (MAX_SIDE_PX // 2, MAX_SIDE_PX)


def test_preview_keeps_its_size_and_colours_when_the_picture_is_simple() -> None:
    pixels = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    with Image.open(io.BytesIO(preview_jpeg(pixels))) as image:
        assert image.size == (32, 32)
        assert np.abs(np.asarray(image).astype(int) - (200, 40, 90)).max() <= 4
