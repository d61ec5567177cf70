"""Changes that are decided on a reading and written if the job is still so: nothing is written twice, and no number is lost."""

import asyncio
from uuid import UUID

import pytest

from svc_common.clock import new_id
from svc_common.clock import now as real_now
from svc_generation.domain.states import JobState
from svc_generation.store import hot, transitions
from svc_generation.store.models import Attempt, Job
from svc_generation.store.transitions import ChangedError, Ending
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform

JOBS = 12
COUNTER = "SELECT last_sequence, waiting FROM generation.account_counters WHERE account_id = $1"
NUMBERS = "SELECT queued_sequence, started_sequence, ended_sequence FROM generation.jobs WHERE account_id = $1"
ATTEMPTS = "SELECT attempt, outcome FROM generation.attempts WHERE job_id = $1"


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=100_000, tier="studio")


async def read(platform: Platform, job_id: str) -> Job:
    job = await hot.find_job(platform.generation.parts.tasks, UUID(job_id))
    assert job is not None
    return job


async def start(platform: Platform, job: Job) -> Attempt:
    return await transitions.start(
        platform.generation.parts.tasks,
        job,
        worker_id="worker-0",
        claim_id=f"worker-0:{new_id()}",
        image_ids=[new_id()],
        now=real_now(),
        upload_expire_time=real_now(),
    )


async def close(platform: Platform, job: Job) -> None:
    ending = Ending(JobState.COMPLETED, gpu_milliseconds=1)
    await transitions.close(platform.generation.parts.tasks, job, ending, real_now())


async def end(platform: Platform, job: Job) -> None:
    await transitions.end(platform.generation.parts.tasks, job, 1, real_now())


async def counter(platform: Platform, person: Person) -> tuple[int, int]:
    (row,) = await platform.rows("generation", COUNTER, person.account_id)
    return row["last_sequence"], row["waiting"]


async def test_many_jobs_of_one_account_change_at_once(platform: Platform, person: Person) -> None:
    created = [await person.create() for _ in range(JOBS)]

    async def live(job_id: str) -> None:
        job = await read(platform, job_id)
        await start(platform, job)
        await close(platform, job)
        await end(platform, job)

    await asyncio.gather(*(live(job.job_id) for job in created))

    rows = await platform.rows("generation", NUMBERS, person.account_id)
    numbers = sorted(number for row in rows for number in row.values())
    assert numbers == list(range(1, 3 * JOBS + 1))
    assert await counter(platform, person) == (3 * JOBS, 0)


async def test_of_many_decisions_on_one_reading_one_is_written(platform: Platform, person: Person) -> None:
    created = await person.create()
    readings = [await read(platform, created.job_id) for _ in range(10)]

    answers = await asyncio.gather(*(start(platform, job) for job in readings), return_exceptions=True)

    assert [type(answer) for answer in answers].count(Attempt) == 1
    assert [type(answer) for answer in answers].count(ChangedError) == 9
    assert [row["attempt"] for row in await platform.rows("generation", ATTEMPTS, UUID(created.job_id))] == [1]
    assert await counter(platform, person) == (2, 0), "a start that wasn't written took a number or a place"


async def test_cancellation_and_completion_race_and_one_of_them_is_decided_again(
    platform: Platform, person: Person
) -> None:
    tasks = platform.generation.parts.tasks
    for _ in range(10):
        created = await person.create()
        job = await read(platform, created.job_id)
        await start(platform, job)
        twin = await read(platform, created.job_id)
        answers = await asyncio.gather(
            close(platform, job), transitions.request_cancel(tasks, twin), return_exceptions=True
        )
        assert sorted(str(type(answer).__name__) for answer in answers) == ["ChangedError", "NoneType"]
        found = await read(platform, created.job_id)
        assert (found.state == JobState.FINALIZING) != found.cancel_requested


async def test_end_is_written_once_while_the_sweep_notes_its_tries(platform: Platform, person: Person) -> None:
    tasks = platform.generation.parts.tasks
    for round_ in range(10):
        created = await person.create()
        job = await read(platform, created.job_id)
        await start(platform, job)
        await close(platform, job)
        twins = [await read(platform, created.job_id) for _ in range(3)]
        touches = [transitions.touch_finalizing(tasks, job.job_id, real_now()) for _ in range(3)]
        ends = [end(platform, twin) for twin in twins]
        answers = await asyncio.gather(*ends, *touches, return_exceptions=True)
        assert sorted(str(type(answer).__name__) for answer in answers) == ["ChangedError"] * 2 + ["NoneType"] * 4
        ended = await read(platform, created.job_id)
        assert (ended.state, ended.ended_sequence) == (JobState.COMPLETED, 3 * (round_ + 1))
    assert await counter(platform, person) == (30, 0)


async def test_decision_is_taken_again_on_a_job_that_has_changed(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    created = await person.create()
    seen: list[JobState] = []

    async def act(job: Job) -> str:
        seen.append(JobState(job.state))
        if len(seen) == 1:
            await worker.start(created.job_id)
        await transitions.close(platform.generation.parts.tasks, job, Ending(JobState.CANCELLED), real_now())
        return "closed"

    assert await transitions.decide(platform.generation.parts.tasks, UUID(created.job_id), act) == "closed"
    assert seen == [JobState.QUEUED, JobState.RUNNING]
    assert (await counter(platform, person))[1] == 0


async def test_decision_on_a_job_that_is_not_there_is_none(platform: Platform) -> None:
    async def act(_job: Job) -> str:
        raise AssertionError("there is nothing to decide")

    assert await transitions.decide(platform.generation.parts.tasks, new_id(), act) is None
