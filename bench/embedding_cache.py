"""What a prompt costs that was encoded before, against one that was not.

Run as `python -m bench.embedding_cache [--json]`. The text encoder is tiny (2 layers of 32 numbers), the hardest case:
with a true one a miss is a hundred times as dear, and a hit costs the same. One torch thread; misses and hits take
turns; medians of each.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from bench.tiny_models import tiny_model
from gpu_worker.render.interface import PipelineSettings, RenderSpec
from gpu_worker.render.pipeline import create

ROUNDS = 200


def measure(models_dir: Path) -> dict[str, float]:
    """Returns milliseconds of a miss and of a hit, and their ratio."""
    pipeline = create(PipelineSettings(models_dir, torch_threads=1, device="cpu"))
    torch.set_num_threads(1)
    spec = RenderSpec(
        model=tiny_model(models_dir, "sd15"),
        prompt="",
        negative_prompt="blue",
        width_px=64,
        height_px=64,
        step_count=1,
        guidance_scale=4.0,
        seed=11,
        image_count=1,
        scheduler="euler",
    )
    loaded = pipeline._models.get(spec.model)  # noqa: SLF001 - a render would measure everything else too
    misses: list[float] = []
    hits: list[float] = []
    with torch.inference_mode():
        for index in range(ROUNDS):
            job = replace(spec, prompt=f"a red fox in the snow, number {index}")
            for times in (misses, hits):
                start = time.perf_counter()
                pipeline._encoded(loaded, job, ())  # noqa: SLF001 - as above
                times.append(time.perf_counter() - start)
    miss_ms, hit_ms = (statistics.median(times) * 1000 for times in (misses, hits))
    return {"miss_ms": miss_ms, "hit_ms": hit_ms, "ratio": hit_ms / miss_ms}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.embedding_cache", description="What a known prompt costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch))
    if arguments.json:
        print(json.dumps({"benchmark": "embedding_cache", **figures}))
    else:
        print("\n".join(f"{name:<20} {value:12.5f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
