"""What a preview costs the pipeline's thread and the encoding threads, against one step and against the VAE.

Run as `python -m bench.preview [--json]`; builds the built-in model in a temporary folder when no models folder is
given. One torch thread; medians of single calls. A step of the built-in model is far smaller than one of Stable
Diffusion 1.5, so its share is an upper bound.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gpu_worker import builtin
from gpu_worker.model_files import read_specification
from gpu_worker.pipeline import create
from gpu_worker.preview import preview_jpeg
from gpu_worker.progress import PREVIEW_INTERVAL_S
from gpu_worker.rendering import PipelineSettings, RenderSpec, StepReport

CALLS = 200
VAE_CALLS = 10
STEP_COUNT = 20


def measure(models_dir: Path) -> dict[str, float]:
    """Returns milliseconds of each part and their ratios."""
    pipeline = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    model = read_specification(builtin.build(models_dir))
    side_px = builtin.NATIVE_SIDE_PX
    spec = RenderSpec(model, "a red fox", "", side_px, side_px, STEP_COUNT, 7.5, 1, 1, "euler")
    ends: list[float] = []

    def on_step(_report: StepReport) -> None:
        ends.append(time.perf_counter())

    for _ in range(2):  # the second one is warm
        ends.clear()
        pipeline.render(spec, on_step, lambda: False)
    step_ms = statistics.median(after - before for before, after in itertools.pairwise(ends)) * 1000
    loaded = pipeline._models.get(model)  # noqa: SLF001 - there is no other way to time the map alone
    with torch.inference_mode():
        latents = torch.randn(1, 4, side_px // 8, side_px // 8)
        pixels = loaded.latent_rgb.pixels(latents)
        map_ms = _median_ms(lambda: loaded.latent_rgb.pixels(latents), CALLS)
        check_ms = _median_ms(lambda: bool(torch.isfinite(latents).all()), CALLS)
        vae_ms = _median_ms(lambda: loaded.pipe.vae.decode(latents), VAE_CALLS)
    per_second = 1 / max(PREVIEW_INTERVAL_S, step_ms / 1000)
    return {
        "step_ms": step_ms,
        "vae_ms": vae_ms,
        "map_and_check_ms": map_ms + check_ms,
        "jpeg_ms": _median_ms(lambda: preview_jpeg(pixels), CALLS),
        "share_of_a_step": (map_ms + check_ms) / step_ms,
        "share_of_the_pipeline_thread": (map_ms + check_ms) / 1000 * per_second,
        "times_cheaper_than_the_vae": vae_ms / (map_ms + check_ms),
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.preview", description="What a preview costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--models-dir", type=Path, help="where the built-in model is or is to be")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(arguments.models_dir or Path(scratch))
    if arguments.json:
        print(json.dumps({"benchmark": "preview", "figures": figures}, indent=2))
    else:
        print("\n".join(f"{name:<30} {value:10.4f}" for name, value in figures.items()))


def _median_ms(call: Callable[[], object], calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    main()
