"""Pictures a second at the true sizes: the worker's pipeline over a bare loop, and compiled blocks over uncompiled ones.

The models have random weights, in half precision, at the sizes and steps that they are used with. The arms take turns and
share one copy of the weights; "bare" calls diffusers and nothing else. Each family runs in two processes, one after the
other, with one folder for what is compiled: the second shows what a later start costs. Needs a GPU.

`python -m bench.true_sizes [--json] [--family NAME ...] [--rounds N]`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from gpu_worker.models.files import ModelSpec
from gpu_worker.render.families import family_named
from gpu_worker.render.families.loading import weights_bytes
from gpu_worker.render.families.schedulers import make_scheduler
from gpu_worker.render.interface import PipelineSettings, RenderSpec
from gpu_worker.render.loaded_model import HostModel
from gpu_worker.render.pipeline import DiffusersPipeline
from gpu_worker.render.run import device_label

_BACKEND: Final = "inductor"


@dataclass(frozen=True, slots=True)
class Use:
    """How a family is used."""

    side_px: int
    step_count: int
    guidance_scale: float


USES: Final = {
    "sd15": Use(512, 20, 7.5),
    "sdxl": Use(1024, 30, 5.0),
    "flux": Use(1024, 28, 3.5),
    "zimage": Use(1024, 8, 0.0),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process found for a family; rates are medians of the rounds, ratios the medians of the rounds' ratios."""

    family: str
    device: str
    bare_per_second: float
    worker_per_second: float
    worker_over_bare: float
    compiled_per_second: float
    compiled_over_eager: float
    compile_seconds: float
    """The first picture with compiled blocks, compiling included; a worker does this before its first job."""


class ReadyPipeline(DiffusersPipeline):
    """The worker's pipeline with a model that is there already instead of files."""

    def __init__(self, settings: PipelineSettings, pipe: Any) -> None:
        """Takes the model's pipeline."""
        super().__init__(settings)
        self._pipe = pipe

    def _load(self, spec: ModelSpec) -> HostModel:
        folder = spec.folder(self._settings.models_dir)
        return HostModel(spec, family_named(spec.family), self._pipe, folder, weights_bytes(self._pipe))


def spec_of(family: str, use: Use, index: int) -> RenderSpec:
    """Returns a job with a prompt that no other has: the worker remembers what it has encoded."""
    return RenderSpec(
        model=ModelSpec(f"true-{family}", "1", family, ()),
        prompt=f"a lighthouse on cliff number {index} above a stormy sea",
        negative_prompt="",
        width_px=use.side_px,
        height_px=use.side_px,
        step_count=use.step_count,
        guidance_scale=use.guidance_scale,
        seed=index,
        image_count=1,
        scheduler=family_named(family).schedulers[0],
    )


def bare(pipe: Any, config: Any, spec: RenderSpec) -> None:
    """Draws a picture with diffusers alone."""
    pipe.scheduler = make_scheduler(spec.scheduler, config, spec.step_count)
    with torch.inference_mode():
        pipe(
            spec.prompt,
            width=spec.width_px,
            height=spec.height_px,
            num_inference_steps=spec.step_count,
            guidance_scale=spec.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            output_type="np",
        )


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Returns how long a call takes, its kernels included."""
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure(family: str, use: Use, pipe: Any, settings: PipelineSettings, rounds: int) -> Measured:
    """Measures one model, which is on the device of the settings already."""
    device = torch.device(settings.device)
    config = pipe.scheduler.config
    worker = ReadyPipeline(settings, pipe)
    index = 0

    def next_spec() -> RenderSpec:
        nonlocal index
        index += 1
        return spec_of(family, use, index)

    def render() -> None:
        worker.render(next_spec(), lambda _: None, lambda: False)

    with torch.compiler.set_stance("force_eager"):
        render()  # the model is placed, and what is allocated once is allocated
    compile_seconds = seconds(render, device)
    arms: dict[str, list[float]] = {"bare": [], "worker": [], "compiled": []}
    for _ in range(rounds + 1):
        with torch.compiler.set_stance("force_eager"):
            arms["bare"].append(1 / seconds(lambda: bare(pipe, config, next_spec()), device))
            arms["worker"].append(1 / seconds(render, device))
        arms["compiled"].append(1 / seconds(render, device))
    rates = {name: values[1:] for name, values in arms.items()}  # the first round is for warming up
    return Measured(
        family=family,
        device=device_label(device),
        bare_per_second=round(statistics.median(rates["bare"]), 4),
        worker_per_second=round(statistics.median(rates["worker"]), 4),
        worker_over_bare=_median_ratio(rates["worker"], rates["bare"]),
        compiled_per_second=round(statistics.median(rates["compiled"]), 4),
        compiled_over_eager=_median_ratio(rates["compiled"], rates["worker"]),
        compile_seconds=round(compile_seconds, 1),
    )


def _median_ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True)), 3)


def measure_here(family: str, rounds: int, models_dir: Path) -> Measured:
    """Measures a family in this process."""
    from bench.true_models import true_pipeline  # noqa: PLC0415 - for the process that measures only

    device = torch.device("cuda")
    pipe = true_pipeline(family, device, family_named(family).dtype(device))
    settings = PipelineSettings(models_dir, device="cuda", compile_backend=_BACKEND)
    return measure(family, USES[family], pipe, settings, rounds)


def measure_twice(family: str, rounds: int) -> dict[str, Any]:
    """Measures a family in a first and in a later process; the figures are those of the first."""
    with TemporaryDirectory(prefix="pingvas-bench-") as folder:
        command = [sys.executable, "-m", "bench.true_sizes", "--child", folder, "--rounds", str(rounds)]
        found = []
        for _ in range(2):
            done = subprocess.run([*command, "--family", family], check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    first, later = found
    return {**first, "compile_seconds_later": later["compile_seconds"]}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the families' figures as a Markdown table."""
    columns = [*(field.name for field in fields(Measured) if field.name != "device"), "compile_seconds_later"]
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |"]
    lines.append("| " + " | ".join("---" for _ in columns) + " |")
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="Pictures a second at the true sizes, on a GPU.")
    parser.add_argument("--family", action="append", choices=tuple(USES), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "bench.true_sizes needs a GPU, and torch finds none here.\n")
    if options.child:
        print(json.dumps(asdict(measure_here(options.family[0], options.rounds, options.child))))
        return
    rows = [measure_twice(family, options.rounds) for family in options.family or USES]
    print(json.dumps({"device": rows[0]["device"], "rows": rows}) if options.json else table(rows))


if __name__ == "__main__":
    main()
