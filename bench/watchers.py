"""Measures how soon a step of progress is with its watcher, with 1,000 streams open through the edge.

Every second each job makes one step, spread evenly over the second, published exactly as a worker does. Raw Redis
pub/sub with the same messages at the same rate stands beside it: it is the part that no server can do without.

`python -m bench.watchers [--json] [--streams N] [--seconds S]`.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from uuid import UUID

import grpc.aio
from pingvas.generation.v1 import generation_service_pb2, generation_service_pb2_grpc, job_event_pb2, job_pb2
from redis.asyncio import Redis

from bench.platform import Accounts, platform
from svc_common.events import EventPublisher
from svc_common.redis_client import connect

JOBS_PER_ACCOUNT = 20
CHANNELS = 10
PREVIEW_BYTES = 2048
RAW_CHANNEL = "bench:raw"
STAMP_BYTES = 8


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found."""

    streams: int
    events: int
    lost: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    raw_p50_ms: float
    raw_p99_ms: float


class Watchers:
    """Opens the streams and takes the time of what they bring."""

    def __init__(self, address: str, accounts: Accounts) -> None:
        """Takes the edge's address."""
        self._channels = [
            grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)
        ]
        self._stubs = [generation_service_pb2_grpc.GenerationServiceStub(channel) for channel in self._channels]
        self._accounts = accounts
        self.latencies: list[float] = []
        self.all_open = asyncio.Event()
        self._open = 0

    async def create_jobs(self) -> list[tuple[UUID, UUID, tuple[tuple[str, str], ...]]]:
        """Submits the jobs that are watched; no worker is there to run them."""
        jobs = []
        for account_id, metadata in zip(self._accounts.ids, self._accounts.metadata, strict=True):
            for _ in range(JOBS_PER_ACCOUNT):
                request = generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(prompt="a lake"))
                created = await self._stubs[0].CreateJob(request, metadata=metadata)
                jobs.append((account_id, UUID(created.job_id), metadata))
        return jobs

    def numbered(self, jobs: list[tuple[UUID, UUID, tuple[tuple[str, str], ...]]]) -> list[tuple[UUID, UUID, int]]:
        """Returns each job with the number of its newest change of state: the n-th of an account has the n-th."""
        return [(account, job_id, 1 + index % JOBS_PER_ACCOUNT) for index, (account, job_id, _) in enumerate(jobs)]

    async def watch(self, index: int, job_id: UUID, metadata: tuple[tuple[str, str], ...]) -> None:
        """Reads one stream until it is cancelled."""
        stub = self._stubs[index % CHANNELS]
        request = generation_service_pb2.WatchJobRequest(job_id=str(job_id))
        async for event in stub.WatchJob(request, metadata=metadata):
            if event.HasField("progress"):
                sent = int.from_bytes(event.progress.preview_jpeg[:STAMP_BYTES], "big")
                self.latencies.append((time.monotonic_ns() - sent) / 1e6)
            elif event.HasField("queued"):
                self._open += 1
                if self._open == len(self._accounts.ids) * JOBS_PER_ACCOUNT:
                    self.all_open.set()

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()


def stamped_event(job_id: UUID, step: int, steps: int) -> bytes:
    """Returns a step of progress whose preview begins with the time of its making."""
    preview = time.monotonic_ns().to_bytes(STAMP_BYTES, "big") + bytes(PREVIEW_BYTES)
    event = job_event_pb2.JobEvent(
        # Numbered below the queued event, which each of these jobs has as its newest change of state.
        event_id="",
        job_id=str(job_id),
        state=job_pb2.JOB_STATE_RUNNING,
        progress=job_event_pb2.JobProgress(
            step=step, step_count=steps, percent=100 * step // steps, preview_jpeg=preview
        ),
    )
    event.create_time.GetCurrentTime()
    return event.SerializeToString()


async def publish(redis: Redis, jobs: list[tuple[UUID, UUID, int]], seconds: int, period_seconds: float = 1.0) -> int:
    """Publishes one step of each job a period, evenly spread; returns how many."""
    publisher = EventPublisher(redis)
    pause = period_seconds / len(jobs)
    started, count = time.monotonic(), 0
    for step in range(1, int(seconds / period_seconds) + 1):
        for account_id, job_id, sequence in jobs:
            data = job_event_pb2.JobEvent.FromString(stamped_event(job_id, step, seconds))
            data.event_id = f"{sequence}-{step}"
            await publisher.publish_progress(account_id, job_id, data.SerializeToString())
            count += 1
            ahead = started + count * pause - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
    return count


async def raw_latencies(redis_url: str, streams: int, seconds: int) -> list[float]:
    """Sends the same messages at the same rate through one channel of Redis."""
    latencies: list[float] = []
    async with connect(redis_url) as sender, connect(redis_url, socket_timeout_seconds=None) as receiver:
        pubsub = receiver.pubsub(ignore_subscribe_messages=True)
        await pubsub.subscribe(RAW_CHANNEL)

        async def receive() -> None:
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is not None:
                    sent = int.from_bytes(message["data"][:STAMP_BYTES], "big")
                    latencies.append((time.monotonic_ns() - sent) / 1e6)

        task = asyncio.create_task(receive())
        started, count, pause = time.monotonic(), 0, 1.0 / streams
        while time.monotonic() < started + seconds:
            await sender.publish(RAW_CHANNEL, time.monotonic_ns().to_bytes(STAMP_BYTES, "big") + bytes(PREVIEW_BYTES))
            count += 1
            await asyncio.sleep(max(0.0, started + count * pause - time.monotonic()))
        await asyncio.sleep(0.5)
        task.cancel()
        await pubsub.aclose()  # type: ignore[no-untyped-call]
    return latencies


async def measure(streams: int, seconds: int) -> Result:
    """Opens the streams, then publishes, then counts what came."""
    with platform(workers=0) as fleet:
        accounts = Accounts(fleet, streams // JOBS_PER_ACCOUNT)
        watchers = Watchers(fleet.grpc, accounts)
        jobs = await watchers.create_jobs()
        tasks = [
            asyncio.create_task(watchers.watch(index, job_id, metadata))
            for index, (_, job_id, metadata) in enumerate(jobs)
        ]
        await asyncio.wait_for(watchers.all_open.wait(), 60)
        async with connect(fleet.redis_url) as redis:
            sent = await publish(redis, watchers.numbered(jobs), seconds)
        await asyncio.sleep(2.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await watchers.close()
        raw = await raw_latencies(fleet.redis_url, streams, min(seconds, 5))
    cuts = statistics.quantiles(watchers.latencies, n=100, method="inclusive")
    raw_cuts = statistics.quantiles(raw, n=100, method="inclusive")
    return Result(
        streams=len(jobs),
        events=sent,
        lost=sent - len(watchers.latencies),
        p50_ms=round(cuts[49], 2),
        p99_ms=round(cuts[98], 2),
        max_ms=round(max(watchers.latencies), 2),
        raw_p50_ms=round(raw_cuts[49], 2),
        raw_p99_ms=round(raw_cuts[98], 2),
    )


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="How soon progress is with its watcher.")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.streams, options.seconds))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.streams} streams, {result.events} events, {result.lost} lost")
    print(f"watcher   p50 {result.p50_ms} ms, p99 {result.p99_ms} ms, max {result.max_ms} ms; goal: p99 at most 50 ms")
    print(f"raw Redis p50 {result.raw_p50_ms} ms, p99 {result.raw_p99_ms} ms")


if __name__ == "__main__":
    main()
