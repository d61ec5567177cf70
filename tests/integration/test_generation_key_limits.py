"""The limits of API keys: refused before anything is held, and exact however many jobs are submitted at once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub

from svc_common.api_keys import KeyLimits
from svc_common.clock import new_id
from svc_common.errors import Code, Reason
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.pictures import picture_bytes
from tests.factories.platform import Platform, Replica
from tests.harness_service import refusal_of

HELD = 114
"""Millicredits that a job with every default holds."""


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="studio")


def key(**limits: Any) -> KeyLimits:
    return KeyLimits(str(new_id())[-8:], **limits)


def submit(
    person: Person, limits: KeyLimits, operation: Any = None, *, replica: Replica | None = None, **fields: Any
) -> Any:
    """Creates a job by a key of a person's."""
    metadata = person.platform.identities.as_api_key(person.account_id, "generate", key=limits)
    branch = {"text_to_image": job_pb2.TextToImage(prompt="a heron", **fields)} if operation is None else operation
    request = generation_service_pb2.CreateJobRequest(request_id=str(new_id()), **branch)
    stub = GenerationServiceStub((replica or person.replica).service.public)
    return stub.CreateJob(request, metadata=metadata)


async def spent(person: Person, limits: KeyLimits) -> int:
    """Returns what the jobs of a key cost or hold, as it is counted."""
    statement = "SELECT sum(millicredits) AS sum FROM generation.key_spending WHERE account_id = $1 AND api_key_id = $2"
    (row,) = await person.platform.rows("generation", statement, person.account_id, limits.api_key_id)
    return int(row["sum"] or 0)


async def outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError:
        return str((await refusal_of(call)).reason)
    return "accepted"


@pytest.mark.parametrize("period", ["day", "month"])
async def test_hundred_jobs_at_once_spend_what_the_key_may_and_no_more(
    platform: Platform, person: Person, period: str
) -> None:
    limits = key(**{f"{period}_millicredits": 7 * HELD + HELD // 2})
    async with platform.replica() as other:
        calls = [submit(person, limits, replica=replica) for _ in range(50) for replica in (person.replica, other)]
        outcomes = Counter(await asyncio.gather(*map(outcome, calls)))

    assert outcomes == {"accepted": 7, str(Reason.API_KEY_LIMIT_EXCEEDED): 93}
    assert await spent(person, limits) == 7 * HELD
    assert await person.balance() == (str(Decimal(1000) - 7 * Decimal(HELD) / 1000), f"0.{7 * HELD:03d}")
    await Operator(platform).assert_holds_match_jobs()


async def test_refusal_names_limit_and_amounts_and_holds_nothing(person: Person) -> None:
    limits = key(day_millicredits=HELD - 1)

    refusal = await refusal_of(submit(person, limits))

    assert (refusal.reason, refusal.code) == (Reason.API_KEY_LIMIT_EXCEEDED, Code.FAILED_PRECONDITION)
    assert refusal.metadata == {"api_key_id": limits.api_key_id, "limit": "credits_a_day", "allowed": "0.113"}
    assert "0.114" in refusal.message
    assert not (await person.page()).jobs
    moved = "SELECT kind FROM payment.transactions WHERE account_id = $1 AND kind <> 'grant'"
    assert await person.platform.rows("payment", moved, person.account_id) == []


async def test_job_that_ended_counts_with_what_it_cost(person: Person, worker: WorkerClient) -> None:
    limits = key(day_millicredits=HELD + 50)
    job = await submit(person, limits)
    assert (await refusal_of(submit(person, limits))).reason is Reason.API_KEY_LIMIT_EXCEEDED

    attempt = await worker.start(job.job_id)
    await worker.complete(attempt, await worker.upload(attempt), 21)
    used = Decimal((await person.ended(job.job_id)).credits_used)

    assert await spent(person, limits) == used * 1000
    cancelled = await submit(person, limits)
    await person.cancel(cancelled.job_id)
    await person.ended(cancelled.job_id)
    assert await spent(person, limits) == used * 1000


async def test_day_and_month_begin_anew(person: Person) -> None:
    limits = key(day_millicredits=HELD, month_millicredits=2 * HELD)
    await submit(person, limits)
    today = datetime.now(UTC).date()
    earlier = today.replace(day=1) if today.day > 1 else today - timedelta(days=1)

    await _count_for(person, limits, earlier)
    await submit(person, limits)
    month = await refusal_of(submit(person, limits)) if today.day > 1 else None
    await _count_for(person, limits, today.replace(day=1) - timedelta(days=1))
    await submit(person, limits)

    assert month is None or month.reason is Reason.API_KEY_LIMIT_EXCEEDED


async def _count_for(person: Person, limits: KeyLimits, day: Any) -> None:
    """Lets what a key spent so far have been spent on another day."""
    statement = (
        "WITH gone AS (DELETE FROM generation.key_spending WHERE account_id = $1 AND api_key_id = $2 RETURNING millicredits) "
        "INSERT INTO generation.key_spending SELECT $1, $2, $3, sum(millicredits) FROM gone RETURNING 1"
    )
    assert await person.platform.rows("generation", statement, person.account_id, limits.api_key_id, day)


async def test_keys_and_people_do_not_spend_each_others_limits(person: Person) -> None:
    limits, other = key(day_millicredits=HELD), key(day_millicredits=HELD)
    await submit(person, limits)
    await submit(person, other)
    await submit(person, key())
    await person.create()
    assert (await refusal_of(submit(person, limits))).reason is Reason.API_KEY_LIMIT_EXCEEDED


async def test_repeated_request_is_answered_though_the_limit_is_reached(person: Person) -> None:
    limits = key(day_millicredits=HELD)
    metadata = person.platform.identities.as_api_key(person.account_id, "generate", key=limits)
    request = generation_service_pb2.CreateJobRequest(
        request_id="once", text_to_image=job_pb2.TextToImage(prompt="a heron")
    )
    stub = GenerationServiceStub(person.replica.service.public)
    first = await stub.CreateJob(request, metadata=metadata)
    assert await stub.CreateJob(request, metadata=metadata) == first
    assert await spent(person, limits) == HELD


async def test_model_that_is_not_among_the_keys_is_refused_also_as_the_default(person: Person) -> None:
    limits = key(model_ids=frozenset({"sdxl", "flux"}))
    for fields in ({}, {"model_id": "pingvas-tiny"}):
        refusal = await refusal_of(submit(person, limits, **fields))
        assert refusal.metadata["limit"] == "model_ids"
        assert refusal.metadata["allowed"] == "flux, sdxl"
        assert "pingvas-tiny" in refusal.message
    await submit(person, key(model_ids=frozenset({"pingvas-tiny"})))


async def test_picture_that_is_too_large_for_the_key_is_refused_also_by_upscaling(person: Person) -> None:
    limits = key(largest_side_px=128)
    await submit(person, limits, width_px=128, height_px=64)
    refusal = await refusal_of(submit(person, limits, width_px=64, height_px=136))
    assert (refusal.metadata["limit"], refusal.metadata["allowed"]) == ("largest_side_px", "128")
    assert "136" in refusal.message
    source = await person.upload(picture_bytes(64, 64))
    for factor, fits in ((2, True), (4, False)):
        upscaling = {"upscale": job_pb2.Upscale(source=source, scale_factor=factor)}
        assert (await outcome(submit(person, limits, upscaling)) == "accepted") is fits


async def test_price_is_refused_for_jobs_that_the_key_may_not_make(person: Person) -> None:
    limits = key(model_ids=frozenset({"sdxl"}))
    metadata = person.platform.identities.as_api_key(person.account_id, "read", "generate", key=limits)
    request = generation_service_pb2.QuoteJobRequest(text_to_image=job_pb2.TextToImage(prompt="a heron"))
    stub = GenerationServiceStub(person.replica.service.public)
    assert (await refusal_of(stub.QuoteJob(request, metadata=metadata))).reason is Reason.API_KEY_LIMIT_EXCEEDED
