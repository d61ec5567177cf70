"""Measures how many jobs a second are accepted, against pgbench writing the same rows in one statement.

Both work on the same PostgreSQL, in turns, with the same number of connections in flight and the same accounts. pgbench
does what no service can do without: the rows of a hold and of a job, durably. The rest is the price of two services,
authentication, validation, pricing and the queue; the CPU table shows where it goes. Its jobs are written as ended ones:
as waiting ones, the sweeps would find that the queue misses them, and the service would pay for its rival's rows.

`python -m bench.create_job [--json] [--rounds N] [--seconds S] [--concurrency C]`.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import grpc.aio
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from bench.platform import Accounts, CpuMeter, platform
from studio.scratch import ScratchStack
from studio.stack.servers.postgres import binaries

METHOD = "/pingvas.generation.v1.GenerationService/CreateJob"
ACCOUNT_COUNT = 256
PROCESSES = ("svc_generation", "svc_payment", "postgres", "redis")
HELD = 1125
"""Millicredits that pgbench's jobs hold; any number writes the same rows."""

_ROWS = """
\\set n random(1, {accounts})
WITH owner AS (
    SELECT account_id FROM bench_accounts WHERE n = :n
), account AS (
    UPDATE payment.accounts a SET available = available - {held}, held = held + {held},
        transaction_count = transaction_count + 1
    FROM owner WHERE a.account_id = owner.account_id AND a.available >= {held}
    RETURNING a.account_id, a.transaction_count AS sequence, gen_random_uuid() AS job_id
), spent AS (
    UPDATE payment.grants g SET remaining = remaining - {held} FROM account
    WHERE g.account_id = account.account_id AND g.remaining >= {held} RETURNING g.grant_id
), transaction AS (
    INSERT INTO payment.transactions (account_id, sequence, transaction_id, kind, hold_id, amount, create_time)
    SELECT account_id, sequence, gen_random_uuid(), 'reserve', job_id, -{held}, now() FROM account
), entry AS (
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, held)
    SELECT account_id, sequence, 1, grant_id, -{held}, {held} FROM account, spent
), hold AS (
    INSERT INTO payment.holds (hold_id, account_id, requested, minimum, lifetime, amount, reserve_sequence, expire_time)
    SELECT job_id, account_id, {held}, {held}, '25 hours', {held}, sequence, now() + '25 hours' FROM account
), counter AS (
    INSERT INTO generation.account_counters AS c (account_id, last_sequence, waiting)
    SELECT account_id, 1, 1 FROM account
    ON CONFLICT (account_id) DO UPDATE SET last_sequence = c.last_sequence + 1, waiting = c.waiting + 1
    RETURNING last_sequence
)
INSERT INTO generation.jobs (job_id, account_id, created_by, request_hash, first_answer, operation, model_id, tier,
    running_limit, image_count, quoted_millicredits, held_millicredits, state, outcome, used_millicredits, end_time,
    ended_sequence, queue_position, create_time, queue_time, deadline_time, queued_sequence, last_sequence)
SELECT job_id, account_id, account_id, decode(repeat('ab', 32), 'hex'), decode(repeat('ab', {answer_bytes}), 'hex'),
    decode(repeat('ab', {operation_bytes}), 'hex'), 'pingvas-tiny', 5, 16, 1, 750, {held}, 6, 6, 0, now(),
    last_sequence, 0, now(), now(), now() + '24 hours', last_sequence, last_sequence
FROM account, counter;
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found; the ratio is that of the rounds' rates, ours over pgbench's."""

    concurrency: int
    accounts: int
    create_job_per_second: float
    pgbench_per_second: float
    ratio_median: float
    ratio_min: float
    ratio_max: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_job: dict[str, float]


def request() -> generation_service_pb2.CreateJobRequest:
    """Returns the request that is sent, of a usual size."""
    operation = job_pb2.TextToImage(
        prompt="a lighthouse on a cliff above a stormy sea at dusk, oil painting", width_px=256, height_px=256
    )
    return generation_service_pb2.CreateJobRequest(text_to_image=operation)


class Load:
    """Sends CreateJob from as many callers as there are calls in flight, each waiting for its answer."""

    def __init__(self, address: str, accounts: Accounts, concurrency: int) -> None:
        """Takes the public listener. Messages stay bytes, so that the load costs little of the machine it measures."""
        self._channel = grpc.aio.insecure_channel(address)
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)
        self._body = request().SerializeToString()
        self._metadata = cycle(accounts.metadata)
        self._concurrency = concurrency

    async def run(self, seconds: float) -> list[float]:
        """Sends for so long and returns the seconds that each call took."""
        until = time.monotonic() + seconds
        latencies: list[float] = []
        await asyncio.gather(*(self._caller(until, latencies) for _ in range(self._concurrency)))
        return latencies

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def _caller(self, until: float, latencies: list[float]) -> None:
        while (started := time.monotonic()) < until:
            await self._call(self._body, metadata=next(self._metadata))
            latencies.append(time.monotonic() - started)


class PgBench:
    """Runs pgbench with the script against the fleet's database."""

    def __init__(self, fleet: ScratchStack, accounts: Accounts, folder: Path, concurrency: int) -> None:
        """Writes the script and the table that numbers the accounts."""
        url = urlsplit(fleet.admin_database_url.replace("postgresql+asyncpg", "postgresql"))
        self._concurrency = concurrency
        self._environment = {
            **os.environ,
            "PGHOST": url.hostname or "",
            "PGPORT": str(url.port),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.path.lstrip("/"),
        }
        self._script = folder / "create_job.sql"
        operation = len(request().text_to_image.SerializeToString()) + 40
        self._script.write_text(
            _ROWS.format(accounts=len(accounts.ids), held=HELD, answer_bytes=operation + 80, operation_bytes=operation)
        )
        values = ", ".join(f"({n}, '{account_id}')" for n, account_id in enumerate(accounts.ids, 1))
        self._psql(
            "CREATE TABLE bench_accounts (n int PRIMARY KEY, account_id uuid NOT NULL);"  # noqa: S608 - ids of our own
            f"INSERT INTO bench_accounts VALUES {values}; ANALYZE bench_accounts"
        )

    def run(self, seconds: float) -> float:
        """Returns the transactions a second."""
        arguments = ["-n", "-M", "prepared", "-c", str(self._concurrency), "-j", "2", "-T", str(int(seconds))]
        output = self._start("pgbench", *arguments, "-f", str(self._script))
        match = re.search(r"tps = ([0-9.]+)", output)
        failed = re.search(r"number of failed transactions: (\d+)", output)
        if match is None or failed is None or failed[1] != "0":
            raise RuntimeError(f"pgbench failed:\n{output}")
        return float(match[1])

    def _psql(self, statements: str) -> None:
        self._start("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", statements)

    def _start(self, program: str, *arguments: str) -> str:
        command = [str(binaries() / program), *arguments]
        return subprocess.run(command, env=self._environment, check=True, capture_output=True, text=True).stdout


async def measure(rounds: int, seconds: float, concurrency: int) -> Result:
    """Runs the rounds, each first ours and then pgbench's."""
    with platform(workers=0) as fleet, tempfile.TemporaryDirectory() as folder:
        accounts = Accounts(fleet, ACCOUNT_COUNT)
        bench = PgBench(fleet, accounts, Path(folder), concurrency)
        load = Load(fleet.process("svc_generation").address, accounts, concurrency)
        meter = CpuMeter(fleet, PROCESSES)
        await load.run(2.0)
        await asyncio.to_thread(bench.run, 2)
        ours, theirs, latencies = [], [], []
        spent = dict.fromkeys((*PROCESSES, "client"), 0.0)
        for _ in range(rounds):
            before, started = meter.read(), time.monotonic()
            of_round = await load.run(seconds)
            ours.append(len(of_round) / (time.monotonic() - started))
            for name, value in meter.read().items():
                spent[name] += value - before[name]
            latencies += of_round
            theirs.append(await asyncio.to_thread(bench.run, seconds))
        await load.close()
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Result(
        concurrency=concurrency,
        accounts=ACCOUNT_COUNT,
        create_job_per_second=round(statistics.median(ours), 1),
        pgbench_per_second=round(statistics.median(theirs), 1),
        ratio_median=round(statistics.median(ratios), 3),
        ratio_min=round(min(ratios), 3),
        ratio_max=round(max(ratios), 3),
        p50_ms=round(cuts[49] * 1000, 2),
        p99_ms=round(cuts[98] * 1000, 2),
        cpu_ms_per_job={name: round(1000 * value / len(latencies), 3) for name, value in spent.items()},
    )


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="How many jobs a second are accepted, against pgbench.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each arm in a round (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds, options.seconds, options.concurrency))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"CreateJob {result.create_job_per_second}/s, p50 {result.p50_ms} ms, p99 {result.p99_ms} ms")
    print(f"pgbench   {result.pgbench_per_second}/s")
    print(f"ratio {result.ratio_median} (rounds: {result.ratio_min} to {result.ratio_max}); goal: at least 0.25")
    print("CPU a job: " + ", ".join(f"{name} {value} ms" for name, value in result.cpu_ms_per_job.items()))


if __name__ == "__main__":
    main()
