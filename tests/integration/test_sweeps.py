"""Sweeps: repeated, one at a time over all replicas, and never ended by a failure."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.sweeps import Sweep, run_round, run_sweeps
from tests.harness_postgres import PostgresServer, until

SOON = timedelta(milliseconds=10)


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    handle = Database(postgres.url(driver="postgresql+asyncpg"))
    yield handle
    await handle.close()


def failures(sweep: str) -> float:
    return REGISTRY.get_sample_value("sweep_failures_total", {"sweep": sweep}) or 0.0


async def run_until(database: Database, sweeps: list[Sweep], condition: asyncio.Event) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_sweeps(database, sweeps, stop, jitter=lambda: 0.0))
    try:
        await asyncio.wait_for(condition.wait(), 10)
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)


async def test_sweep_comes_round_again(database: Database) -> None:
    rounds = 0
    done = asyncio.Event()

    async def work() -> int:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            done.set()
        return 1

    await run_until(database, [Sweep("again", SOON, work)], done)

    assert rounds >= 3


async def test_failed_round_is_counted_and_followed_by_the_next(database: Database) -> None:
    rounds = 0
    done = asyncio.Event()

    async def work() -> int:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise RuntimeError("broken")
        done.set()
        return 0

    before = failures("failing")
    with capture_logs() as events:
        await run_until(database, [Sweep("failing", SOON, work)], done)

    assert failures("failing") == before + 1
    assert [each["event"] for each in events if each["log_level"] == "error"] == ["sweep.failed"]


async def test_stuck_sweep_does_not_hold_up_the_others(database: Database) -> None:
    done, stuck = asyncio.Event(), asyncio.Event()

    async def wait() -> int:
        await stuck.wait()
        return 0

    async def work() -> int:
        done.set()
        return 0

    sweeps = [Sweep("stuck", SOON, wait), Sweep("lively", SOON, work)]
    stop = asyncio.Event()
    running = asyncio.create_task(run_sweeps(database, sweeps, stop, jitter=lambda: 0.0))
    await asyncio.wait_for(done.wait(), 10)
    stop.set()
    stuck.set()
    await asyncio.wait_for(running, 10)


async def test_one_of_many_replicas_does_a_round(postgres: PostgresServer) -> None:
    replicas = [Database(postgres.url(driver="postgresql+asyncpg")) for _ in range(5)]
    at_work, most_at_work, rounds = 0, 0, 0
    others_have_tried = asyncio.Event()

    async def work() -> int:
        nonlocal at_work, most_at_work, rounds
        rounds += 1
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        await others_have_tried.wait()
        at_work -= 1
        return 0

    sweep = Sweep("shared", SOON, work)
    tasks = [asyncio.create_task(run_round(replica, sweep)) for replica in replicas]

    async def only_one_is_left() -> bool:
        return sum(not task.done() for task in tasks) == 1

    await until(only_one_is_left)
    others_have_tried.set()
    did_it = await asyncio.gather(*tasks)
    for replica in replicas:
        await replica.close()

    assert (rounds, most_at_work) == (1, 1)
    assert sorted(did_it) == [False, False, False, False, True]


async def test_round_without_its_database_is_postponed_quietly() -> None:
    nowhere = Database("postgresql+asyncpg://nobody:x@127.0.0.1:1/none")

    async def work() -> int:
        raise AssertionError("the lock can't have been taken")

    with capture_logs() as events:
        did_it = await run_round(nowhere, Sweep("cut off", SOON, work))

    assert not did_it
    assert [each["event"] for each in events] == ["postgresql.unavailable", "sweep.postponed"]


async def test_round_whose_dependency_is_away_is_postponed_quietly(database: Database) -> None:
    async def work() -> int:
        raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "S3 doesn't answer.")

    with capture_logs() as events:
        did_it = await run_round(database, Sweep("no s3", SOON, work))

    assert not did_it
    assert [each["event"] for each in events] == ["sweep.postponed"]
