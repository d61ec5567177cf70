"""A worker that is told to stop in mid-job: it finishes what fits into the grace, and hands the rest back at once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from pingvas.generation.v1 import job_pb2

from gpu_worker.render.interface import RenderResult, RenderSpec, StepReport
from tests.factories.actors import Operator, Person
from tests.factories.platform import Platform
from tests.factories.streams import assert_one_watchers_view, detail, read_to_end, read_until
from tests.factories.working import working
from tests.fakes.pipeline import FakePipeline

ATTEMPTS = "SELECT outcome FROM generation.attempts WHERE job_id = $1 ORDER BY attempt"
COMPLETED, CANCELLED, RETURNED = 2, 4, 6


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


async def outcomes(platform: Platform, job_id: str) -> list[int]:
    return [row["outcome"] for row in await platform.rows("generation", ATTEMPTS, UUID(job_id))]


async def test_stopping_worker_finishes_a_job_that_fits_into_the_grace(platform: Platform, person: Person) -> None:
    job = await person.create("[[slow=0.05]]", step_count=20)
    stream = person.watch(job.job_id)
    async with working(platform, grace_seconds=20.0) as consumer:
        await read_until(stream, lambda event: event.progress.step == 3)
        consumer.stop()
        events = await read_to_end(stream)
    assert detail(events[-1]) == "completed"
    assert [event.progress.step for event in events[:-1]] == list(range(4, 21))
    assert await outcomes(platform, job.job_id) == [COMPLETED]


async def test_stopping_worker_hands_a_job_back_at_once_that_does_not_fit(platform: Platform, person: Person) -> None:
    grace_seconds = 9.0
    job = await person.create("[[slow=0.4]]", step_count=50)
    stream = person.watch(job.job_id)
    loop = asyncio.get_running_loop()
    async with working(platform, grace_seconds=grace_seconds) as consumer:
        seen = await read_until(stream, lambda event: event.progress.step == 3)
        consumer.stop()
        stopped_at_s = loop.time()
        seen += await read_until(stream, lambda event: detail(event) == "queued")
        assert loop.time() - stopped_at_s < grace_seconds / 2, "it waited for the end of the grace"
    assert await outcomes(platform, job.job_id) == [RETURNED]
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_QUEUED

    async with working(platform, worker_id="worker-1", pipeline=FakePipeline(0.0)):
        await person.cancel(job.job_id)
        seen += await read_to_end(stream)
    assert_one_watchers_view(seen)
    await Operator(platform).assert_holds_match_jobs()


async def test_stopping_worker_hands_a_job_back_whose_estimate_grows_too_long(
    platform: Platform, person: Person
) -> None:
    job = await person.create("[[slow=0.01]]", step_count=40)
    stream = person.watch(job.job_id)
    pipeline = SlowingPipeline()
    async with working(platform, grace_seconds=8.0, pipeline=pipeline) as consumer:
        await read_until(stream, lambda event: event.progress.step == 3)
        consumer.stop()
        pipeline.slow_down()
        await read_until(stream, lambda event: detail(event) == "queued")
    assert await outcomes(platform, job.job_id) == [RETURNED]


class SlowingPipeline(FakePipeline):
    """Reports that far more is left than at first, once it is told to."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self._is_slow = False

    def slow_down(self) -> None:
        self._is_slow = True

    def render(
        self, spec: RenderSpec, on_step: Callable[[StepReport], None], should_stop: Callable[[], bool]
    ) -> RenderResult:
        def report(step: StepReport) -> None:
            on_step(replace(step, seconds_left=1000.0) if self._is_slow else step)

        return super().render(replace(spec, prompt="[[slow=0.1]]"), report, should_stop)


async def test_stopping_worker_cancels_a_job_whose_owner_wants_it(platform: Platform, person: Person) -> None:
    job = await person.create("[[slow=0.1]]", step_count=50, width_px=512, height_px=512)
    stream = person.watch(job.job_id)
    async with working(platform, grace_seconds=18.0) as consumer:
        await read_until(stream, lambda event: event.progress.step == 2)
        consumer.stop()
        await person.cancel(job.job_id)
        assert detail((await read_to_end(stream))[-1]) == "cancelled"
    assert await outcomes(platform, job.job_id) == [CANCELLED]
