"""The workers' service through its real stub: attempts, fences, reports and prices."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2
from pingvas.worker.v1 import worker_service_pb2

from svc_common.clock import new_id
from svc_common.clock import now as real_now
from svc_common.errors import Reason
from tests.factories.actors import Operator, Person, WorkerClient, picture, reported
from tests.factories.platform import Platform, backdate_start
from tests.harness_service import refusal_of

ATTEMPTS = "SELECT outcome FROM generation.attempts WHERE job_id = $1 ORDER BY attempt"
COMPLETED, FAILED, CANCELLED, LOST, RETURNED = 2, 3, 4, 5, 6


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=1000, tier="starter")


async def outcomes(platform: Platform, job_id: str) -> list[int]:
    return [row["outcome"] for row in await platform.rows("generation", ATTEMPTS, UUID(job_id))]


async def test_attempt_holds_all_that_is_needed_to_run_the_job(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create(image_count=2, seed=7)

    attempt = await worker.start(job.job_id)

    assert (attempt.job_id, attempt.account_id, attempt.attempt) == (job.job_id, str(person.account_id), 1)
    assert attempt.text_to_image == job.text_to_image
    assert attempt.model.model.model_id == "pingvas-tiny"
    assert {file.path: file.sha256 for file in attempt.model.files} == {
        "unet/weights.safetensors": "0a" * 32,
        "model_index.json": "1b" * 32,
    }
    assert attempt.event_sequence == 2
    assert len({slot.image_id for slot in attempt.slots}) == 2
    running = await person.get(job.job_id)
    assert (running.state, running.attempt) == (job_pb2.JOB_STATE_RUNNING, 1)
    assert running.HasField("start_time")


async def test_repeated_start_with_the_same_claim_returns_the_same_attempt(
    person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    first, *others = await asyncio.gather(*(worker.start(job.job_id, "worker-0:5") for _ in range(10)))
    assert {attempt.attempt for attempt in (first, *others)} == {1}
    assert {attempt.slots[0].image_id for attempt in (first, *others)} == {first.slots[0].image_id}
    assert (await person.queue_status()).own_waiting == 0


async def test_later_claim_takes_the_job_over_and_the_first_is_not_heard_any_more(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    lost = await worker.start(job.job_id, "worker-0:5")
    images = await worker.upload(lost)
    winner = await worker.start(job.job_id, "worker-1:6")
    assert winner.attempt == 2
    assert winner.slots[0].image_id != lost.slots[0].image_id

    for late in (worker.complete(lost, images), worker.fail(lost, Reason.OUT_OF_MEMORY), worker.give_back(lost)):
        refusal = await refusal_of(late)
        assert refusal.reason is Reason.ATTEMPT_FENCED
        assert refusal.metadata == {"job_id": job.job_id, "attempt": "1", "current_attempt": "2"}

    answer = await worker.complete(winner, await worker.upload(winner))
    assert answer.state == job_pb2.JOB_STATE_COMPLETED
    assert await outcomes(platform, job.job_id) == [LOST, COMPLETED]
    assert [image.image_id for image in (await person.get(job.job_id)).images] == [winner.slots[0].image_id]
    await Operator(platform).assert_holds_match_jobs()


async def test_claim_older_than_the_running_one_does_not_take_the_job_back(
    person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    await worker.start(job.job_id, "worker-1:6")
    refusal = await refusal_of(worker.start(job.job_id, "worker-0:5"))
    assert (refusal.reason, refusal.metadata["state"]) == (Reason.JOB_NOT_RUNNABLE, "JOB_STATE_RUNNING")
    assert (await person.get(job.job_id)).attempt == 1


async def test_job_fails_when_three_attempts_have_lost_their_worker(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    for fence in (1, 2, 3):
        await worker.start(job.job_id, f"worker-0:{fence}")

    refusal = await refusal_of(worker.start(job.job_id, "worker-0:4"))

    assert (refusal.reason, refusal.metadata["state"]) == (Reason.JOB_NOT_RUNNABLE, "JOB_STATE_FAILED")
    failed = await person.get(job.job_id)
    assert (failed.state, failed.attempt) == (job_pb2.JOB_STATE_FAILED, 3)
    assert failed.failure.reason == error_reason_pb2.ERROR_REASON_WORKER_LOST
    assert failed.failure.message.startswith("All 3 attempts lost their worker.")
    assert await person.balance() == ("1.000", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_attempt_that_was_given_back_does_not_count(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    for fence in range(1, 6):
        attempt = await worker.start(job.job_id, f"worker-0:{fence}")
        assert (await worker.give_back(attempt)).state == job_pb2.JOB_STATE_QUEUED
        assert (await worker.give_back(attempt)).state == job_pb2.JOB_STATE_QUEUED, "repeating it is safe"
    assert (await person.queue_status()).own_waiting == 1
    assert await outcomes(platform, job.job_id) == [RETURNED] * 5

    attempt = await worker.start(job.job_id, "worker-0:6")
    assert (await worker.complete(attempt, await worker.upload(attempt))).state == job_pb2.JOB_STATE_COMPLETED


async def test_unknown_job_is_refused(worker: WorkerClient) -> None:
    unknown = worker_service_pb2.Attempt(job_id=str(new_id()), attempt=1)
    image = picture(str(new_id()), *[reported(b"x")] * 3)
    for call in (
        worker.start(unknown.job_id),
        worker.complete(unknown, [image]),
        worker.fail(unknown, Reason.OUT_OF_MEMORY),
        worker.give_back(unknown),
    ):
        assert (await refusal_of(call)).reason is Reason.JOB_NOT_FOUND


async def test_completion_that_names_another_account_is_refused_and_one_that_names_none_is_not(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)

    attempt.account_id = str(new_id())
    assert (await refusal_of(worker.complete(attempt, images))).reason is Reason.JOB_NOT_FOUND
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING

    attempt.account_id = ""
    assert (await worker.complete(attempt, images)).state == job_pb2.JOB_STATE_COMPLETED
    await Operator(platform).assert_holds_match_jobs()


async def test_completed_job_is_in_the_gallery_and_paid(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create(image_count=2)
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    await backdate_start(platform, job.job_id, 60)

    answer = await worker.complete(attempt, images, gpu_milliseconds=97)

    assert answer.state == job_pb2.JOB_STATE_COMPLETED
    done = await person.get(job.job_id)
    assert (done.state, done.credits_used) == (job_pb2.JOB_STATE_COMPLETED, "0.097")
    assert [image.image_id for image in done.images] == [slot.image_id for slot in attempt.slots]
    assert await person.balance() == ("0.903", "0.000")
    taken_in = {image.image_id: image for image in await person.pictures(job.job_id)}
    assert {image.image_id: image.original.sha256 for image in images} == {
        image_id: image.sha256 for image_id, image in taken_in.items()
    }
    await Operator(platform).assert_holds_match_jobs()


@pytest.mark.parametrize(
    ("reported_ms", "elapsed_seconds", "at_least", "at_most"),
    # The clock runs on while the call is made, hence the bounds. What is held for such a picture is 839 millicredits.
    [(50, 60, 50, 50), (86_400_000, 0.03, 30, 838), (86_400_000, 60, 839, 839), (0, 60, 1, 1)],
)
async def test_price_is_the_lowest_of_the_workers_measure_the_servers_and_the_hold(
    platform: Platform,
    person: Person,
    worker: WorkerClient,
    reported_ms: int,
    elapsed_seconds: float,
    at_least: int,
    at_most: int,
) -> None:
    job = await person.create(width_px=256, height_px=256, step_count=20)
    assert job.credits_held == "0.839"
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    start = "UPDATE generation.jobs SET start_time = $2 WHERE job_id = $1"
    await platform.rows("generation", start, UUID(job.job_id), real_now() - timedelta(seconds=elapsed_seconds))

    await worker.complete(attempt, images, gpu_milliseconds=reported_ms)

    used = round(1000 * float((await person.get(job.job_id)).credits_used))
    assert at_least <= used <= at_most
    assert await person.balance() == (f"{(1000 - used) / 1000:.3f}", "0.000")


async def test_repeated_completion_answers_the_same_and_charges_once(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    await backdate_start(platform, job.job_id, 60)

    answers = await asyncio.gather(*(worker.complete(attempt, images, 50) for _ in range(10)))
    late = await worker.complete(attempt, images, 70)

    assert {answer.state for answer in (*answers, late)} == {job_pb2.JOB_STATE_COMPLETED}
    assert await person.balance() == ("0.950", "0.000")
    assert len(await person.pictures(job.job_id)) == 1
    await Operator(platform).assert_holds_match_jobs()


async def test_completion_is_refused_until_every_object_is_there(person: Person, worker: WorkerClient) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    missing = picture(attempt.slots[0].image_id, *[reported(b"x")] * 3)

    refusal = await refusal_of(worker.complete(attempt, [missing]))

    assert refusal.reason is Reason.ARTIFACT_MISSING
    assert refusal.metadata["key"].startswith(f"users/{person.account_id}/images/{attempt.slots[0].image_id}/")
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING
    assert (await worker.complete(attempt, await worker.upload(attempt))).state == job_pb2.JOB_STATE_COMPLETED


@pytest.mark.parametrize("name", ["original", "thumbnail", "metadata"])
@pytest.mark.parametrize("change", ["truncated", "altered"])
async def test_completion_is_refused_when_an_object_differs_from_the_report(
    person: Person, worker: WorkerClient, name: str, change: str
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    described = getattr(images[0], name)
    if change == "truncated":
        described.size_bytes += 1
    else:
        described.sha256 = "0" * 64

    refusal = await refusal_of(worker.complete(attempt, images))

    assert refusal.reason is Reason.ARTIFACT_MISMATCH
    assert f"/{name}." in refusal.metadata["key"]
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING
    assert not await person.pictures(job.job_id)


async def test_completion_with_other_pictures_than_the_slots_is_refused(person: Person, worker: WorkerClient) -> None:
    job = await person.create(image_count=2)
    attempt = await worker.start(job.job_id)
    first, second = await worker.upload(attempt)
    foreign = picture(str(new_id()), *[reported(b"x")] * 3)
    for images in ([first], [second, first], [first, second, foreign], [first, foreign]):
        refusal = await refusal_of(worker.complete(attempt, images))
        assert refusal.reason is Reason.INVALID_FIELD
        assert [violation.field for violation in refusal.violations] == ["images"]
    assert (await worker.complete(attempt, [first, second])).state == job_pb2.JOB_STATE_COMPLETED


@pytest.mark.parametrize(
    "reason",
    [
        Reason.PIPELINE_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.INVALID_OUTPUT,
        Reason.SOURCE_INVALID,
        Reason.CONTENT_REJECTED,
    ],
)
async def test_failure_of_the_pipeline_ends_the_job_at_once_and_costs_nothing(
    platform: Platform, person: Person, worker: WorkerClient, reason: Reason
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    uploaded = [*(await worker.upload(attempt))]
    assert uploaded

    answers = [await worker.fail(attempt, reason, gpu_milliseconds=50) for _ in range(2)]

    assert [answer.state for answer in answers] == [job_pb2.JOB_STATE_FAILED] * 2
    failed = await person.get(job.job_id)
    assert failed.failure.reason == error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    assert (failed.failure.message, failed.credits_used) == ("It went wrong.", "0.000")
    assert await person.balance() == ("1.000", "0.000")
    assert await outcomes(platform, job.job_id) == [FAILED]


@pytest.mark.parametrize("reason", [Reason.STORAGE_FAILED, Reason.MODEL_LOAD_FAILED, Reason.WORKER_LOST])
async def test_failure_in_passing_is_tried_three_times(
    platform: Platform, person: Person, worker: WorkerClient, reason: Reason
) -> None:
    job = await person.create()
    states = []
    for fence in (1, 2, 3):
        attempt = await worker.start(job.job_id, f"worker-0:{fence}")
        states.append((await worker.fail(attempt, reason)).state)
    assert states == [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_FAILED]
    assert await person.balance() == ("1.000", "0.000")
    assert (await person.queue_status()).own_waiting == 0
    await Operator(platform).assert_holds_match_jobs()


async def test_repeated_report_of_a_failure_in_passing_answers_the_same(person: Person, worker: WorkerClient) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    answers = [await worker.fail(attempt, Reason.STORAGE_FAILED) for _ in range(2)]
    assert [answer.state for answer in answers] == [job_pb2.JOB_STATE_QUEUED] * 2
    assert (await person.queue_status()).own_waiting == 1
    assert (await worker.start(job.job_id, "worker-0:2")).attempt == 2


async def test_running_job_that_is_cancelled_pays_what_ran(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    await backdate_start(platform, job.job_id, 60)

    asked = await person.cancel(job.job_id)
    assert asked.state == job_pb2.JOB_STATE_RUNNING
    answer = await worker.fail(attempt, None, gpu_milliseconds=40)

    assert answer.state == job_pb2.JOB_STATE_CANCELLED
    cancelled = await person.get(job.job_id)
    assert (cancelled.state, cancelled.credits_used) == (job_pb2.JOB_STATE_CANCELLED, "0.040")
    assert await person.balance() == ("0.960", "0.000")
    await Operator(platform).assert_holds_match_jobs()


async def test_job_that_was_completed_before_its_cancellation_arrived_stays_completed(
    person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    await person.cancel(job.job_id)
    assert (await worker.complete(attempt, images)).state == job_pb2.JOB_STATE_COMPLETED
    assert (await worker.fail(attempt, None)).state == job_pb2.JOB_STATE_COMPLETED


async def test_cancelled_job_whose_worker_died_ends_at_the_next_claim(person: Person, worker: WorkerClient) -> None:
    job = await person.create()
    await worker.start(job.job_id, "worker-0:1")
    await person.cancel(job.job_id)
    refusal = await refusal_of(worker.start(job.job_id, "worker-1:2"))
    assert (refusal.reason, refusal.metadata["state"]) == (Reason.JOB_NOT_RUNNABLE, "JOB_STATE_CANCELLED")
    assert await person.balance() == ("1.000", "0.000")


async def test_report_races_with_cancellation_and_another_claim_end_the_job_once(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    for round_number in range(8):
        job = await person.create()
        attempt = await worker.start(job.job_id, "worker-0:1")
        images = await worker.upload(attempt)
        calls = [
            worker.complete(attempt, images),
            person.cancel(job.job_id),
            worker.fail(attempt, Reason.PIPELINE_FAILED),
            worker.start(job.job_id, "worker-1:2"),
        ]
        turn = round_number % len(calls)
        await asyncio.gather(*map(_ended, calls[turn:] + calls[:turn]))
        state = (await person.get(job.job_id)).state
        if state == job_pb2.JOB_STATE_RUNNING:
            second = await worker.start(job.job_id, "worker-1:2")
            await worker.fail(second, None)
        await person.ended(job.job_id)
    await Operator(platform).assert_holds_match_jobs()


async def _ended(call: Any) -> None:
    try:
        await call
    except grpc.aio.AioRpcError:
        refusal = await refusal_of(call)
        assert refusal.reason in {Reason.ATTEMPT_FENCED, Reason.JOB_NOT_RUNNABLE, Reason.JOB_ALREADY_ENDED}


@pytest.mark.parametrize("service", ["svc_gallery", "operator"])
async def test_only_workers_may_call(platform: Platform, person: Person, worker: WorkerClient, service: str) -> None:
    job = await person.create()
    request = worker_service_pb2.StartAttemptRequest(job_id=job.job_id, worker_id="w", claim_id="w:1")
    call = worker._service.StartAttempt(request, metadata=platform.identities.as_service(service))
    assert (await refusal_of(call)).reason is Reason.CALLER_NOT_ALLOWED
