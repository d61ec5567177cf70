"""Which models the next jobs need: the order in which they are then claimed, and nothing is changed by looking."""

import random

import pytest
from redis.asyncio import Redis

from svc_common.queue import JobQueue
from tests.factories.queue import SettableClock, queued_job

LEASE_MS = 60_000


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    return JobQueue(redis, clock_ms=SettableClock())  # nobody is overdue


async def claimed_models(queue: JobQueue, count: int) -> list[str]:
    models = []
    for _ in range(count):
        claim = await queue.claim("worker", (), LEASE_MS)
        assert claim is not None
        await queue.finish(claim)
        models.append(claim.job.model_id)
    return models


@pytest.mark.parametrize("seed", range(10))
async def test_models_are_those_of_the_jobs_that_are_claimed_next(queue: JobQueue, seed: int) -> None:
    choose = random.Random(seed)
    for number in range(30):
        job = queued_job(
            choose.choice(("ann", "ann", "bob", "cid")),
            tier=choose.choice(("enterprise", "pro", "pro", "free")),
            model_id=f"model-{number}",
            cost_millicredits=choose.choice((500, 1000, 7000)),
        )
        await queue.enqueue(job)
    await claimed_models(queue, 3)

    foretold = await queue.peek_models(12)
    everything = await queue.peek_models(64)

    assert await claimed_models(queue, 12) == foretold
    assert everything[:12] == foretold
    assert len(everything) == 27


async def test_looking_at_an_empty_queue_finds_nothing(queue: JobQueue) -> None:
    assert await queue.peek_models(8) == []


async def test_jobs_of_an_account_at_its_limit_are_not_foretold(queue: JobQueue) -> None:
    for model_id in ("first", "second"):
        await queue.enqueue(queued_job("ann", model_id=model_id, running_limit=1))
    assert await claimed_without_finishing(queue) == "first"

    assert await queue.peek_models(8) == []


async def test_looking_changes_nothing(queue: JobQueue, redis: Redis) -> None:
    for owner in ("ann", "bob", "ann"):
        await queue.enqueue(queued_job(owner))
    before = {key: await redis.dump(key) for key in await redis.keys()}

    await queue.peek_models(8)

    assert {key: await redis.dump(key) for key in await redis.keys()} == before


@pytest.mark.parametrize("limit", [0, 65])
async def test_look_at_too_few_or_too_many_is_refused(queue: JobQueue, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 64 jobs"):
        await queue.peek_models(limit)


async def claimed_without_finishing(queue: JobQueue) -> str:
    claim = await queue.claim("worker", (), LEASE_MS)
    assert claim is not None
    return claim.job.model_id
