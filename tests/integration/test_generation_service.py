"""svc_generation as its users see it: prices, acceptance, replays, refusals, lists and cancellation, on real neighbours."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform
from tests.harness_service import refusal_of

QUOTED, HELD = "0.076", "0.114"
"""Of a job with every default: 64 x 64 pixels, 10 steps, at 380.5 millicredits a megapixel-step and 60 fixed."""


async def outcomes(*calls: Any) -> Counter[str]:
    """Makes calls at the same time and counts how they ended."""
    return Counter(await asyncio.gather(*map(_outcome, calls)))


async def _outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError:
        return str((await refusal_of(call)).reason)
    return "accepted"


async def test_quote_prices_a_request_with_its_defaults_and_holds_nothing(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)

    quote = await person.quote()

    assert (quote.credits, quote.credits_held) == (QUOTED, HELD)
    assert await person.balance() == ("1.000", "0.000")
    assert not (await person.page()).jobs


async def test_quote_needs_no_credits(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=0)
    assert (await person.quote(step_count=20)).credits == "0.092"


async def test_created_job_has_every_default_filled_in_and_its_price_held(platform: Platform) -> None:
    person, before = await Person.arrive(platform, credits_held=1000), datetime.now(UTC)

    job = await person.create("a heron", negative_prompt="fog")

    made = job.text_to_image
    assert (made.prompt, made.negative_prompt, made.model_id) == ("a heron", "fog", "pingvas-tiny")
    assert (made.width_px, made.height_px, made.step_count, made.image_count) == (64, 64, 10, 1)
    assert (made.guidance_scale, made.scheduler) == (7.5, "euler")
    assert made.HasField("seed")
    assert (job.state, job.tier, job.attempt) == (job_pb2.JOB_STATE_QUEUED, tier_pb2.TIER_FREE, 0)
    assert (job.credits_quoted, job.credits_held, job.credits_used) == (QUOTED, HELD, "")
    assert before <= job.create_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert await person.balance() == ("0.886", "0.114")


async def test_seeds_are_drawn_anew_for_each_job_and_fit_into_json(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="starter")
    jobs = await asyncio.gather(*(person.create() for _ in range(20)))
    seeds = {job.text_to_image.seed for job in jobs}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**53 for seed in seeds)


@pytest.mark.parametrize(("seed", "count"), [(2**53 - 1, 1), (2**53 - 2, 2), (2**53 - 8, 8)])
async def test_last_picture_of_a_job_has_at_most_the_largest_seed(platform: Platform, seed: int, count: int) -> None:
    person = await Person.arrive(platform, tier="enterprise")
    assert (await person.create(seed=seed, image_count=count)).text_to_image.seed == seed


@pytest.mark.parametrize(
    ("seed", "count", "limit"),
    [
        (2**53 - 1, 2, "at most 9007199254740990 for 2 pictures"),
        (2**53 - 7, 8, "at most 9007199254740984 for 8 pictures"),
        (2**53, 1, "0 to 9007199254740991 (2^53 - 1)"),
        (-1, 1, "leave it out to have one drawn"),
        (2**63 - 1, 1, "modulo 2^53"),
    ],
)
async def test_seed_that_no_picture_may_have_is_refused_before_anything_is_held(
    platform: Platform, seed: int, count: int, limit: str
) -> None:
    person = await Person.arrive(platform, tier="enterprise", credits_held=1000)
    refusal = await refusal_of(person.create(seed=seed, image_count=count))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["text_to_image.seed"]
    assert limit in refusal.message
    assert await person.balance() == ("1.000", "0.000")


async def test_parameters_that_are_given_are_kept_even_when_they_are_zero(platform: Platform) -> None:
    person = await Person.arrive(platform)
    given: dict[str, Any] = {
        "model_id": "pingvas-tiny",
        "width_px": 128,
        "height_px": 72,
        "step_count": 3,
        "guidance_scale": 0.0,
        "seed": 0,
        "image_count": 1,
        "scheduler": "ddim",
    }
    made = (await person.create("a heron", **given)).text_to_image
    assert made == job_pb2.TextToImage(prompt="a heron", **given)


async def test_job_is_read_back_as_it_was_accepted(platform: Platform) -> None:
    person = await Person.arrive(platform)
    job = await person.create()
    found = await person.get(job.job_id)
    assert found.event_id == "1"
    # The estimate is made anew at each look; the first event has its number only when the row is there.
    for message in (job, found):
        for field in ("event_id", "queue_position", "estimated_wait_seconds", "estimated_wait_p90_seconds"):
            message.ClearField(field)
    assert found == job


async def test_hold_is_what_the_balance_allows_when_it_covers_the_quote(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=80)
    job = await person.create()
    assert (job.credits_quoted, job.credits_held) == (QUOTED, "0.080")
    assert await person.balance() == ("0.000", "0.080")


async def test_job_without_enough_credits_is_refused_and_nothing_held(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=75)

    refusal = await refusal_of(person.create())

    assert refusal.reason is Reason.INSUFFICIENT_CREDITS
    assert (refusal.metadata["balance"], refusal.metadata["price"]) == ("0.075", QUOTED)
    assert await person.balance() == ("0.075", "0.000")
    assert not (await person.page()).jobs


async def test_refused_request_is_tried_anew_when_the_balance_has_changed(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=75)
    refusals = [await refusal_of(person.create(request_id="once")) for _ in range(2)]
    assert [(each.reason, each.metadata["balance"]) for each in refusals] == [
        (Reason.INSUFFICIENT_CREDITS, "0.075")
    ] * 2

    await Operator(platform).grant(person.account_id, 25)
    job = await person.create(request_id="once")

    assert (await person.create(request_id="once")).job_id == job.job_id
    assert await person.balance() == ("0.000", job.credits_held)


async def test_job_of_an_account_whose_payment_is_overdue_is_refused_and_nothing_held(platform: Platform) -> None:
    person = await Person.arrive(platform)
    await platform.rows(
        "payment",
        "INSERT INTO payment.subscriptions (provider, subscription_id, account_id, plan_id, status, update_time) "
        "VALUES ('lemon-squeezy', '7', $1, 'pro', 'unpaid', now()) RETURNING 1",
        person.account_id,
    )

    refusal = await refusal_of(person.create())

    assert refusal.reason is Reason.PAYMENT_OVERDUE
    assert await person.balance() == ("1000.000", "0.000")


async def test_parallel_jobs_are_accepted_as_far_as_the_credits_reach(platform: Platform) -> None:
    # The hold shrinks to what is left, so 10 whole holds and one of the quote alone.
    person = await Person.arrive(platform, credits_held=10 * 114 + 76, tier="starter")
    ended = await outcomes(*(person.create() for _ in range(30)))
    assert ended == {"accepted": 11, "INSUFFICIENT_CREDITS": 19}
    assert await person.balance() == ("0.000", "1.216")
    assert len((await person.page(page_size=200)).jobs) == 11
    await Operator(platform).assert_holds_match_jobs()


async def test_fifty_parallel_calls_with_one_request_id_make_one_job(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)

    answers = await asyncio.gather(*(person.create(request_id="once") for _ in range(50)))

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert [job.job_id for job in (await person.page()).jobs] == [answers[0].job_id]
    assert await person.balance() == ("0.886", HELD)
    await Operator(platform).assert_holds_match_jobs()


async def test_one_request_id_at_two_replicas_makes_one_job(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000 * 114)
    async with platform.replica() as other:
        callers = [person, person.at(other)] * 25
        answers = await asyncio.gather(*(caller.create(request_id="once") for caller in callers))

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert len((await person.page()).jobs) == 1
    assert (await person.balance())[1] == HELD
    await Operator(platform).assert_holds_match_jobs()


async def test_replay_answers_with_the_first_answer_after_the_job_has_moved_on(platform: Platform) -> None:
    person = await Person.arrive(platform)
    first = await person.create(request_id="once")
    await WorkerClient(platform).start(first.job_id)
    assert (await person.get(first.job_id)).state == job_pb2.JOB_STATE_RUNNING
    assert await person.create(request_id="once") == first


async def test_idempotency_key_of_the_header_is_the_request_id(platform: Platform) -> None:
    person = await Person.arrive(platform)
    first = await person.create(header="once")
    assert await person.create(header="once") == first
    assert await person.create(request_id="once") == first
    assert (await person.create(request_id="another", header="once")).job_id != first.job_id


async def test_request_id_is_refused_with_another_body(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    await person.create(request_id="once")

    refusal = await refusal_of(person.create("another prompt", request_id="once"))

    assert (refusal.reason, refusal.metadata) == (Reason.IDEMPOTENCY_KEY_REUSED, {"request_id": "once"})
    assert await person.balance() == ("0.886", HELD)


async def test_request_id_belongs_to_its_account(platform: Platform) -> None:
    one, other = await Person.arrive(platform), await Person.arrive(platform)
    first, second = await one.create(request_id="once"), await other.create("another", request_id="once")
    assert first.job_id != second.job_id


async def test_jobs_without_a_request_id_are_all_different(platform: Platform) -> None:
    person = await Person.arrive(platform)
    jobs = await asyncio.gather(*(person.create() for _ in range(3)))
    assert len({job.job_id for job in jobs}) == 3


async def test_request_id_of_the_header_may_not_be_too_long(platform: Platform) -> None:
    person = await Person.arrive(platform)
    refusal = await refusal_of(person.create(header="x" * 101))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["idempotency-key"]


async def test_queue_takes_exactly_as_many_as_the_tier_lets_wait(platform: Platform) -> None:
    person = await Person.arrive(platform)
    calls = [person.create() for _ in range(30)]

    assert await outcomes(*calls) == {"accepted": 5, "QUEUE_FULL": 25}

    refusal = await refusal_of(person.create())
    assert (refusal.reason, refusal.metadata) == (Reason.QUEUE_FULL, {"tier": "free", "limit": "5"})
    assert refusal.retry_after is not None
    assert refusal.retry_after.total_seconds() > 0
    assert (await person.queue_status()).own_waiting == len((await person.page()).jobs) == 5
    assert (await person.balance())[1] == str(5 * Decimal(HELD))
    await Operator(platform).assert_holds_match_jobs()


async def test_queue_has_a_place_again_when_a_job_has_started(platform: Platform) -> None:
    person = await Person.arrive(platform)
    jobs = [await person.create() for _ in range(5)]
    assert (await refusal_of(person.create())).reason is Reason.QUEUE_FULL
    await WorkerClient(platform).start(jobs[0].job_id)
    await person.create()
    assert (await refusal_of(person.create())).reason is Reason.QUEUE_FULL


@pytest.mark.parametrize("call", ["quote", "create"])
async def test_request_above_the_tier_names_each_field_that_is(platform: Platform, call: str) -> None:
    person = await Person.arrive(platform, credits_held=1000)

    refusal = await refusal_of(getattr(person, call)(width_px=1024, height_px=776, step_count=31, image_count=2))

    assert refusal.reason is Reason.TIER_LIMIT_EXCEEDED
    assert refusal.metadata == {"tier": "free", "limit": "768", "field": "text_to_image.width_px"}
    fields = ("width_px", "height_px", "step_count", "image_count")
    assert [violation.field for violation in refusal.violations] == [f"text_to_image.{field}" for field in fields]
    assert await person.balance() == ("1.000", "0.000")


async def test_higher_tier_allows_what_a_lower_one_refuses(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="pro")
    job = await person.create(model_id="xl", width_px=1536, step_count=100, image_count=4)
    assert (job.tier, job.text_to_image.width_px) == (tier_pb2.TIER_PRO, 1536)


@pytest.mark.parametrize(("model_id", "minimum_tier"), [("xl", "free"), ("tiny-special", "studio")])
async def test_model_that_the_tier_does_not_reach_is_refused(
    platform: Platform, model_id: str, minimum_tier: str
) -> None:
    refusal = await refusal_of((await Person.arrive(platform)).create(model_id=model_id))
    assert refusal.reason is Reason.MODEL_NOT_IN_TIER
    assert refusal.metadata == {"model_id": model_id, "tier": "free", "minimum_tier": minimum_tier}


async def test_unknown_model_is_refused(platform: Platform) -> None:
    refusal = await refusal_of((await Person.arrive(platform)).create(model_id="no-such-model"))
    assert (refusal.reason, refusal.metadata) == (Reason.MODEL_NOT_FOUND, {"model_id": "no-such-model"})


async def test_unknown_scheduler_is_refused_with_those_that_there_are(platform: Platform) -> None:
    refusal = await refusal_of((await Person.arrive(platform)).create(scheduler="unheard-of"))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.violations] == ["text_to_image.scheduler"]
    assert "euler, ddim" in refusal.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", " \n"),
        ("prompt", "x" * 2001),
        ("negative_prompt", "x" * 2001),
        ("width_px", 65),
        ("width_px", 56),
        ("height_px", 4104),
        ("step_count", -1),
        ("step_count", 151),
        ("guidance_scale", float("nan")),
        ("guidance_scale", 30.5),
        ("seed", -1),
        ("seed", 2**53),
        ("image_count", 9),
    ],
)
async def test_invalid_field_is_named(platform: Platform, field: str, value: Any) -> None:
    refusal = await refusal_of((await Person.arrive(platform)).create(**{"prompt": "a heron", field: value}))
    assert refusal.reason is Reason.INVALID_FIELD
    # An empty prompt breaks two rules.
    assert {violation.field for violation in refusal.violations} == {f"text_to_image.{field}"}


async def test_list_walks_all_jobs_newest_first_while_new_ones_come(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="starter")
    made = [(await person.create()).job_id for _ in range(11)]

    seen, page_token = [], ""
    while True:
        page = await person.page(page_size=4, page_token=page_token)
        seen += [job.job_id for job in page.jobs]
        await person.create()
        page_token = page.next_page_token
        if not page_token:
            break

    assert seen == made[::-1]


async def test_list_holds_the_wanted_states_only(platform: Platform) -> None:
    person = await Person.arrive(platform)
    waiting, running, cancelled = [(await person.create()).job_id for _ in range(3)]
    await WorkerClient(platform).start(running)
    await person.cancel(cancelled)

    async def ids(*states: str) -> set[str]:
        return {job.job_id for job in (await person.page(states=[f"JOB_STATE_{state}" for state in states])).jobs}

    assert await ids() == {waiting, running, cancelled}
    assert await ids("QUEUED") == {waiting}
    assert await ids("RUNNING", "CANCELLED") == {running, cancelled}
    assert await ids("FAILED") == set()


async def test_page_token_of_another_account_or_filter_is_refused(platform: Platform) -> None:
    person, stranger = await Person.arrive(platform), await Person.arrive(platform)
    for _ in range(2):
        await person.create()
    token = (await person.page(page_size=1)).next_page_token

    assert (await refusal_of(stranger.page(page_token=token))).reason is Reason.PAGE_TOKEN_INVALID
    filtered = person.page(page_token=token, states=["JOB_STATE_QUEUED"])
    assert (await refusal_of(filtered)).reason is Reason.PAGE_TOKEN_INVALID


@pytest.mark.parametrize("method", ["get", "cancel", "watch"])
async def test_foreign_job_is_as_unknown_as_one_that_never_was(platform: Platform, method: str) -> None:
    person, stranger = await Person.arrive(platform), await Person.arrive(platform)
    job_id, unknown = (await person.create()).job_id, str(new_id())

    async def refusal(missing: str) -> Any:
        call = getattr(stranger, method)(missing)
        return await refusal_of(call.read() if method == "watch" else call)

    foreign, missing = await refusal(job_id), await refusal(unknown)
    assert foreign.reason is missing.reason is Reason.JOB_NOT_FOUND
    assert foreign.message == missing.message
    assert (await person.get(job_id)).state == job_pb2.JOB_STATE_QUEUED
    assert not (await stranger.page()).jobs


async def test_waiting_job_is_cancelled_at_once_and_costs_nothing(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    job_id = (await person.create()).job_id

    cancelled = await person.cancel(job_id)

    assert (cancelled.state, cancelled.credits_used) == (job_pb2.JOB_STATE_CANCELLED, "0.000")
    assert cancelled.HasField("end_time")
    assert await person.balance() == ("1.000", "0.000")
    assert (await person.queue_status()).own_waiting == 0
    again = await person.cancel(job_id)
    assert again == cancelled
    refusal = await refusal_of(WorkerClient(platform).start(job_id))
    assert (refusal.reason, refusal.metadata["state"]) == (Reason.JOB_NOT_RUNNABLE, "JOB_STATE_CANCELLED")


async def test_parallel_cancellations_release_once(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    job_id = (await person.create()).job_id
    answers = await asyncio.gather(*(person.cancel(job_id) for _ in range(10)))
    assert {answer.job_id for answer in answers} == {job_id}
    assert (await person.ended(job_id)).state == job_pb2.JOB_STATE_CANCELLED
    assert await person.balance() == ("1.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_job_that_was_completed_can_not_be_cancelled(platform: Platform) -> None:
    person, worker = await Person.arrive(platform), WorkerClient(platform)
    job_id = (await person.create()).job_id
    attempt = await worker.start(job_id)
    await worker.complete(attempt, await worker.upload(attempt))

    refusal = await refusal_of(person.cancel(job_id))

    assert refusal.reason is Reason.JOB_ALREADY_ENDED
    assert refusal.metadata == {"job_id": job_id, "state": "JOB_STATE_COMPLETED"}


async def test_queue_status_counts_own_jobs_and_those_ahead(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="enterprise")
    first = await person.queue_status()
    jobs = [await person.create() for _ in range(3)]
    await WorkerClient(platform).start(jobs[0].job_id)

    status = await person.queue_status()

    assert (status.tier, status.own_waiting, status.own_running) == (tier_pb2.TIER_ENTERPRISE, 2, 1)
    # Nobody has claimed them in Redis, so all three wait there.
    assert status.waiting_ahead == first.waiting_ahead + 3
    assert 0 <= status.estimated_wait_seconds <= status.estimated_wait_p90_seconds


async def test_positions_follow_the_order_of_the_queue(platform: Platform) -> None:
    person = await Person.arrive(platform, tier="studio")
    jobs = [await person.create() for _ in range(3)]
    positions = [job.queue_position for job in jobs]
    assert positions == [positions[0] + place for place in range(3)]
    await person.cancel(jobs[0].job_id)
    assert (await person.get(jobs[2].job_id)).queue_position == positions[1]


async def test_new_tier_counts_for_the_next_job(platform: Platform) -> None:
    person = await Person.arrive(platform)
    assert (await person.create()).tier == tier_pb2.TIER_FREE
    await Operator(platform).set_tier(person.account_id, "pro")

    async with asyncio.timeout(5):
        while (await person.queue_status()).tier != tier_pb2.TIER_PRO:  # noqa: ASYNC110 - told by another service
            await asyncio.sleep(0.02)
    assert (await person.create(model_id="xl")).tier == tier_pb2.TIER_PRO


async def test_anonymous_and_internal_callers_are_refused(platform: Platform) -> None:
    person = await Person.arrive(platform)
    jobs = person._jobs
    request = generation_service_pb2.GetQueueStatusRequest()
    assert (await refusal_of(jobs.GetQueueStatus(request))).reason is Reason.CREDENTIALS_MISSING
    as_worker = platform.identities.as_service("gpu_worker")
    assert (await refusal_of(jobs.GetQueueStatus(request, metadata=as_worker))).reason is Reason.TOKEN_INVALID
