"""A render that begins before its attempt is recorded: what is kept of it, and what never leaves the worker."""

from typing import Any
from uuid import UUID

import pytest
from pingvas.generation.v1 import job_pb2

from gpu_worker.render.interface import RenderCancelledError, RenderSpec
from tests.factories.actors import Operator, Person
from tests.factories.platform import Platform
from tests.factories.queue import record_of
from tests.factories.streams import assert_one_watchers_view, detail, read_to_end, read_until
from tests.factories.working import working
from tests.fakes.pipeline import FakePipeline
from tests.harness_postgres import until

SLOW = "[[slow=0.1]]"


class NotingPipeline(FakePipeline):
    """Notes the prompts of renders, as they begin and as they end."""

    def __init__(self) -> None:
        super().__init__(0.005)
        self.begun: list[str] = []
        self.done: list[str] = []
        self.stopped: list[str] = []

    def render(self, spec: RenderSpec, *others: Any) -> Any:
        self.begun.append(spec.prompt)
        try:
            result = super().render(spec, *others)
        except RenderCancelledError:
            self.stopped.append(spec.prompt)
            raise
        self.done.append(spec.prompt)
        return result


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="starter")


async def test_render_is_done_while_its_attempt_is_recorded(platform: Platform, person: Person) -> None:
    pipeline = NotingPipeline()
    async with working(platform, pipeline=pipeline):
        # From the attempt before the worker knows what the model is.
        await person.ended((await person.create("before")).job_id)
        async with platform.locked("generation", "attempts"):
            job = await person.create("ahead", step_count=5)

            async def is_rendered() -> bool:
                return "ahead" in pipeline.done

            await until(is_rendered)
            waiting = await person.get(job.job_id)
        events = await read_to_end(person.watch(job.job_id))

    assert waiting.state == job_pb2.JOB_STATE_QUEUED
    assert_one_watchers_view(events)
    assert [detail(event) for event in events] == ["queued", "started", *["progress"] * 5, "completed"]
    assert pipeline.begun == ["before", "ahead"]
    assert (await person.get(job.job_id)).attempt == 1
    await Operator(platform).assert_holds_match_jobs()


async def test_attempt_decides_what_is_made_when_the_queue_says_something_else(
    platform: Platform, person: Person
) -> None:
    pipeline = NotingPipeline()
    async with working(platform, pipeline=pipeline):
        before = await person.create(SLOW, step_count=5)
        job = await person.create("the truth")
        said = job_pb2.TextToImage()
        said.CopyFrom(job.text_to_image)
        said.prompt, said.step_count = f"{SLOW} a rumour", 50
        assert await platform.queue.remove(UUID(job.job_id)), "it waits while the first is rendered"
        await platform.queue.enqueue(record_of(job, person.account_id, said))
        events = await read_to_end(person.watch(job.job_id))
        await person.ended(before.job_id)

    assert pipeline.begun == [SLOW, said.prompt, "the truth"]
    assert pipeline.stopped == [said.prompt]
    assert_one_watchers_view(events)
    progress = [event.progress for event in events if detail(event) == "progress"]
    assert {step.step_count for step in progress} == {job.text_to_image.step_count}, "nobody hears of the rumour"
    assert [step.step for step in progress] == list(range(1, job.text_to_image.step_count + 1))
    assert detail(events[-1]) == "completed"


async def test_render_of_a_job_that_needs_no_attempt_stops_unheard(platform: Platform, person: Person) -> None:
    pipeline = NotingPipeline()
    async with working(platform, pipeline=pipeline):
        before = await person.create(SLOW, step_count=5)
        job = await person.create(f"{SLOW} cancelled", step_count=50)
        await person.cancel(job.job_id)
        await platform.queue.enqueue(record_of(job, person.account_id))
        after = await person.ended((await person.create("after")).job_id)
        await person.ended(before.job_id)
        events = await read_to_end(person.watch(job.job_id))

    assert pipeline.stopped == [f"{SLOW} cancelled"]
    assert pipeline.done == [SLOW, "after"]
    assert after.state == job_pb2.JOB_STATE_COMPLETED
    assert [detail(event) for event in events] == ["queued", "cancelled"]


async def test_job_that_is_cancelled_in_its_head_start_pays_for_no_more_than_ran(
    platform: Platform, person: Person
) -> None:
    pipeline = NotingPipeline()
    async with working(platform, pipeline=pipeline):
        await person.ended((await person.create("before")).job_id)
        job = await person.create(SLOW, width_px=512, height_px=512, step_count=30)
        await read_until(person.watch(job.job_id), lambda event: event.progress.step == 2)
        await person.cancel(job.job_id)
        (last,) = [event for event in await read_to_end(person.watch(job.job_id)) if detail(event) == "cancelled"]

    assert pipeline.begun == ["before", SLOW]
    assert 0.2 <= float(last.cancelled.credits_used) < 3.0
    await Operator(platform).assert_holds_match_jobs()
