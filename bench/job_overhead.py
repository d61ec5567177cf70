"""Measures what the platform adds to a picture: from the submission to its presigned address, against the bare model.

The bare arm renders and encodes the same request with the same pipeline, the same thread count and the same encoder, within
the worker's process (`bare_arm` says why). The arms take turns, so that what else the machine does meets both.

`python -m bench.job_overhead [--json] [--rounds N]`.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_pb2

from bench.bare_arm import GUIDANCE_SCALE, PROMPT, SEED, SIDE_PX, SOCKET_VARIABLE, STEP_COUNT, BareArm
from bench.platform import Accounts, platform
from studio.scratch import ScratchStack


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found; times are medians, the ratio is that of the medians."""

    rounds: int
    bare_p50_ms: float
    job_p50_ms: float
    added_p50_ms: float
    ratio: float
    ratio_min: float
    ratio_max: float


async def job(
    stub: "generation_service_pb2_grpc.GenerationServiceAsyncStub", metadata: tuple[tuple[str, str], ...]
) -> float:
    """Submits a job and watches it until its picture has an address; returns the seconds."""
    operation = job_pb2.TextToImage(
        prompt=PROMPT,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        step_count=STEP_COUNT,
        guidance_scale=GUIDANCE_SCALE,
        seed=SEED,
    )
    started = time.perf_counter()
    created = await stub.CreateJob(generation_service_pb2.CreateJobRequest(text_to_image=operation), metadata=metadata)
    async for event in stub.WatchJob(generation_service_pb2.WatchJobRequest(job_id=created.job_id), metadata=metadata):
        if event.HasField("completed") and event.completed.images[0].url:
            return time.perf_counter() - started
        if event.HasField("failed"):
            raise RuntimeError(event.failed.message)
    raise RuntimeError("the stream ended without an end of the job")


async def measure(rounds: int) -> Result:
    """Runs the arms in turns, after three of each that don't count."""
    with TemporaryDirectory(prefix="pingvas-bench-") as folder:
        path = str(Path(folder) / "bare")
        settings = {"PIPELINE": "bench.bare_arm:create", SOCKET_VARIABLE: path}
        with platform(workers=1, settings=settings) as fleet:
            return await _measure(fleet, BareArm(path), rounds)


async def _measure(fleet: ScratchStack, bare: BareArm, rounds: int) -> Result:
    metadata = Accounts(fleet, 1).metadata[0]
    bare_seconds, job_seconds = [], []
    async with grpc.aio.insecure_channel(fleet.grpc) as channel:
        stub = generation_service_pb2_grpc.GenerationServiceStub(channel)
        for index in range(rounds + 3):
            of_bare = await asyncio.to_thread(bare.run)
            of_job = await job(stub, metadata)
            if index >= 3:
                bare_seconds.append(of_bare)
                job_seconds.append(of_job)
    ratios = [mine / other for mine, other in zip(job_seconds, bare_seconds, strict=True)]
    bare_p50, job_p50 = statistics.median(bare_seconds), statistics.median(job_seconds)
    return Result(
        rounds=rounds,
        bare_p50_ms=round(1000 * bare_p50, 1),
        job_p50_ms=round(1000 * job_p50, 1),
        added_p50_ms=round(1000 * statistics.median(m - o for m, o in zip(job_seconds, bare_seconds, strict=True)), 1),
        ratio=round(statistics.median(ratios), 3),
        ratio_min=round(min(ratios), 3),
        ratio_max=round(max(ratios), 3),
    )


def main() -> None:
    """Prints a line, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="What the platform adds to a picture.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"bare {result.bare_p50_ms} ms, job {result.job_p50_ms} ms: {result.added_p50_ms} ms more")
    print(f"ratio {result.ratio} (rounds: {result.ratio_min} to {result.ratio_max}); goal: at most 1.10 and 40 ms more")


if __name__ == "__main__":
    main()
