"""Runs every benchmark, prints one table, and writes it to bench/results/ as Markdown and JSON.

`python -m bench [NAME ...]`. Each benchmark is a process of its own, so none warms anything up for the next. It exits
with 1 when a goal isn't met, so that nobody mistakes a table for a success.
"""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.platform import machine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Goal:
    """Says what one figure of a benchmark must be."""

    what: str
    value: Callable[[dict[str, Any]], float]
    limit: float
    at_least: bool = False

    def row(self, figures: dict[str, Any]) -> tuple[str, str, str, bool]:
        """Returns the line of the table, and whether the goal is met."""
        value = self.value(figures)
        met = value >= self.limit if self.at_least else value <= self.limit
        return self.what, f"{value:g}", f"{'at least' if self.at_least else 'at most'} {self.limit:g}", met


def _slowest_encoding(figures: dict[str, Any]) -> float:
    return min(float(row["speedup"]) for row in figures["rows"])


def _largest_encoding(figures: dict[str, Any]) -> float:
    return max(float(row["bytes_ratio"]) for row in figures["rows"])


GOALS: dict[str, tuple[Goal, ...]] = {
    "dequeue": (
        Goal("enqueue to handler, p50, over ZADD to BZPOPMIN", lambda f: float(f["ratio_median"]), 3.0),
        Goal("enqueue to handler, p50, ms", lambda f: float(f["pingvas"]["p50_ms"]), 5.0),
        Goal("stock arq beside it, p50, ms (no goal of ours)", lambda f: float(f["arq"]["p50_ms"]), 1000.0),
    ),
    "job_overhead": (
        Goal("whole job over the bare pipeline and encoding", lambda f: float(f["ratio"]), 1.10),
        Goal("what a job adds, p50, ms", lambda f: float(f["added_p50_ms"]), 40.0),
    ),
    "create_job": (Goal("CreateJob a second over pgbench", lambda f: float(f["ratio_median"]), 0.25, at_least=True),),
    "encode": (
        Goal(
            "encoding over Pillow's optimize=True, the slowest picture, times faster",
            _slowest_encoding,
            4.0,
            at_least=True,
        ),
        Goal("its bytes over Pillow's, the largest picture", _largest_encoding, 1.10),
    ),
    "throughput": (
        Goal("worker over the bare loop, pictures a second, 30 jobs", lambda f: float(f["ratio"]), 0.97, at_least=True),
    ),
    "preview": (Goal("preview over a step of sd15's size", lambda f: float(f["share_of_a_step"]), 0.01),),
    "embedding_cache": (Goal("a known prompt over an unknown one", lambda f: float(f["ratio"]), 0.02),),
    "true_sizes": (
        Goal(
            "worker over the bare loop at the true sizes, the slowest family",
            lambda f: min(float(row["worker_over_bare"]) for row in f["rows"]),
            0.97,
            at_least=True,
        ),
        Goal(
            "compiled over eager, the family that gains least",
            lambda f: min(float(row["compiled_over_eager"]) for row in f["rows"]),
            1.0,
            at_least=True,
        ),
    ),
    "verification": (
        Goal("check of a session's token that was seen before, ms", lambda f: float(f["token_again_ms"]), 0.3),
        Goal("check of one that wasn't, ms", lambda f: float(f["token_anew_ms"]), 0.3),
        Goal("check of an API key's token that was seen before, ms", lambda f: float(f["key_again_ms"]), 0.3),
        Goal("check of one that wasn't, ms", lambda f: float(f["key_anew_ms"]), 0.3),
    ),
    "edge": (
        Goal(
            "JSON over gRPC through Envoy, calls for each CPU second",
            lambda f: float(f["json_over_grpc"]),
            0.8,
            at_least=True,
        ),
        Goal(
            "JSON from the bridge, calls for each second of its CPU time",
            lambda f: float(f["bridge_per_cpu_second"]),
            1000.0,
            at_least=True,
        ),
    ),
    "watchers": (
        Goal("progress to its watcher, 1,000 streams, p99, ms", lambda f: float(f["p99_ms"]), 50.0),
        Goal("progress lost", lambda f: float(f["lost"]), 0.0),
    ),
    "gallery_scroll": (
        Goal(
            "longest frame of 10,000 pictures, a fourth of the CPU, ms",
            lambda f: float(f["gallery"]["longest_ms"]),
            50.0,
        ),
        Goal("longest frame over that of an empty page", lambda f: float(f["ratio"]), 3.0),
    ),
    "sockets": (
        Goal("progress lost of 2,000 WebSockets through one bridge", lambda f: float(f["lost"]), 0.0),
        Goal("share of a core that the bridge used", lambda f: float(f["bridge_cores"]), 1.0),
    ),
}


def gpu_name() -> str:
    """Returns the name of the GPU that torch uses here, or "": its benchmark is left out then."""
    import torch  # noqa: PLC0415 - it takes seconds, and the benchmarks are processes of their own

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def run(name: str) -> dict[str, Any]:
    """Runs one benchmark and returns its figures."""
    command = [sys.executable, "-m", f"bench.{name}", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-4000:])
        raise SystemExit(f"bench.{name} failed with {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(rows: list[tuple[str, str, str, bool]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = ["| what | measured | goal | |", "| --- | --- | --- | --- |"]
    lines += [f"| {what} | {value} | {goal} | {'met' if met else '**missed**'} |" for what, value, goal, met in rows]
    return "\n".join(lines)


def main() -> int:
    """Runs the named benchmarks, or all of them."""
    around, gpu = machine(), gpu_name()
    if gpu:
        around["gpu"] = gpu
    names = sys.argv[1:] or [name for name in GOALS if gpu or name != "true_sizes"]
    figures: dict[str, dict[str, Any]] = {}
    rows: list[tuple[str, str, str, bool]] = []
    for name in names:
        print(f"{name} ...", flush=True)
        figures[name] = run(name)
        rows += [goal.row(figures[name]) for goal in GOALS[name]]
    text = table(rows)
    print(text)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d_%H%M")
    RESULTS.mkdir(exist_ok=True)
    heading = f"# Benchmarks, {stamp}\n\n" + ", ".join(f"{key} {value}" for key, value in around.items())
    (RESULTS / f"{stamp}.md").write_text(f"{heading}\n\n{text}\n", encoding="utf-8")
    document = {"machine": around, "figures": figures}
    (RESULTS / f"{stamp}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
