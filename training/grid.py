"""Renders the grid of pictures of the model card."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.rendering import load_model, render

PROMPTS: Final = (
    "mountains at sunset with a lake and a house",
    "a city skyline at night with the moon and stars",
    "the sea at sunset with the sun",
    "a forest at dawn",
    "rolling hills during the day with a tree, a house and clouds",
    "밤의 사막, 달과 별",
    "눈 덮인 산, 호수, 낮",
    "새벽의 바다, 태양",
    "a small red circle on a blue background",
    "a large yellow star on a purple background",
    "a red circle to the left of a blue star on a white background",
    "a green heart above a pink ring on a black background",
    "파란 배경에 커다란 노란 하트",
    "왼쪽에 초록색 삼각형, 오른쪽에 주황색 마름모, 흰색 배경",
    "orange diamond on the left, gray background",
    "a white ring on a brown background",
)
_COLUMNS: Final = 4
_SEED: Final = 7


def write(folder: Path, out: Path) -> None:
    """Writes the grid of a model's folder to out, in rows of four."""
    pipeline = load_model(folder)
    pictures: list[np.ndarray] = []
    for start in range(0, len(PROMPTS), _COLUMNS):
        pictures += render(pipeline, PROMPTS[start : start + _COLUMNS], [_SEED + start + i for i in range(_COLUMNS)])
    rows = [np.concatenate(pictures[start : start + _COLUMNS], axis=1) for start in range(0, len(pictures), _COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(out, quality=90)
