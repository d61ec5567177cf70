"""What a preview costs the pipeline's thread and the encoding threads, against one step of Stable Diffusion 1.5.

Run as `python -m bench.preview [--json]`. The U-Net has the true size with random weights (3.4 GB), on latents of
512 x 512 pixels with guidance. One torch thread, in seconds of the processor, which other programs don't lengthen;
medians of single calls. Every step counts as one with a preview, though there are at most five a second.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel

from gpu_worker.pictures.preview import preview_jpeg
from gpu_worker.render.families.latent_rgb import LatentRgb

CALLS = 200
CELLS = 64
TEXT_WIDTH = 768


def measure() -> dict[str, float]:
    """Returns milliseconds of each part and their ratio."""
    torch.set_num_threads(1)
    latent_rgb = LatentRgb(torch.randn(4, 3), torch.zeros(3))
    with torch.inference_mode():
        latents = torch.randn(1, 4, CELLS, CELLS)
        pixels = latent_rgb.pixels(latents)
        map_ms = _median_ms(lambda: latent_rgb.pixels(latents), CALLS)
        check_ms = _median_ms(lambda: bool(torch.isfinite(latents).all()), CALLS)
        step_ms = _step_ms()
    return {
        "step_ms": step_ms,
        "map_and_check_ms": map_ms + check_ms,
        "jpeg_ms": _median_ms(lambda: preview_jpeg(pixels), CALLS),
        "share_of_a_step": (map_ms + check_ms) / step_ms,
    }


def _step_ms() -> float:
    unet = _unet()
    both = torch.randn(2, 4, CELLS, CELLS)
    text = torch.randn(2, 77, TEXT_WIDTH)
    timestep = torch.tensor(500)
    return _median_ms(lambda: unet(both, timestep, text), calls=1)


def _unet() -> UNet2DConditionModel:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=CELLS, cross_attention_dim=TEXT_WIDTH)  # the rest are its defaults
    unet.to_empty(device="cpu")
    for parameter in unet.parameters():
        parameter.uniform_(-0.03, 0.03)
    return unet.eval()


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.preview", description="What a preview costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    arguments = parser.parse_args()
    figures = measure()
    if arguments.json:
        print(json.dumps({"benchmark": "preview", **figures}))
    else:
        print("\n".join(f"{name:<30} {value:14.7f}" for name, value in figures.items()))


def _median_ms(call: Callable[[], object], calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    main()
