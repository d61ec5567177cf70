"""What an account's jobs have used, by day and model: exact to the millicredit, and its own only."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pingvas.generation.v1 import job_pb2, usage_service_pb2
from pingvas.generation.v1.usage_service_pb2_grpc import UsageServiceStub
from pingvas.models.v1 import model_pb2

from svc_common.errors import Reason
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform
from tests.harness_service import refusal_of


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform)


def usage(person: Person, **request: Any) -> Any:
    stub = UsageServiceStub(person.replica.service.public)
    return stub.GetMyUsage(usage_service_pb2.GetMyUsageRequest(**request), metadata=person.metadata)


async def complete(person: Person, worker: WorkerClient, gpu_milliseconds: int) -> job_pb2.Job:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    await worker.complete(attempt, await worker.upload(attempt), gpu_milliseconds)
    return await person.ended(job.job_id)


async def end_at(person: Person, job: job_pb2.Job, moment: datetime) -> None:
    """Lets a job have ended at another moment."""
    statement = "UPDATE generation.jobs SET end_time = $1 WHERE job_id = $2 RETURNING 1"
    assert await person.platform.rows("generation", statement, moment, job.job_id)


async def test_account_without_jobs_has_used_nothing(person: Person) -> None:
    answer = await usage(person)
    assert (answer.credits, answer.job_count, answer.image_count, list(answer.models)) == ("0.000", 0, 0, [])
    assert not answer.HasField("median_wait_seconds")


async def test_usage_is_what_the_jobs_that_ended_have_cost(person: Person, worker: WorkerClient) -> None:
    jobs = [await complete(person, worker, 21), await complete(person, worker, 40)]
    cancelled = await person.cancel((await person.create()).job_id)
    await person.ended(cancelled.job_id)
    await person.create()  # waits, and isn't counted

    answer = await usage(person)

    spent = sum(Decimal(job.credits_used) for job in jobs)
    assert spent > 0
    assert (Decimal(answer.credits), answer.job_count, answer.image_count) == (spent, 3, 2)
    (row,) = answer.models
    assert (row.day, row.model_id) == (answer.last_day, "pingvas-tiny")
    assert (row.credits, row.job_count, row.image_count) == (answer.credits, 3, 2)


async def test_usage_tells_how_jobs_ended_and_how_long_they_waited(person: Person, worker: WorkerClient) -> None:
    jobs = [await complete(person, worker, 21) for _ in range(3)]
    for job, seconds in zip(jobs, (2, 4, 14), strict=True):
        statement = "UPDATE generation.jobs SET start_time = create_time + $1::interval WHERE job_id = $2 RETURNING 1"
        assert await person.platform.rows("generation", statement, timedelta(seconds=seconds), job.job_id)
    cancelled = await person.cancel((await person.create()).job_id)
    await person.ended(cancelled.job_id)

    answer = await usage(person)

    assert (answer.completed_count, answer.failed_count, answer.cancelled_count) == (3, 0, 1)
    # The one that nobody began with isn't among them. Nine tenths of the way from 2 to 14 lie between 4 and 14.
    assert (answer.median_wait_seconds, answer.p90_wait_seconds) == (4, 12)
    (of_kind,) = answer.operations
    assert of_kind.operation == model_pb2.OPERATION_TEXT_TO_IMAGE
    assert (of_kind.credits, of_kind.job_count, of_kind.image_count) == (answer.credits, 4, 3)


async def test_job_counts_on_the_day_of_its_end_by_the_callers_clock(person: Person, worker: WorkerClient) -> None:
    job = await complete(person, worker, 30)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    late = datetime.combine(yesterday, datetime.min.time(), UTC) + timedelta(hours=20)
    await end_at(person, job, late)

    by_utc, in_seoul = await usage(person, day_count=5), await usage(person, day_count=5, utc_offset_minutes=540)

    assert [row.day for row in by_utc.models] == [yesterday.isoformat()]
    assert [row.day for row in in_seoul.models] == [(yesterday + timedelta(days=1)).isoformat()]


async def test_first_day_begins_at_midnight_and_what_lies_before_is_left_out(
    person: Person, worker: WorkerClient
) -> None:
    earlier, later = await complete(person, worker, 30), await complete(person, worker, 50)
    asked = await usage(person, day_count=7)
    midnight = datetime.fromisoformat(asked.first_day).replace(tzinfo=UTC)
    await end_at(person, earlier, midnight - timedelta(microseconds=1))
    await end_at(person, later, midnight)

    answer = await usage(person, day_count=7)

    assert [(row.day, row.credits) for row in answer.models] == [(asked.first_day, later.credits_used)]
    assert (datetime.fromisoformat(answer.last_day) - datetime.fromisoformat(answer.first_day)).days == 6


async def test_usage_of_others_is_not_shown(platform: Platform, person: Person, worker: WorkerClient) -> None:
    await complete(person, worker, 30)
    stranger = await Person.arrive(platform)
    assert not (await usage(stranger)).models


@pytest.mark.parametrize("request_", [{"day_count": 93}, {"day_count": -1}, {"utc_offset_minutes": 841}])
async def test_span_beyond_the_limits_is_refused(person: Person, request_: dict[str, int]) -> None:
    refusal = await refusal_of(usage(person, **request_))
    assert (refusal.reason, [each.field for each in refusal.violations]) == (Reason.INVALID_FIELD, list(request_))
