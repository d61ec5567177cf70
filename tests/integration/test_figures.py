"""What svc_generation and the workers show to Prometheus, on a platform that works."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from svc_common.queue import WorkerPresence, WorkerReport
from svc_common.redis_client import connect
from svc_generation.tasks.queue_figures import look
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform, backdate_start
from tests.factories.working import working


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def presence(platform: Platform) -> AsyncIterator[WorkerPresence]:
    async with connect(platform.redis_url) as redis:
        yield WorkerPresence(redis)


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=1_000_000, tier="studio")


async def test_the_queue_is_shown_by_tier(platform: Platform, person: Person, presence: WorkerPresence) -> None:
    jobs = [await person.create() for _ in range(3)]
    await presence.report(WorkerReport("worker-0", 1))
    claim = await platform.queue.claim("worker-0", (), 60_000)
    assert claim is not None
    await look(platform.queue, presence)
    assert figure("queue_jobs", tier="studio", state="waiting") == 2
    assert figure("queue_jobs", tier="studio", state="running") == 1
    assert figure("workers_present") == 1
    await presence.withdraw("worker-0")
    await platform.queue.finish(claim)
    for job in jobs:
        await person.cancel(job.job_id)
    await look(platform.queue, presence)
    assert figure("workers_present") == 0


async def test_waits_and_ends_are_counted_by_tier(platform: Platform, person: Person, worker: WorkerClient) -> None:
    waits = figure("job_wait_seconds_count", tier="studio")
    ends = figure("jobs_ended_total", tier="studio", outcome="completed")
    job = await person.create()
    attempt = await worker.start(job.job_id)
    assert figure("job_wait_seconds_count", tier="studio") == waits + 1
    await backdate_start(platform, job.job_id, 60)
    await worker.complete(attempt, await worker.upload(attempt))
    await person.ended(job.job_id, within_seconds=120)
    assert figure("jobs_ended_total", tier="studio", outcome="completed") == ends + 1


async def test_renders_are_timed_by_model(platform: Platform, person: Person) -> None:
    before = figure("render_seconds_count", model_id="pingvas-tiny")
    async with working(platform):
        job = await person.create()
        await person.ended(job.job_id, within_seconds=120)
    assert figure("render_seconds_count", model_id="pingvas-tiny") == before + 1
