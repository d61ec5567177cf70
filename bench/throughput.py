"""Pictures a second of a worker with a full queue, against a bare loop over the same diffusers pipeline.

The bare arm calls diffusers and nothing else: no queue, no progress, no file, no hash, no upload. It has the same weights,
prompts, steps, scheduler, thread count and device as the worker. The arms take turns. The worker's rate is that between
the end of its first job and that of its last, by the jobs' own end times, so that what is measured is the state in which
a fleet under load is.

`python -m bench.throughput [--json] [--rounds N] [--jobs N] [--device NAME]`.
"""

import argparse
import asyncio
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_pb2

from bench.platform import Accounts, platform
from gpu_worker.models.builtin import MODEL_ID, REVISION

STEP_COUNT = 20
SIDE_PX = 256
GUIDANCE_SCALE = 7.5
_POLL_SECONDS = 0.5
"""A look at the last job is one row read; it takes none of the worker's time."""
_PATIENCE_SECONDS = 600.0

Stub = generation_service_pb2_grpc.GenerationServiceStub
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found; rates are medians of the rounds, in pictures a second, and the ratio that of the ratios."""

    rounds: int
    jobs: int
    device: str
    bare_per_second: float
    worker_per_second: float
    ratio: float
    ratio_min: float
    ratio_max: float


def prompt(index: int) -> str:
    """Returns a prompt that no other picture of a round has: the worker remembers what it has encoded."""
    return f"a red circle to the left of {index} blue stars"


class BareLoop:
    """The diffusers pipeline on its own, always called from one thread."""

    def __init__(self, models: Path, device: str) -> None:
        """Loads the model as diffusers does."""
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._pipe: Any = DiffusionPipeline.from_pretrained(models / MODEL_ID / REVISION, dtype=dtype).to(device)
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe.scheduler = EulerDiscreteScheduler.from_config(self._pipe.scheduler.config)

    def per_second(self, pictures: int) -> float:
        """Renders so many pictures, one after the other, and returns how many a second."""
        self._render(0)
        started = time.perf_counter()
        for index in range(1, pictures + 1):
            self._render(index)
        return pictures / (time.perf_counter() - started)

    def _render(self, index: int) -> None:
        self._pipe(
            prompt(index),
            width=SIDE_PX,
            height=SIDE_PX,
            num_inference_steps=STEP_COUNT,
            guidance_scale=GUIDANCE_SCALE,
            generator=torch.Generator("cpu").manual_seed(index),
            output_type="np",
        )


async def worker_per_second(stub: Any, metadata: Metadata, jobs: int) -> float:
    """Has so many jobs done behind a first one, all of them waiting at once; returns how many a second."""
    created = await asyncio.gather(*(submit(stub, metadata, index) for index in range(jobs + 1)))
    async with asyncio.timeout(_PATIENCE_SECONDS):
        done = [await ended(stub, metadata, job.job_id) for job in created]
    end_seconds = sorted(job.end_time.ToNanoseconds() / 1e9 for job in done)
    return jobs / (end_seconds[-1] - end_seconds[0])


async def submit(stub: Any, metadata: Metadata, index: int) -> job_pb2.Job:
    """Submits one picture."""
    operation = job_pb2.TextToImage(
        prompt=prompt(index),
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        step_count=STEP_COUNT,
        guidance_scale=GUIDANCE_SCALE,
        seed=index,
        scheduler="euler",
    )
    request = generation_service_pb2.CreateJobRequest(text_to_image=operation)
    created: job_pb2.Job = await stub.CreateJob(request, metadata=metadata)
    return created


async def ended(stub: Any, metadata: Metadata, job_id: str) -> job_pb2.Job:
    """Waits until a job has ended and returns it; raises RuntimeError when it has no picture."""
    request = generation_service_pb2.GetJobRequest(job_id=job_id)
    job: job_pb2.Job = await stub.GetJob(request, metadata=metadata)
    while not job.HasField("end_time"):
        await asyncio.sleep(_POLL_SECONDS)
        job = await stub.GetJob(request, metadata=metadata)
    if job.state != job_pb2.JOB_STATE_COMPLETED:
        raise RuntimeError(f"a job ended without a picture: {job.failure.message}")
    return job


async def measure(rounds: int, jobs: int, device: str) -> Result:
    """Runs the arms in turns, after a short one of each that doesn't count."""
    with platform(workers=1, settings={"DEVICE": device}) as fleet, ThreadPoolExecutor(1) as thread:
        accounts = Accounts(fleet, 1)
        loop = asyncio.get_running_loop()
        bare = await loop.run_in_executor(thread, BareLoop, fleet.layout.models, device)
        rates: list[tuple[float, float]] = []
        async with grpc.aio.insecure_channel(fleet.grpc) as channel:
            stub = Stub(channel)
            await worker_per_second(stub, accounts.metadata[0], 2)
            for _ in range(rounds):
                of_bare = await loop.run_in_executor(thread, bare.per_second, jobs)
                rates.append((of_bare, await worker_per_second(stub, accounts.metadata[0], jobs)))
    ratios = [of_worker / of_bare for of_bare, of_worker in rates]
    return Result(
        rounds=rounds,
        jobs=jobs,
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        bare_per_second=round(statistics.median(of_bare for of_bare, _ in rates), 3),
        worker_per_second=round(statistics.median(of_worker for _, of_worker in rates), 3),
        ratio=round(statistics.median(ratios), 3),
        ratio_min=round(min(ratios), 3),
        ratio_max=round(max(ratios), 3),
    )


def main() -> None:
    """Prints a line, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="Pictures a second of a worker against a bare diffusers loop.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds, options.jobs, options.device))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"bare {result.bare_per_second}, worker {result.worker_per_second} pictures a second on {result.device}")
    print(f"ratio {result.ratio} (rounds: {result.ratio_min} to {result.ratio_max}); goal: at least 0.97")


if __name__ == "__main__":
    main()
