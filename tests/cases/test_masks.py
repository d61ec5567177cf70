"""Masks as people make them, through the whole fleet: what is meant is repainted, and what means nothing costs nothing."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pingvas.generation.v1 import job_pb2

from svc_common.errors import Reason
from tests.e2e.stage import Person, Stage, refusal_of
from tests.e2e.test_operations import completed, pixels_of, submit, upload

_SIZE = (128, 96)


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("pro")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def picture() -> Image.Image:
    """Blue, with a bright square at the left."""
    image = Image.new("RGB", _SIZE, (60, 120, 180))
    ImageDraw.Draw(image).rectangle((12, 28, 51, 67), fill=(230, 220, 200))
    return image


def right_half(inside: int, outside: int) -> Image.Image:
    alpha = Image.new("L", _SIZE, outside)
    alpha.paste(inside, (64, 0, 128, 96))
    return alpha


def layer(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    layer = colours.copy()
    layer.putalpha(alpha)
    return layer


def inpaint(person: Person, mask: Image.Image) -> job_pb2.Inpaint:
    return job_pb2.Inpaint(
        prompt="a red circle",
        source=job_pb2.ImageSource(upload_id=upload(person, png(picture()))),
        mask=job_pb2.ImageSource(upload_id=upload(person, png(mask))),
        step_count=4,
        strength=1.0,
        seed=3,
        mask_feather_px=0,
    )


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(layer(picture(), right_half(0, 255)), id="hole in a copy of the picture"),
        pytest.param(layer(Image.new("RGB", _SIZE, (220, 30, 30)), right_half(255, 0)), id="red strokes"),
        pytest.param(layer(Image.new("RGB", _SIZE, (255, 255, 255)), right_half(255, 0)), id="white strokes"),
        pytest.param(right_half(255, 0), id="white on black"),
    ],
)
def test_right_half_is_repainted_and_the_left_is_kept(person: Person, mask: Image.Image) -> None:
    changed = (pixels_of(completed(person, inpaint(person, mask))[0]) != np.asarray(picture())).any(axis=2)
    assert not changed[:, :64].any()
    assert changed[:, 64:].mean() > 0.9


@pytest.mark.parametrize(
    ("mask", "cause"),
    [
        pytest.param(Image.new("L", _SIZE, 0), "mask_empty", id="all black"),
        pytest.param(Image.new("L", _SIZE, 255), "mask_full", id="all white"),
        pytest.param(layer(Image.new("RGB", _SIZE), right_half(255, 0)), "mask_empty", id="black strokes"),
        pytest.param(layer(picture(), Image.new("L", _SIZE, 0)), "mask_empty", id="wholly transparent"),
    ],
)
def test_mask_that_is_no_use_is_refused_at_no_cost(person: Person, mask: Image.Image, cause: str) -> None:
    before, operation = person.balance(), inpaint(person, mask)
    refusal = refusal_of(lambda: submit(person, operation))
    assert (refusal.reason, refusal.metadata["cause"]) == (Reason.SOURCE_INVALID, cause)
    assert [violation.field for violation in refusal.violations] == ["inpaint.mask"]
    assert person.balance() == before
