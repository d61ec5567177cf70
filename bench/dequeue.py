"""Measures how long a job waits for an idle worker: from before the enqueue to the first line of the handler.

Three ways to the same Redis, with the same client library, side by side:

- raw:    ZADD, and a consumer that blocks in BZPOPMIN: the least that this client and server can do
- pingvas: `JobQueue.enqueue`, and the worker's consumer with its claim, lease and handler task
- arq:    `enqueue_job`, and a stock worker that polls every half second

Each consumer is a process of its own and stamps CLOCK_MONOTONIC, which all processes of a machine share. The rounds are
interleaved (raw and pingvas job by job, then arq), and the reported ratio is the median of the ratios of the rounds'
medians. arq's jobs are spread at random over its polling period, for otherwise the figure would be that of the phase.

`python -m bench.dequeue [--json] [--redis-url URL] [--rounds N] [--jobs N]`. The server at the URL is emptied at the
start; without a URL one is started.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from bench.platform import own_redis
from gpu_worker.claim.consumer import TierConsumer
from gpu_worker.claim.lease import Lease
from svc_common.queue import Claim, JobQueue, QueuedJob

RAW_KEY = "bench:raw"
ARQ_QUEUE = "bench:arq"
ARQ_POLL_SECONDS = 0.5
IDLE_PAUSE_SECONDS = (0.002, 0.006)
"""Between jobs, so that the consumer waits again: the latency is measured, not the queueing."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from before the enqueue to the handler, over all rounds."""

    samples: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found; ratios are of the rounds' medians, pingvas over raw."""

    rounds: int
    raw: Latency
    pingvas: Latency
    arq: Latency
    ratio_median: float
    ratio_min: float
    ratio_max: float


class Arm:
    """One way of getting jobs: a consumer process, and the stamps that it sends back."""

    def __init__(self, consume: Callable[[str, Connection], None], url: str) -> None:
        processes = multiprocessing.get_context("spawn")
        self._stamps, theirs = processes.Pipe(duplex=False)
        self._process = processes.Process(target=consume, args=(url, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._stamps.recv()  # the consumer is ready

    async def timed(self, job_id: str, enqueue: Callable[[], Awaitable[object]]) -> float:
        """Enqueues a job and returns the milliseconds until its handler started."""
        sent_ns = time.monotonic_ns()
        await enqueue()
        return (await self.stamp_of(job_id) - sent_ns) / 1e6

    async def stamp_of(self, job_id: str) -> int:
        """Returns the nanoseconds at which the next handler started; it must be that of this job."""
        received_id, started_ns = await asyncio.to_thread(self._stamps.recv)
        if received_id != job_id:
            raise RuntimeError(f"the consumer ran {received_id} when {job_id} was waited for")
        return int(started_ns)

    def stop(self) -> None:
        """Ends the consumer."""
        self._process.kill()
        self._process.join()


def consume_raw(url: str, stamps: Connection) -> None:
    """Blocks in BZPOPMIN for ever."""

    async def main() -> None:
        async with Redis.from_url(url) as redis:
            stamps.send("ready")
            while True:
                popped = await redis.bzpopmin([RAW_KEY], timeout=0)
                stamps.send((popped[1].decode(), time.monotonic_ns()))

    asyncio.run(main())


def consume_pingvas(url: str, stamps: Connection) -> None:
    """Runs the worker's consumer with a handler that only takes the time."""

    async def handle(claim: Claim, _lease: Lease) -> None:
        started_ns = time.monotonic_ns()
        stamps.send((str(claim.job.job_id), started_ns))

    async def main() -> None:
        async with Redis.from_url(url) as redis:
            slot = asyncio.Semaphore(1)
            consumer = TierConsumer(
                JobQueue(redis), handle, worker_id="bench", slot=slot, loaded_models=lambda: ("pingvas-tiny",)
            )
            stamps.send("ready")
            await consumer.async_run()

    asyncio.run(main())


def consume_arq(url: str, stamps: Connection) -> None:
    """Runs a stock arq worker with a handler that only takes the time."""

    async def handle(ctx: dict[Any, Any], *args: Any, **_kwargs: Any) -> None:  # noqa: ARG001 - arq names it
        stamps.send((args[0], time.monotonic_ns()))

    async def main() -> None:
        worker = Worker(
            functions=[func(handle, name="handle", keep_result=0)],
            queue_name=ARQ_QUEUE,
            redis_pool=ArqRedis.from_url(url),
            poll_delay=ARQ_POLL_SECONDS,
        )
        stamps.send("ready")
        await worker.async_run()

    asyncio.run(main())


async def measure(url: str, rounds: int, jobs_per_round: int) -> Result:
    """Runs the interleaved rounds against the server, which is emptied first."""
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
        arms = [Arm(consume, url) for consume in (consume_raw, consume_pingvas, consume_arq)]
        raw_arm, pingvas_arm, arq_arm = arms
        raw, pingvas, arq = [], [], []
        try:
            await _short_round(redis, raw_arm, pingvas_arm, 20)  # connections, scripts and caches are warm after it
            for _ in range(rounds):
                raw_round, pingvas_round = await _short_round(redis, raw_arm, pingvas_arm, jobs_per_round)
                raw.append(raw_round)
                pingvas.append(pingvas_round)
                arq += await _arq_round(ArqRedis(redis.connection_pool), arq_arm, jobs_per_round)
        finally:
            for arm in arms:
                arm.stop()
    ratios = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in zip(pingvas, raw, strict=True)]
    return Result(
        rounds=rounds,
        raw=_latency([sample for samples in raw for sample in samples]),
        pingvas=_latency([sample for samples in pingvas for sample in samples]),
        arq=_latency(arq),
        ratio_median=round(statistics.median(ratios), 2),
        ratio_min=round(min(ratios), 2),
        ratio_max=round(max(ratios), 2),
    )


async def _short_round(redis: Redis, raw_arm: Arm, pingvas_arm: Arm, jobs: int) -> tuple[list[float], list[float]]:
    queue = JobQueue(redis)
    raw, pingvas = [], []
    for _ in range(jobs):
        await asyncio.sleep(random.uniform(*IDLE_PAUSE_SECONDS))
        member = str(uuid7())
        zadd = partial(redis.zadd, RAW_KEY, {member: time.time() * 1000})
        raw.append(await raw_arm.timed(member, zadd))
        await asyncio.sleep(random.uniform(*IDLE_PAUSE_SECONDS))
        job = _job()
        pingvas.append(await pingvas_arm.timed(str(job.job_id), partial(queue.enqueue, job)))
    return raw, pingvas


async def _arq_round(redis: ArqRedis, arm: Arm, jobs: int) -> list[float]:
    latencies = []
    for _ in range(jobs // 10):
        batch: dict[str, int] = {}
        for _ in range(10):
            await asyncio.sleep(random.uniform(0, ARQ_POLL_SECONDS / 10))
            job_id = str(uuid7())
            batch[job_id] = time.monotonic_ns()
            await redis.enqueue_job("handle", job_id, _job_id=job_id, _queue_name=ARQ_QUEUE)
        for job_id, sent_ns in batch.items():
            latencies.append((await arm.stamp_of(job_id) - sent_ns) / 1e6)
    return latencies


def _job() -> QueuedJob:
    return QueuedJob(
        job_id=UUID(int=uuid7().int),
        account_id=UUID(int=uuid7().int),
        tier="free",  # the lowest: the claim looks through all the others first
        model_id="pingvas-tiny",
        cost_millicredits=1_000,
        running_limit=1,
        create_time_ms=time.time_ns() // 1_000_000,
    )


def _latency(samples: list[float]) -> Latency:
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    p50, p95, p99 = (round(cuts[index - 1], 3) for index in (50, 95, 99))
    return Latency(len(samples), p50, p95, p99, round(max(samples), 3))


def _table(result: Result) -> str:
    lines = [f"{'':8} {'n':>5} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'max ms':>9}"]
    for name in ("raw", "pingvas", "arq"):
        latency: Latency = getattr(result, name)
        lines.append(
            f"{name:8} {latency.samples:5} {latency.p50_ms:9.3f} {latency.p95_ms:9.3f} {latency.p99_ms:9.3f} "
            f"{latency.max_ms:9.3f}"
        )
    ratio = f"{result.ratio_median} (rounds: {result.ratio_min} to {result.ratio_max})"
    return "\n".join([*lines, f"pingvas over raw, p50: {ratio}; goal: at most 3, under 5 ms"])


def main() -> None:
    """Prints the table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="How long a job waits for an idle worker.")
    parser.add_argument("--redis-url", help="a server that may be emptied; default: one of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=60, help="jobs a round and arm (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.redis_url:
        result = asyncio.run(measure(options.redis_url, options.rounds, options.jobs))
    else:
        with tempfile.TemporaryDirectory() as folder, own_redis(Path(folder)) as server:
            result = asyncio.run(measure(server.url, options.rounds, options.jobs))
    print(json.dumps(asdict(result)) if options.json else _table(result))


if __name__ == "__main__":
    main()
