"""PNG encoding against Pillow's `optimize=True`: how much faster, for how many more bytes, on fixed pictures.

Run as `python -m bench.encode [--json]`. The arms alternate; each figure is the median of the ratios of the rounds, with
the least and the greatest beside it. Pixels are compared after decoding, so neither arm can win by losing some.
"""

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from gpu_worker.pictures.png import png_bytes
from gpu_worker.render.interface import Pixels

SIDE_PX = 1024
ROUNDS = 5
GOAL_SPEEDUP = 4.0
GOAL_BYTES_RATIO = 1.10


@dataclass(frozen=True, slots=True)
class Comparison:
    """One picture: our encoder over Pillow's."""

    picture: str
    ours_ms: float
    pillow_ms: float
    speedup: float
    speedup_min: float
    speedup_max: float
    ours_bytes: int
    pillow_bytes: int
    bytes_ratio: float

    @property
    def meets_goal(self) -> bool:
        """Whether it is fast enough at few enough bytes."""
        return self.speedup >= GOAL_SPEEDUP and self.bytes_ratio <= GOAL_BYTES_RATIO


def pictures() -> dict[str, Pixels]:
    """Returns the fixed pictures: clouds with sensor grain, exactly flat art, the same with soft edges, and pure noise."""
    noise = _random(9).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    return {"photo": _photo(), "flat": _flat(SIDE_PX), "soft edges": _softened(), "noise": noise}


def compare(name: str, pixels: Pixels, rounds: int = ROUNDS) -> Comparison:
    """Encodes a picture with both encoders in turn and compares time and bytes."""
    for encode in (_ours, _pillow):
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(encode(pixels))).convert("RGB")), pixels):
            raise AssertionError(f"{encode.__name__} does not give the pixels of {name} back")
    times = [(_milliseconds(_ours, pixels), _milliseconds(_pillow, pixels)) for _ in range(rounds)]
    ratios = [pillow_ms / ours_ms for ours_ms, pillow_ms in times]
    ours_bytes, pillow_bytes = len(_ours(pixels)), len(_pillow(pixels))
    return Comparison(
        picture=name,
        ours_ms=statistics.median(ours_ms for ours_ms, _ in times),
        pillow_ms=statistics.median(pillow_ms for _, pillow_ms in times),
        speedup=statistics.median(ratios),
        speedup_min=min(ratios),
        speedup_max=max(ratios),
        ours_bytes=ours_bytes,
        pillow_bytes=pillow_bytes,
        bytes_ratio=ours_bytes / pillow_bytes,
    )


def total(comparisons: list[Comparison]) -> Comparison:
    """Adds the pictures up: the time and bytes of encoding all of them; its range is that of the pictures."""
    ours_ms, pillow_ms = sum(one.ours_ms for one in comparisons), sum(one.pillow_ms for one in comparisons)
    ours_bytes, pillow_bytes = sum(one.ours_bytes for one in comparisons), sum(one.pillow_bytes for one in comparisons)
    return Comparison(
        picture="all",
        ours_ms=ours_ms,
        pillow_ms=pillow_ms,
        speedup=pillow_ms / ours_ms,
        speedup_min=min(one.speedup_min for one in comparisons),
        speedup_max=max(one.speedup_max for one in comparisons),
        ours_bytes=ours_bytes,
        pillow_bytes=pillow_bytes,
        bytes_ratio=ours_bytes / pillow_bytes,
    )


def run() -> list[Comparison]:
    """Compares every picture, then all of them together."""
    rows = [compare(name, pixels) for name, pixels in pictures().items()]
    return [*rows, total(rows)]


def document(rows: list[Comparison]) -> dict[str, object]:
    """Returns the result as it is kept: the rows, the goal, and what they depend on."""
    return {
        "benchmark": "encode",
        "goal": {"speedup": GOAL_SPEEDUP, "bytes_ratio": GOAL_BYTES_RATIO},
        "rounds": ROUNDS,
        "side_px": SIDE_PX,
        "versions": {"python": platform.python_version(), "pillow": pillow_version, "zlib_ng": version("zlib-ng")},
        "rows": [asdict(row) | {"meets_goal": row.meets_goal} for row in rows],
    }


def table(rows: list[Comparison]) -> str:
    """Returns the rows as a text table."""
    lines = [f"{'picture':<10} {'ours':>9} {'Pillow':>9} {'faster':>7} {'min-max':>11} {'bytes':>6}  goal"]
    lines += [
        f"{row.picture:<10} {row.ours_ms:>6.1f} ms {row.pillow_ms:>6.1f} ms {row.speedup:>6.1f}x "
        f"{row.speedup_min:>5.1f}-{row.speedup_max:<5.1f} {row.bytes_ratio:>5.2f}x  "
        f"{'met' if row.meets_goal else 'missed'}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.encode", description="PNG encoding against Pillow's.")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    arguments = parser.parse_args()
    rows = run()
    print(json.dumps(document(rows)) if arguments.json else table(rows))


def _ours(pixels: Pixels) -> bytes:
    return png_bytes(pixels, {})


def _pillow(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _milliseconds(encode: Callable[[Pixels], bytes], pixels: Pixels) -> float:
    start = time.perf_counter()
    encode(pixels)
    return (time.perf_counter() - start) * 1000


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _photo() -> Pixels:
    luminance = _clouds(1)
    channels = np.stack([luminance + 0.5 * _clouds(2 + channel) for channel in range(3)], axis=-1)
    channels = (channels - channels.min()) / np.ptp(channels) * 255
    grain = _random(8).normal(0, 2, channels.shape)
    pixels: Pixels = np.clip(channels + grain, 0, 255).astype(np.uint8)
    return pixels


def _clouds(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Returns noise with the spectrum of photographs: the finer the detail, the weaker it is."""
    random = _random(seed)
    field = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    for cells in (4, 8, 16, 32, 64, 128, 256, 512):
        octave = Image.fromarray(random.standard_normal((cells, cells)).astype(np.float32))
        field += np.asarray(octave.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)) / cells**0.8
    return field


def _softened() -> Pixels:
    return np.asarray(Image.fromarray(_flat(4 * SIDE_PX)).reduce(4))


def _flat(side: int) -> Pixels:
    rows, columns = np.mgrid[0:side, 0:side] / side
    pixels = np.full((side, side, 3), (230, 220, 180), np.uint8)
    pixels[(columns - 0.5) ** 2 + (rows - 0.5) ** 2 < 0.09] = (200, 40, 60)
    pixels[rows > 0.8] = (30, 90, 160)
    pixels[(abs(columns - 0.2) < 0.08) & (abs(rows - 0.3) < 0.1)] = (20, 160, 90)
    return pixels


if __name__ == "__main__":
    main()
