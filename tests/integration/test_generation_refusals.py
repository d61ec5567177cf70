"""Jobs that some step of closing refuses for good: each ends, costs nothing, and leaves nothing behind."""

import itertools
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import grpc.aio
import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2
from sqlalchemy import update

from svc_common.clock import now as real_now
from svc_generation.store import queries
from svc_generation.store.models import Job
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform, backdate_start
from tests.harness_postgres import until

SET_OPERATION = "UPDATE generation.jobs SET operation = $2 WHERE job_id = $1"
POISON = {
    "refused": "UPDATE generation.jobs SET images = images || images WHERE job_id = $1",
    "unreadable": "UPDATE generation.jobs SET images = jsonb_set(images, '{0,unknown}', '1') WHERE job_id = $1",
    "invalid": "UPDATE generation.jobs SET images = jsonb_set(images, '{0,image_id}', '\"none\"') WHERE job_id = $1",
}
FINALIZE_TIME = "SELECT finalize_time FROM generation.jobs WHERE job_id = $1"


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=1000, tier="starter")


async def refuse(platform: Platform, table: str, job_id: str, condition: str) -> None:
    """Lets the database refuse changes of a job's row, or of its hold's, that fulfil a condition."""
    area, _, name = table.partition(".")
    key = "job_id" if area == "generation" else "hold_id"
    trigger = f"refuse_{UUID(job_id).hex}"
    await platform.rows(
        area,
        f"CREATE FUNCTION {area}.{trigger}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE check_violation USING MESSAGE = 'refused by the test'; END $$",
    )
    await platform.rows(
        area,
        f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {area}.{name} FOR EACH ROW "
        f"WHEN (NEW.{key} = '{job_id}' AND {condition}) EXECUTE FUNCTION {area}.{trigger}()",
    )


async def sweep_until_ended(platform: Platform, person: Person, job_id: str) -> int:
    """Sweeps with a clock that runs ahead of every pause; returns after how many rounds the job had ended."""
    rounds = itertools.count(1)
    done = 0
    hours = timedelta(hours=1)
    for done in rounds:
        await platform.generation.sweeper(now=lambda: real_now() + hours).finish_interrupted()
        if (await person.get(job_id)).HasField("end_time"):
            return done
        assert done < 30, "the job doesn't end"
    return done


async def assert_failed_without_a_trace(platform: Platform, person: Person, job_id: str) -> None:
    failed = await person.get(job_id)
    assert (failed.state, failed.credits_used) == (job_pb2.JOB_STATE_FAILED, "0.000")
    assert failed.failure.reason == error_reason_pb2.ERROR_REASON_STORAGE_FAILED
    assert "Nothing was charged" in failed.failure.message
    assert await person.balance() == ("1.000", "0.000")
    assert await person.pictures(job_id) == []
    await Operator(platform).assert_holds_match_jobs()


async def test_gallery_that_refuses_the_prompt_lets_the_job_fail_at_once(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    """As of a job that was accepted before the contract refused such text."""
    job = await person.create()
    poisoned = job_pb2.TextToImage()
    poisoned.CopyFrom(job.text_to_image)
    poisoned.prompt = "a\0b"
    await platform.rows("generation", SET_OPERATION, UUID(job.job_id), poisoned.SerializeToString())
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)

    answer = await worker.complete(attempt, images, 50)

    assert answer.state == job_pb2.JOB_STATE_FAILED
    await assert_failed_without_a_trace(platform, person, job.job_id)

    async def are_gone() -> bool:
        await platform.generation.sweeper().delete_orphans()
        return await worker.objects(attempt) == []

    await until(are_gone)


@pytest.mark.parametrize("images", POISON)
async def test_stored_pictures_that_can_not_be_imported_let_the_job_fail(
    platform: Platform, person: Person, worker: WorkerClient, images: str
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    report = await worker.upload(attempt)
    async with platform.without("gallery"):
        await worker.complete(attempt, report, 50)
        await platform.rows("generation", POISON[images], UUID(job.job_id))

    await sweep_until_ended(platform, person, job.job_id)

    await assert_failed_without_a_trace(platform, person, job.job_id)


async def test_ledger_that_refuses_to_settle_lets_the_job_fail_and_takes_its_pictures_back(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    await refuse(platform, "payment.holds", job.job_id, "NEW.settled > 0")
    attempt = await worker.start(job.job_id)
    await backdate_start(platform, job.job_id, 60)

    answer = await worker.complete(attempt, await worker.upload(attempt), 50)
    assert answer.state == job_pb2.JOB_STATE_FINALIZING
    assert len(await person.pictures(job.job_id)) == 1
    (row,) = await platform.rows("generation", FINALIZE_TIME, UUID(job.job_id))
    assert row["finalize_time"] > real_now(), "the sweep waits"

    rounds = await sweep_until_ended(platform, person, job.job_id)

    assert rounds <= 8
    await assert_failed_without_a_trace(platform, person, job.job_id)


async def test_ledger_that_refuses_to_settle_a_cancelled_job_lets_it_fail(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    await refuse(platform, "payment.holds", job.job_id, "NEW.settled > 0")
    attempt = await worker.start(job.job_id)
    await backdate_start(platform, job.job_id, 60)
    await person.cancel(job.job_id)
    assert (await worker.fail(attempt, None, 50)).state == job_pb2.JOB_STATE_FINALIZING

    await sweep_until_ended(platform, person, job.job_id)

    await assert_failed_without_a_trace(platform, person, job.job_id)


async def test_ledger_that_refuses_to_release_does_not_keep_a_cancelled_job_from_its_end(
    platform: Platform, person: Person
) -> None:
    job = await person.create()
    await refuse(platform, "payment.holds", job.job_id, "NEW.state <> 'held'")
    # The answer may tell of the fault; what counts here is the job's end.
    with suppress(grpc.aio.AioRpcError):
        await person.cancel(job.job_id)

    await sweep_until_ended(platform, person, job.job_id)

    ended = await person.get(job.job_id)
    assert (ended.state, ended.credits_used) == (job_pb2.JOB_STATE_FAILED, "0.000")
    await platform.rows("payment", f"DROP TRIGGER refuse_{UUID(job.job_id).hex} ON payment.holds")
    await platform.rows("payment", "SELECT payment.close_hold($1, $2, 0)", person.account_id, UUID(job.job_id))
    assert await person.balance() == ("1.000", "0.000")


@pytest.mark.parametrize("outcome", [4, 6])
async def test_own_store_that_refuses_the_end_lets_the_job_fail_and_say_what_was_settled(
    platform: Platform, person: Person, worker: WorkerClient, outcome: int
) -> None:
    job = await person.create()
    await refuse(platform, "generation.jobs", job.job_id, f"NEW.state = {outcome}")
    attempt = await worker.start(job.job_id)
    await backdate_start(platform, job.job_id, 60)
    if outcome == 4:
        await worker.complete(attempt, await worker.upload(attempt), 50)
    else:
        await worker.fail(attempt, None, 50)

    await sweep_until_ended(platform, person, job.job_id)

    failed = await person.get(job.job_id)
    assert (failed.state, failed.credits_used) == (job_pb2.JOB_STATE_FAILED, "0.050")
    assert await person.balance() == ("0.950", "0.000")
    assert await person.pictures(job.job_id) == []
    await Operator(platform).assert_holds_match_jobs()


async def test_hold_that_is_smaller_in_the_row_bills_no_more_than_the_row_can_record(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    statement = "UPDATE generation.jobs SET held_millicredits = 20 WHERE job_id = $1"
    await platform.rows("generation", statement, UUID(job.job_id))
    attempt = await worker.start(job.job_id)
    await backdate_start(platform, job.job_id, 60)

    await worker.complete(attempt, await worker.upload(attempt), 50)

    done = await person.ended(job.job_id)
    assert (done.state, done.credits_used) == (job_pb2.JOB_STATE_COMPLETED, "0.020")
    assert await person.balance() == ("0.980", "0.000")


async def test_jobs_that_have_waited_longest_are_taken_up_first(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    jobs = [await person.create() for _ in range(3)]
    attempts = [await worker.start(job.job_id) for job in jobs]
    reports = [await worker.upload(attempt) for attempt in attempts]
    async with platform.without("gallery"):
        for attempt, report in zip(attempts, reports, strict=True):
            await worker.complete(attempt, report)
        # In one transaction and without the gallery: the service's own sweep must neither complete nor touch them.
        async with platform.generation.parts.tasks.transaction() as session:
            for job, days in zip(jobs, (100, 300, 200), strict=True):
                waiting = update(Job).where(Job.job_id == UUID(job.job_id))
                await session.execute(waiting.values(finalize_time=real_now() - timedelta(days=days)))
            found = await queries.list_stuck(session, real_now() - timedelta(days=50), 2)

    assert [str(job_id) for job_id in found] == [jobs[1].job_id, jobs[2].job_id]
    for job in jobs:
        await sweep_until_ended(platform, person, job.job_id)
