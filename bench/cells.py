"""Measures what the queue hands out when accounts are spread over several Redis servers, and how fair that is.

A cell has the accounts of one residue of their hash, a Redis of its own, and an equal part of the workers. The real scripts
claim and finish the jobs of a backlog in which every account has as many, of 1 to 60 GPU seconds. Claims are counted against
the CPU time of the servers, as the clients of a small machine would be the limit otherwise. Fairness is that of the GPU time
which the accounts of one tier have got when half of the jobs are gone: Jain's index, (sum x)^2 / (n sum x^2), is 1 when all
have got the same (R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984).

`python -m bench.cells [--json] [--accounts N] [--jobs N]`.
"""

import argparse
import asyncio
import hashlib
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import psutil
from redis.asyncio import Redis

from bench.platform import RedisServer, own_redis
from svc_common.clock import new_id
from svc_common.queue import JobQueue, QueuedJob

CELLS: Final = (1, 2, 4, 8)
_WORKERS: Final = 16
"""Of all cells together, so that eight cells have two each."""
_LEASE_MS: Final = 30_000
_GPU_MS: Final = (1_000, 60_000)
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What one number of cells gave."""

    cells: int
    claims: int
    claims_per_second: float
    claims_per_redis_cpu_second: float
    """A claim with its finish."""
    jain_index: float
    least_share: float
    """Of what an account would have got if all had got the same."""
    largest_share: float


def cell_of(account_id: UUID, cells: int) -> int:
    """Returns the number of the cell that has an account, the same in every process."""
    digest = hashlib.blake2b(account_id.bytes, digest_size=8).digest()
    return int.from_bytes(digest, "big") % cells


def backlog(accounts: int, jobs: int) -> list[QueuedJob]:
    """Returns the jobs of all accounts, in the order in which they were accepted."""
    chance, now = random.Random(_SEED), time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(accounts)]
    return [
        QueuedJob(
            job_id=new_id(),
            account_id=account_id,
            tier="pro",
            model_id="pingvas-tiny",
            cost_millicredits=chance.randint(*_GPU_MS),
            running_limit=_WORKERS,
            create_time_ms=now + number,
        )
        for number in range(jobs)
        for account_id in ids
    ]


async def drain(queue: JobQueue, workers: int, limit: int) -> Mapping[UUID, int]:
    """Claims and finishes so many jobs of a cell, and returns the GPU milliseconds that each account got."""
    got: dict[UUID, int] = defaultdict(int)
    claimed = 0

    async def worker(name: str) -> None:
        nonlocal claimed
        while claimed < limit:
            claimed += 1
            claim = await queue.claim(name, ("pingvas-tiny",), _LEASE_MS)
            if claim is None:
                return
            got[claim.job.account_id] += claim.job.cost_millicredits
            await queue.finish(claim)

    await asyncio.gather(*(worker(f"worker-{number}") for number in range(workers)))
    return got


async def measure(servers: Sequence[RedisServer], accounts: int, jobs: int) -> Row:
    """Runs one backlog through the cells."""
    clients = [Redis.from_url(server.url) for server in servers]
    queues = [JobQueue(client) for client in clients]
    waiting = backlog(accounts, jobs)
    for number, queue in enumerate(queues):
        await clients[number].flushdb()
        await queue.enqueue_all([job for job in waiting if cell_of(job.account_id, len(queues)) == number])
    processes = [psutil.Process(server.pid) for server in servers]
    limit = len(waiting) // 2 // len(queues)
    before, started = [sum(process.cpu_times()[:2]) for process in processes], time.monotonic()
    drained = await asyncio.gather(*(drain(queue, _WORKERS // len(queues), limit) for queue in queues))
    elapsed = time.monotonic() - started
    used = sum(sum(process.cpu_times()[:2]) for process in processes) - sum(before)
    for client in clients:
        await client.aclose()
    got = dict.fromkeys({job.account_id for job in waiting}, 0)
    for cell in drained:
        got |= cell
    shares = list(got.values())
    mean, claims = sum(shares) / len(shares), limit * len(queues)
    return Row(
        cells=len(queues),
        claims=claims,
        claims_per_second=round(claims / elapsed, 1),
        claims_per_redis_cpu_second=round(claims / used, 1),
        jain_index=round(sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)), 4),
        least_share=round(min(shares) / mean, 3),
        largest_share=round(max(shares) / mean, 3),
    )


async def measure_all(accounts: int, jobs: int) -> list[Row]:
    """Runs every number of cells, on as many servers."""
    with tempfile.TemporaryDirectory(prefix="pingvas-bench-") as folder, ExitStack() as running:
        servers = [running.enter_context(own_redis(Path(folder) / f"cell-{cell}")) for cell in range(max(CELLS))]
        return [await measure(servers[:cells], accounts, jobs) for cells in CELLS]


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="What the queue hands out over several cells.")
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=50, help="of each account")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = asyncio.run(measure_all(options.accounts, options.jobs))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print("cells  claims a second  for each CPU second of Redis  Jain's index  least and largest share")
    for row in rows:
        print(
            f"{row.cells:5} {row.claims_per_second:16.0f} {row.claims_per_redis_cpu_second:29.0f} {row.jain_index:13.4f}"
            f" {row.least_share:15.2f} {row.largest_share:7.2f}"
        )


if __name__ == "__main__":
    main()
