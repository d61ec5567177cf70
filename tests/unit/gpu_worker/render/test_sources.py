"""Pictures to begin with: covering a size, softening masks, and putting the kept part back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.render.families import sources

SIDES = st.integers(1, 40)


@settings(deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_cover_gives_the_size_for_any_shape(height: int, width: int, to_height: int, to_width: int) -> None:
    assert sources.cover(np.zeros((height, width, 3), np.uint8), to_width, to_height).shape == (to_height, to_width, 3)
    assert sources.cover(np.zeros((height, width), np.uint8), to_width, to_height).shape == (to_height, to_width)


def test_cover_cuts_equally_from_both_sides_without_scaling() -> None:
    columns = np.broadcast_to(np.arange(96, dtype=np.uint8), (32, 96))
    assert np.array_equal(sources.cover(columns, 64, 32), columns[:, 16:80])


def test_cover_of_the_same_size_is_the_picture_itself() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    assert sources.cover(picture, 6, 4) is picture


def test_padding_repeats_the_last_row_and_column() -> None:
    padded = sources.pad_to_multiple(np.arange(6, dtype=np.uint8).reshape(2, 3), 4)
    assert padded.tolist() == [[0, 1, 2, 2], *[[3, 4, 5, 5]] * 3]


@pytest.mark.parametrize("feather_px", [4, 10, 24])
def test_edge_is_as_wide_as_asked_for(feather_px: int) -> None:
    mask = np.zeros((3, 200), np.uint8)
    mask[:, 100:] = 255
    row = sources.feather(mask, feather_px)[1].astype(float) / 255
    assert (np.diff(row) >= 0).all()
    assert abs(((row > 0.1) & (row < 0.9)).sum() - feather_px) <= 2


def test_mask_without_feather_is_left_alone() -> None:
    mask = np.full((3, 3), 7, np.uint8)
    assert sources.feather(mask, 0) is mask


def test_block_is_repainted_when_any_of_its_pixels_is() -> None:
    mask = np.zeros((16, 24), np.uint8)
    mask[3, 13] = 128
    mask[9, 20] = 127
    blocks = sources.repainted_blocks(mask, 8)
    assert set(np.unique(blocks)) == {0, 255}
    assert np.argwhere(blocks).min(axis=0).tolist() == [0, 8]
    assert np.argwhere(blocks).max(axis=0).tolist() == [7, 15]


@settings(deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_composite_lies_between_its_parts_and_is_exact_at_the_ends(new: int, old: int, weight: int) -> None:
    repainted, source = np.full((1, 1, 3), new, np.uint8), np.full((1, 1, 3), old, np.uint8)
    blend = int(sources.composite(repainted, source, np.full((1, 1), weight, np.uint8))[0, 0, 0])
    assert min(new, old) <= blend <= max(new, old)
    assert blend == {0: old, 255: new}.get(weight, blend)
    assert abs(blend - (new * weight + old * (255 - weight)) / 255) <= 0.5
