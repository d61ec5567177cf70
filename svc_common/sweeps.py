"""Work that comes round again: each sweep repairs or tidies something, whatever was lost before.

Any number of replicas may run the same sweeps; an advisory lock lets one of them do each. What a sweep does, in which
transactions, is left to the services' tasks.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from svc_common.concurrency import is_set_within
from svc_common.db import Database
from svc_common.errors import Code, ServiceError
from svc_common.redis_client import REDIS_ERRORS
from svc_common.telemetry import SWEEP_FAILURES, SWEEP_ROWS, SWEEP_SECONDS

_log: Final = structlog.get_logger("sweeps")

# The first round comes soon after the start, since a crash is what sweeps repair.
_FIRST_ROUND_SECONDS: Final = 1.0
_JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sweep:
    """One kind of repeated work. `fn` does one round and returns how many rows it handled; it must be safe to repeat."""

    name: str
    interval: timedelta
    fn: Callable[[], Awaitable[int]]


async def run_sweeps(
    database: Database,
    sweeps: Sequence[Sweep],
    stop: asyncio.Event,
    *,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Runs the sweeps, each at its interval (plus or minus a fifth, so that replicas spread), until `stop` is set.

    A round that fails is logged and counted, and the next one comes as usual. `jitter` returns numbers in [0, 1).

    Raises ValueError for more sweeps than the pool was counted for: each holds its lock on a connection while it waits for
    another, so that too many would wait for each other.
    """
    if len(sweeps) > database.most_sweeps:
        raise ValueError(f"the pool was counted for {database.most_sweeps} sweeps, and there are {len(sweeps)}")
    async with asyncio.TaskGroup() as group:
        for sweep in sweeps:
            group.create_task(_repeat(database, sweep, stop, jitter))


async def _repeat(database: Database, sweep: Sweep, stop: asyncio.Event, jitter: Callable[[], float]) -> None:
    interval = sweep.interval.total_seconds()
    pause = min(interval, _FIRST_ROUND_SECONDS) * jitter()
    while not await is_set_within(stop, pause):
        await run_round(database, sweep)
        pause = interval * (1 + _JITTER * (2 * jitter() - 1))


async def run_round(database: Database, sweep: Sweep) -> bool:
    """Does one round unless another process is at it; returns whether this one did it. Never raises."""
    started = time.monotonic()
    try:
        async with database.advisory_lock(f"sweep:{sweep.name}") as got:
            if not got:
                return False
            rows = await sweep.fn()
    except Exception as error:  # noqa: BLE001 - one failed round must not end the rounds to come
        SWEEP_FAILURES.labels(sweep.name).inc()
        _report_failure(sweep, error)
        return False
    SWEEP_SECONDS.labels(sweep.name).observe(time.monotonic() - started)
    SWEEP_ROWS.labels(sweep.name).inc(rows)
    if rows:
        _log.info("sweep.finished", sweep=sweep.name, rows=rows)
    return True


def _report_failure(sweep: Sweep, error: Exception) -> None:
    away = isinstance(error, ServiceError) and error.code is Code.UNAVAILABLE
    if away or isinstance(error, REDIS_ERRORS):
        _log.warning("sweep.postponed", sweep=sweep.name, error=str(error))
    else:
        _log.error("sweep.failed", sweep=sweep.name, exc_info=error)
