"""What repairs an interrupted life of a job: the sweeps, on real neighbours that go away and come back."""

import itertools
from datetime import timedelta
from uuid import UUID

import pytest
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.clock import new_id
from svc_common.clock import now as real_now
from svc_common.errors import Reason
from svc_common.queue import Claim
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform, backdate_start
from tests.harness_postgres import until
from tests.harness_service import refusal_of

CLEAN_TIMES = "SELECT clean_time FROM generation.attempts WHERE job_id = $1 ORDER BY attempt"


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=1000, tier="starter")


@pytest.mark.parametrize("away", ["gallery", "payment"])
async def test_completion_that_was_interrupted_is_taken_up_by_the_sweep(
    platform: Platform, person: Person, worker: WorkerClient, away: str
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    await backdate_start(platform, job.job_id, 60)
    async with platform.without(away):
        # Accepted, though what closing needs is away: the worker is done with it.
        answer = await worker.complete(attempt, images, 50)
        assert answer.state == job_pb2.JOB_STATE_FINALIZING
        assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_FINALIZING

    await sweep_until_ended(platform, person, job.job_id)

    done = await person.get(job.job_id)
    assert (done.state, done.credits_used) == (job_pb2.JOB_STATE_COMPLETED, "0.050")
    assert len(await person.pictures(job.job_id)) == 1
    assert (await worker.complete(attempt, images, 50)).state == job_pb2.JOB_STATE_COMPLETED
    await Operator(platform).assert_holds_match_jobs()


async def sweep_until_ended(platform: Platform, person: Person, job_id: str) -> None:
    """Sweeps with a clock that runs ahead, so that nothing has to be waited for but the neighbour's return."""
    minutes = itertools.count(1)
    sweeper = platform.generation.sweeper(now=lambda: real_now() + timedelta(minutes=next(minutes)))

    async def has_ended() -> bool:
        await sweeper.finish_interrupted()
        return (await person.get(job_id)).HasField("end_time")

    await until(has_ended)


async def test_repeated_report_takes_up_an_interrupted_completion(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    async with platform.without("gallery"):
        await worker.complete(attempt, images)

    async def is_completed() -> bool:
        return (await worker.complete(attempt, images)).state == job_pb2.JOB_STATE_COMPLETED

    await until(is_completed)


async def test_one_job_that_can_not_be_closed_does_not_keep_others_from_their_end(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    jobs = [await person.create() for _ in range(3)]
    attempts = [await worker.start(job.job_id) for job in jobs]
    reports = [await worker.upload(attempt) for attempt in attempts]
    async with platform.without("gallery"):
        for attempt, images in zip(attempts, reports, strict=True):
            await worker.complete(attempt, images)
        # The gallery will refuse the first one's pictures for good: it names one of them twice.
        images = "UPDATE generation.jobs SET images = images || images WHERE job_id = $1"
        await platform.rows("generation", images, UUID(jobs[0].job_id))

    for job in jobs[1:]:
        await sweep_until_ended(platform, person, job.job_id)

    await sweep_until_ended(platform, person, jobs[0].job_id)
    states = [(await person.get(job.job_id)).state for job in jobs]
    assert states == [job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_COMPLETED]
    await Operator(platform).assert_holds_match_jobs()


async def test_job_whose_hold_was_closed_behind_its_back_still_ends(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    images = await worker.upload(attempt)
    ledger = LedgerServiceStub(platform.ledger_channel)
    release = ledger_service_pb2.ReleaseCreditsRequest(hold_id=job.job_id, account_id=str(person.account_id))
    await ledger.ReleaseCredits(release, metadata=platform.identities.as_service("svc_generation"))

    await worker.complete(attempt, images, 50)

    done = await person.ended(job.job_id)
    assert (done.state, done.credits_used) == (job_pb2.JOB_STATE_COMPLETED, "0.000")
    assert await person.balance() == ("1.000", "0.000")


async def test_hold_that_no_job_has_is_released_when_its_job_can_not_come_any_more(
    platform: Platform, person: Person
) -> None:
    """As when a process dies between the hold and the acceptance, and takes with it all that knew of the hold."""
    job = await person.create()
    held = (await person.balance())[1]
    reserve = ledger_service_pb2.ReserveCreditsRequest(
        hold_id=str(new_id()), account_id=str(person.account_id), amount_millicredits=200, minimum_millicredits=200
    )
    reserve.lifetime.FromTimedelta(timedelta(hours=1))
    ledger = LedgerServiceStub(platform.ledger_channel)
    await ledger.ReserveCredits(reserve, metadata=platform.identities.as_service("svc_generation"))
    assert (await person.balance())[1] != held

    await platform.generation.holds_seen_in(timedelta(seconds=100)).release_forgotten()
    assert (await person.balance())[1] != held, "its job may still be on its way"
    await platform.generation.holds_seen_in(timedelta(minutes=3)).release_forgotten()

    assert (await person.balance())[1] == held
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_QUEUED
    await Operator(platform).assert_holds_match_jobs()


async def test_objects_of_lost_and_failed_attempts_are_deleted_and_those_of_the_winner_stay(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    lost = await worker.start(job.job_id, "worker-0:1")
    await worker.upload(lost)
    failed = await worker.start(job.job_id, "worker-0:2")
    await worker.upload(failed)
    await worker.fail(failed, Reason.STORAGE_FAILED)
    winner = await worker.start(job.job_id, "worker-0:3")
    await worker.complete(winner, await worker.upload(winner))

    await platform.generation.sweeper().delete_orphans()

    assert await worker.objects(lost) == await worker.objects(failed) == []
    assert len(await worker.objects(winner)) == 3


async def test_late_upload_of_a_lost_attempt_is_deleted_when_its_addresses_have_expired(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    paused = await worker.start(job.job_id, "worker-0:1")
    await worker.start(job.job_id, "worker-1:2")
    sweeper = platform.generation.sweeper()
    await sweeper.delete_orphans()
    await worker.upload(paused)

    await sweeper.delete_orphans()
    assert len(await worker.objects(paused)) == 3, "its addresses still work, so it comes up later"
    in_an_hour = platform.generation.sweeper(now=lambda: real_now() + timedelta(minutes=61))
    await in_an_hour.delete_orphans()

    assert await worker.objects(paused) == []
    (first, _) = await platform.rows("generation", CLEAN_TIMES, UUID(job.job_id))
    assert first["clean_time"] is None


async def test_waiting_jobs_that_redis_forgot_are_put_back(platform: Platform, person: Person) -> None:
    jobs = [UUID((await person.create()).job_id) for _ in range(3)]
    assert await platform.queue.missing(jobs) == []
    await platform.queue.redis.flushall()

    async def are_back() -> bool:
        # A job must be a second old: younger ones may be on their way from their commit to the queue.
        await platform.generation.sweeper().enqueue_missing()
        return await platform.queue.missing(jobs) == []

    await until(are_back)
    assert (await person.queue_status()).own_waiting == 3


async def test_running_job_is_offered_again_when_its_lease_stays_away_for_a_whole_lease(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    job_id = UUID(job.job_id)
    await worker.start(job.job_id, (await claim(platform, job_id, "worker-0")).holder)
    moment = [0.0]
    sweeper = platform.generation.sweeper(lease=timedelta(seconds=30), monotonic=lambda: moment[0])
    await platform.queue.redis.flushall()

    await sweeper.offer_lost()
    moment[0] = 29.0
    await sweeper.offer_lost()
    assert await platform.queue.missing([job_id]) == [job_id], "its worker may still renew the lease"
    moment[0] = 30.0
    await sweeper.offer_lost()

    assert await platform.queue.missing([job_id]) == []
    offered = await claim(platform, job_id, "worker-1")
    assert (await worker.start(job.job_id, offered.holder)).attempt == 2


async def test_running_job_is_not_offered_again_when_its_lease_came_back(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    job_id = UUID(job.job_id)
    taken = await claim(platform, job_id, "worker-0")
    await worker.start(job.job_id, taken.holder)
    moment = [0.0]
    sweeper = platform.generation.sweeper(lease=timedelta(seconds=30), monotonic=lambda: moment[0])
    await platform.queue.redis.flushall()
    await sweeper.offer_lost()
    await platform.queue.renew(taken, 60_000)
    moment[0] = 20.0
    await sweeper.offer_lost()
    moment[0] = 31.0
    await sweeper.offer_lost()
    assert await platform.queue.leased([job_id]) == [job_id]
    assert (await worker.start(job.job_id, taken.holder)).attempt == 1


async def claim(platform: Platform, job_id: UUID, worker_id: str) -> Claim:
    """Claims jobs, other tests' too, until the wanted one comes."""
    while (taken := await platform.queue.claim(worker_id, (), 60_000)) is not None:
        if taken.job.job_id == job_id:
            return taken
    raise AssertionError("the queue doesn't offer the job")


async def test_overdue_jobs_fail_and_their_holds_are_released(
    platform: Platform, person: Person, worker: WorkerClient
) -> None:
    waiting, running, young = [await person.create() for _ in range(3)]
    attempt = await worker.start(running.job_id)
    overdue = "UPDATE generation.jobs SET deadline_time = now() - interval '1 second' WHERE job_id = ANY($1)"
    await platform.rows("generation", overdue, [UUID(waiting.job_id), UUID(running.job_id)])

    await platform.generation.sweeper().expire_overdue()

    for job_id in (waiting.job_id, running.job_id):
        failed = await person.ended(job_id)
        assert failed.failure.reason == error_reason_pb2.ERROR_REASON_JOB_EXPIRED
    assert (await person.get(young.job_id)).state == job_pb2.JOB_STATE_QUEUED
    assert await person.balance() == ("0.886", "0.114")
    assert (await worker.fail(attempt, Reason.OUT_OF_MEMORY)).state == job_pb2.JOB_STATE_FAILED
    refusal = await refusal_of(worker.complete(attempt, await worker.upload(attempt)))
    assert refusal.reason is Reason.JOB_NOT_RUNNABLE
    await Operator(platform).assert_holds_match_jobs()
