"""What a mask's transparency means, as people who paint, erase and export them expect."""

import io

import numpy as np
import pytest
from PIL import Image

from svc_common.decoding import decode_mask
from svc_common.masks import fault_of

WIDTH, HEIGHT = 32, 16
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (220, 30, 30)
LEFT, RIGHT, NOTHING = "left", "right", "nothing"


def halves(left: tuple[int, ...], right: tuple[int, ...]) -> Image.Image:
    image = Image.new("RGBA" if len(left) == 4 else "RGB", (WIDTH, HEIGHT), right)
    image.paste(left, (0, 0, WIDTH // 2, HEIGHT))
    return image


def erased(photo: Image.Image) -> Image.Image:
    alpha = Image.new("L", photo.size, 255)
    alpha.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    photo = photo.convert("RGB")
    photo.putalpha(alpha)
    return photo


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def decoded(image: Image.Image, form: str = "PNG") -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    return decode_mask(buffer.getvalue(), WIDTH, HEIGHT)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    ("image", "repainted"),
    [
        pytest.param(halves(WHITE, BLACK), LEFT, id="white on black"),
        pytest.param(halves((*WHITE, 255), (*BLACK, 255)), LEFT, id="white on black, opaque alpha"),
        pytest.param(halves((*WHITE, 255), (*WHITE, 0)), LEFT, id="white strokes on a transparent layer"),
        pytest.param(halves((*WHITE, 255), (*RED, 0)), LEFT, id="what is transparent has no colour"),
        pytest.param(halves((*RED, 255), (*BLACK, 0)), LEFT, id="red strokes on a transparent layer"),
        pytest.param(halves((*BLACK, 255), (*BLACK, 0)), NOTHING, id="black strokes on a transparent layer"),
        pytest.param(halves((*BLACK, 0), (*WHITE, 255)), RIGHT, id="white sheet with a hole"),
        pytest.param(erased(photo()), LEFT, id="hole in a photo"),
        pytest.param(erased(photo().convert("L")), LEFT, id="hole in a grey photo"),
        pytest.param(halves((*WHITE, 0), (*BLACK, 0)), NOTHING, id="wholly transparent"),
    ],
)
def test_half_that_is_meant_is_repainted(image: Image.Image, repainted: str, form: str) -> None:
    mask = decoded(image, form)
    left, right = mask[:, : WIDTH // 2], mask[:, WIDTH // 2 :]
    assert (np.unique(left).tolist(), np.unique(right).tolist()) == (
        [255 * (repainted == LEFT)],
        [255 * (repainted == RIGHT)],
    )
    assert fault_of(mask) == ("mask_empty" if repainted == NOTHING else None)


def test_softly_erased_edge_is_blended() -> None:
    image = photo()
    ramp = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    image.putalpha(Image.fromarray(ramp))
    assert np.array_equal(decoded(image), 255 - ramp)


@pytest.mark.parametrize(
    ("grey", "fault"),
    [(0, "mask_empty"), (127, "mask_empty"), (128, None), (249, None), (250, "mask_full"), (255, "mask_full")],
)
def test_flat_mask_is_no_use(grey: int, fault: str | None) -> None:
    assert fault_of(decoded(Image.new("L", (WIDTH, HEIGHT), grey))) == fault


def test_one_pixel_is_enough() -> None:
    image = Image.new("L", (WIDTH, HEIGHT), 0)
    image.putpixel((3, 3), 255)
    assert fault_of(decoded(image)) is None
