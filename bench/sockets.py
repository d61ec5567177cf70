"""Counts what 2,000 open WebSockets through the edge and one bridge get of the progress of their jobs.

Each job makes a step every five seconds, evenly spread, published as a worker does; each socket watches one job. What the
bridge has used of the CPU meanwhile stands beside it.

`python -m bench.sockets [--json] [--sockets N] [--seconds S]`.
"""

import argparse
import asyncio
import base64
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from uuid import UUID

from websockets.asyncio.client import connect

from bench.platform import Accounts, CpuMeter, platform
from bench.watchers import JOBS_PER_ACCOUNT, STAMP_BYTES, Watchers, publish
from svc_common.redis_client import connect as connect_redis

PERIOD_SECONDS = 5.0
_CONNECTING_AT_ONCE = 50
_OPEN_WITHIN_SECONDS = 300
_LATE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found."""

    sockets: int
    events: int
    lost: int
    repeated: int
    p50_ms: float
    p99_ms: float
    bridge_cores: float


class Sockets:
    """The open sockets, and what they got."""

    def __init__(self, address: str) -> None:
        """Takes the edge's address as http://host:port."""
        self._address = address.replace("http://", "ws://")
        self._connecting = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self.latencies: list[float] = []
        self.repeated = 0
        self.open = 0

    async def watch(self, job_id: UUID, metadata: tuple[tuple[str, str], ...]) -> None:
        """Reads one socket until it is cancelled."""
        address = f"{self._address}/ws/queue/default?job_id={job_id}"
        async with self._connecting:
            socket = await connect(address, additional_headers=dict(metadata), compression=None, ping_interval=None)
            await socket.recv()
            self.open += 1
        last = 0
        async for message in socket:
            event = json.loads(message)
            if "progress" in event:
                stamp = base64.b64decode(event["progress"]["preview_jpeg"])[:STAMP_BYTES]
                self.latencies.append((time.monotonic_ns() - int.from_bytes(stamp, "big")) / 1e6)
                step = event["progress"]["step"]
                self.repeated += step <= last
                last = step


async def measure(count: int, seconds: int) -> Result:
    """Opens the sockets, then publishes, then counts what came."""
    with platform(workers=0) as fleet:
        accounts = Accounts(fleet, count // JOBS_PER_ACCOUNT)
        watchers, sockets = Watchers(fleet.grpc, accounts), Sockets(fleet.http)
        jobs = await watchers.create_jobs()
        await watchers.close()
        tasks = [asyncio.create_task(sockets.watch(job_id, metadata)) for _, job_id, metadata in jobs]
        await _wait(lambda: sockets.open == len(jobs), _OPEN_WITHIN_SECONDS)
        meter = CpuMeter(fleet, ("edge_http",))
        started, before = time.monotonic(), meter.read()["edge_http"]
        async with connect_redis(fleet.redis_url) as redis:
            sent = await publish(redis, watchers.numbered(jobs), seconds, PERIOD_SECONDS)
        used, elapsed = meter.read()["edge_http"] - before, time.monotonic() - started
        await _wait(lambda: len(sockets.latencies) >= sent, _LATE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    cuts = statistics.quantiles(sockets.latencies, n=100, method="inclusive")
    return Result(
        sockets=len(jobs),
        events=sent,
        lost=sent - len(sockets.latencies),
        repeated=sockets.repeated,
        p50_ms=round(cuts[49], 2),
        p99_ms=round(cuts[98], 2),
        bridge_cores=round(used / elapsed, 3),
    )


async def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """Waits until a condition holds, but no longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 - many tasks work on it
        await asyncio.sleep(0.1)


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="What open WebSockets get of the progress of jobs.")
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.sockets, options.seconds))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.sockets} sockets, {result.events} events, {result.lost} lost, {result.repeated} repeated")
    print(f"p50 {result.p50_ms} ms, p99 {result.p99_ms} ms; the bridge used {result.bridge_cores} of a core")


if __name__ == "__main__":
    main()
