"""Pictures too large to be made at once: where their tiles lie, and how they are put together without seams."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gpu_worker.render.interface import Pixels


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture, in pixels, and how many of its first rows and columns other tiles have as well."""

    top: int
    left: int
    height: int
    width: int
    shared_top: int
    shared_left: int


def plan_tiles(height: int, width: int, *, side: int, overlap: int) -> list[Tile]:
    """Covers a picture with tiles of at most `side` pixels that share at least `overlap`, row after row."""
    rows = _spans(height, side, overlap)
    columns = _spans(width, side, overlap)
    return [
        Tile(top, left, bottom - top, right - left, shared_top, shared_left)
        for top, bottom, shared_top in rows
        for left, right, shared_left in columns
    ]


def paste(result: Pixels, pixels: Pixels, tile: Tile, factor: int) -> None:
    """Puts an enlarged tile into an enlarged picture, fading it in over what it shares with the tiles before it.

    In the order of plan_tiles: what a tile shares with others is filled by those above and to the left of it.
    """
    rows = slice(tile.top * factor, (tile.top + tile.height) * factor)
    columns = slice(tile.left * factor, (tile.left + tile.width) * factor)
    weight = np.outer(
        _fade_in(tile.height * factor, tile.shared_top * factor),
        _fade_in(tile.width * factor, tile.shared_left * factor),
    )[..., None]
    before = result[rows, columns].astype(np.float32)
    result[rows, columns] = np.rint(before + (pixels - before) * weight).astype(np.uint8)


def _spans(length: int, side: int, overlap: int) -> list[tuple[int, int, int]]:
    """Returns start, end, and pixels shared with the span before, of the fewest spans that cover a length."""
    if length <= side:
        return [(0, length, 0)]
    # The last one ends where the picture ends and shares more than it must, so that all are of one size.
    starts = [*range(0, length - side, side - overlap), length - side]
    shared = [0, *(before + side - start for before, start in pairwise(starts))]
    return [(start, start + side, common) for start, common in zip(starts, shared, strict=True)]


def _fade_in(length: int, shared: int) -> NDArray[np.float32]:
    weight = np.ones(length, np.float32)
    weight[:shared] = (np.arange(shared) + 0.5) / max(shared, 1)
    return weight
