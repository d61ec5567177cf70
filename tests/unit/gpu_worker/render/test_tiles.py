"""Tiles cover a picture, share what they must, and leave no seam where they are put together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.render.families.tiles import paste, plan_tiles


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(9, 30), st.integers(1, 8))
def test_tiles_cover_every_pixel_and_none_is_larger_than_its_side(
    height: int, width: int, side: int, overlap: int
) -> None:
    filled = np.zeros((height, width), bool)
    for tile in plan_tiles(height, width, side=side, overlap=overlap):
        assert 0 < tile.height <= side
        assert 0 < tile.width <= side
        rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
        part = filled[rows, columns]
        assert part[: tile.shared_top].all()
        assert part[:, : tile.shared_left].all()
        assert tile.shared_top == 0 or tile.shared_top >= overlap
        assert tile.shared_left == 0 or tile.shared_left >= overlap
        part[:] = True
    assert filled.all()


@settings(deadline=None)
@given(st.integers(20, 60), st.integers(20, 60), st.sampled_from([1, 2, 4]))
def test_tiles_of_one_picture_make_the_picture(height: int, width: int, factor: int) -> None:
    picture = np.random.default_rng(height).integers(0, 256, (height * factor, width * factor, 3), dtype=np.uint8)
    result = np.zeros_like(picture)
    for tile in plan_tiles(height, width, side=20, overlap=6):
        rows = slice(tile.top * factor, (tile.top + tile.height) * factor)
        columns = slice(tile.left * factor, (tile.left + tile.width) * factor)
        paste(result, picture[rows, columns], tile, factor)
    assert np.array_equal(result, picture)


def test_tiles_that_differ_fade_into_each_other() -> None:
    result = np.zeros((40, 60, 3), np.uint8)
    for index, tile in enumerate(plan_tiles(40, 60, side=30, overlap=10)):
        colour = 100 + 20 * (index % 2)
        paste(result, np.full((tile.height, tile.width, 3), colour, np.uint8), tile, 1)
    steps = [np.abs(np.diff(result.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 20 // 10 + 1
