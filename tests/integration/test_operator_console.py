"""What administrators do to the queue: a job that is taken back from its worker, and a tier that is paused and goes on."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.generation.v1 import generation_admin_service_pb2 as admin
from pingvas.generation.v1 import job_pb2, operator_service_pb2
from pingvas.generation.v1.generation_admin_service_pb2_grpc import GenerationAdminServiceStub

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.clock import now as real_now
from svc_common.errors import Code, Reason
from svc_common.queue import LeaseState, WorkerPresence
from svc_common.redis_client import connect
from svc_generation.store import queries
from svc_generation.usecases.worker_demand import WorkerDemand
from svc_user.domain.audit import NOBODY
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform, Replica
from tests.factories.streams import read
from tests.factories.user_service import UserService, running_user_service
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_service import refusal_of

LEASE_MS = 60_000
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
async def users(platform: Platform, database_for: DatabaseFactory) -> AsyncIterator[UserService]:
    """Keeps the audit log, and believes the services of the platform."""
    identities = platform.identities
    settings = {
        "redis_url": platform.redis_url,
        "service_key_file": identities.key_file("svc_user"),
        "service_jwks_file": identities.folder / "services.jwks",
    }
    async with running_user_service(await database_for("user"), identities.folder, **settings) as service:
        yield service


@pytest.fixture(scope="module")
async def replica(platform: Platform, users: UserService) -> AsyncIterator[Replica]:
    """A svc_generation that finds the audit log; that of the platform doesn't."""
    async with platform.replica(user_internal_address=users.internal_address) as replica:
        yield replica


class Console:
    """Calls what is for administrators as one of them."""

    def __init__(self, platform: Platform, replica: Replica, role: AccountRole = AccountRole.ADMINISTRATOR) -> None:
        self.user_id = new_id()
        self._stub = GenerationAdminServiceStub(replica.service.public)
        self._metadata = platform.identities.as_user(self.user_id, role=role)

    def requeue(self, job_id: str) -> Any:
        return self._stub.RequeueJob(admin.RequeueJobRequest(job_id=job_id), metadata=self._metadata)

    def pause(self, tier: int, reason: str = "") -> Any:
        return self._stub.PauseTier(admin.PauseTierRequest(tier=tier, reason=reason), metadata=self._metadata)

    def resume(self, tier: int) -> Any:
        return self._stub.ResumeTier(admin.ResumeTierRequest(tier=tier), metadata=self._metadata)

    async def shown(self, tier: int) -> operator_service_pb2.QueueTier:
        found = await self._stub.GetQueue(operator_service_pb2.GetQueueRequest(), metadata=self._metadata)
        return next(each for each in found.tiers if each.tier == tier)


@pytest.fixture
def console(platform: Platform, replica: Replica) -> Console:
    return Console(platform, replica)


@pytest.fixture(autouse=True)
async def nothing_left(platform: Platform, replica: Replica) -> None:
    """Ends the pauses of the test before, and forgets its queue."""
    await platform.rows("generation", "DELETE FROM generation.tier_pauses")
    await platform.rows("generation", "UPDATE generation.jobs SET deadline_time = now() WHERE state < 3")
    sweeper = platform.generation.sweeper()

    async def has_ended() -> bool:
        await sweeper.expire_overdue()
        await sweeper.enqueue_missing()
        return not await platform.rows("generation", "SELECT 1 FROM generation.jobs WHERE state < 4")

    await until(has_ended, within_seconds=PATIENCE_SECONDS)
    await platform.queue.redis.flushall()
    for each in (platform.generation, replica):
        await each.parts.pauses.apply()


async def of_tier(platform: Platform, tier: str) -> Person:
    return await Person.arrive(platform, credits_held=100_000_000, tier=tier)


async def recorded(users: UserService, account_id: UUID, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns who did what of a kind to an account, or to the platform, as the audit log has it."""
    events = await users.audit_events(account_id)
    return [(event["actor"], json.loads(event["after"])) for event in events if event["kind"] == kind]


async def work(platform: Platform, worker: WorkerClient, name: str) -> tuple[str, bool] | None:
    """Claims a job as a worker does and ends it; returns its tier and whether it was begun, or None if there is none."""
    claim = await platform.queue.claim(name, (), LEASE_MS)
    if claim is None:
        return None
    started = True
    try:
        attempt = await worker.start(str(claim.job.job_id), claim.holder)
    except grpc.aio.AioRpcError as error:
        started = "tier is paused" not in (error.details() or "")
        if started:
            raise
    else:
        await worker.fail(attempt, None)
    await platform.queue.finish(claim)
    return claim.job.tier, started


async def test_a_job_that_was_taken_back_becomes_one_picture_for_one_price(
    platform: Platform, console: Console, users: UserService, worker: WorkerClient
) -> None:
    person = await of_tier(platform, "pro")
    before, _ = await person.balance()
    job = await person.create(image_count=1)
    distrusted = await platform.queue.claim("worker-0", (), LEASE_MS)
    assert distrusted is not None
    first = await worker.start(job.job_id, distrusted.holder)
    pictures = await worker.upload(first)

    answer = await console.requeue(job.job_id)

    assert (answer.is_requeued, answer.worker_id, answer.state) == (True, "worker-0", job_pb2.JOB_STATE_QUEUED)
    assert await platform.queue.renew(distrusted, LEASE_MS) is LeaseState.LOST
    assert not await platform.queue.finish(distrusted)
    refused = await refusal_of(worker.complete(first, pictures))
    assert refused.reason is Reason.ATTEMPT_FENCED
    # Another worker may have it at once, without the lease having lapsed.
    claim = await platform.queue.claim("worker-1", (), LEASE_MS)
    assert claim is not None
    assert claim.job.job_id == UUID(job.job_id)
    second = await worker.start(job.job_id, claim.holder)
    assert (await refusal_of(worker.complete(first, pictures))).reason is Reason.ATTEMPT_FENCED
    await worker.complete(second, await worker.upload(second), gpu_milliseconds=1)
    done = await person.ended(job.job_id, within_seconds=PATIENCE_SECONDS)

    assert (done.state, done.attempt, done.credits_used) == (job_pb2.JOB_STATE_COMPLETED, 2, "0.001")
    assert [image.image_id for image in await person.pictures(job.job_id)] == [second.slots[0].image_id]
    available, held = await person.balance()
    assert (float(before) - float(available), held) == (pytest.approx(0.001), "0.000")
    await Operator(platform).assert_holds_match_jobs()
    about = {"job_id": job.job_id, "worker": "worker-0", "attempt": "1"}
    assert await recorded(users, person.account_id, "job_requeued") == [(f"user:{console.user_id}", about)]
    attempts = await platform.rows(
        "generation", "SELECT outcome FROM generation.attempts WHERE job_id = $1 ORDER BY attempt", UUID(job.job_id)
    )
    assert [row["outcome"] for row in attempts] == [6, 2], "the first one isn't among those that may be lost"


async def test_a_job_is_taken_back_as_well_when_redis_has_forgotten_its_lease(
    platform: Platform, console: Console, worker: WorkerClient
) -> None:
    person = await of_tier(platform, "pro")
    job = await person.create()
    distrusted = await platform.queue.claim("worker-0", (), LEASE_MS)
    assert distrusted is not None
    await worker.start(job.job_id, distrusted.holder)
    await platform.queue.redis.flushall()

    assert (await console.requeue(job.job_id)).is_requeued

    assert await platform.queue.renew(distrusted, LEASE_MS) is LeaseState.LOST
    claim = await platform.queue.claim("worker-1", (), LEASE_MS)
    assert claim is not None
    assert claim.job.job_id == UUID(job.job_id)


async def test_a_waiting_job_stays_and_one_that_has_ended_is_refused(
    platform: Platform, console: Console, users: UserService
) -> None:
    person = await of_tier(platform, "pro")
    job = await person.create()
    answer = await console.requeue(job.job_id)
    assert (answer.is_requeued, answer.worker_id, answer.state) == (False, "", job_pb2.JOB_STATE_QUEUED)

    await person.cancel(job.job_id)
    await person.ended(job.job_id, within_seconds=PATIENCE_SECONDS)
    refused = await refusal_of(console.requeue(job.job_id))
    assert (refused.reason, refused.metadata) == (
        Reason.JOB_NOT_REQUEUABLE,
        {"job_id": job.job_id, "state": "JOB_STATE_CANCELLED"},
    )
    assert "cancelled" in refused.message
    assert (await refusal_of(console.requeue(str(new_id())))).reason is Reason.JOB_NOT_FOUND
    assert await recorded(users, person.account_id, "job_requeued") == []


async def test_nothing_is_done_that_the_audit_log_is_not_told_of(platform: Platform, worker: WorkerClient) -> None:
    person = await of_tier(platform, "pro")
    job = await person.create()
    claim = await platform.queue.claim("worker-0", (), LEASE_MS)
    assert claim is not None
    await worker.start(job.job_id, claim.holder)
    deaf = Console(platform, platform.generation)
    for call in (deaf.requeue(job.job_id), deaf.pause(Tier.TIER_PRO), deaf.resume(Tier.TIER_PRO)):
        assert (await refusal_of(call)).code is Code.UNAVAILABLE
    assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_RUNNING
    assert await platform.queue.renew(claim, LEASE_MS) is LeaseState.HELD
    assert await platform.rows("generation", "SELECT 1 FROM generation.tier_pauses") == []


async def test_support_may_do_none_of_it(platform: Platform, replica: Replica) -> None:
    support = Console(platform, replica, AccountRole.SUPPORT)
    for call in (support.requeue(str(new_id())), support.pause(Tier.TIER_FREE), support.resume(Tier.TIER_FREE)):
        assert (await refusal_of(call)).reason is Reason.ROLE_MISSING


async def test_a_paused_tier_waits_under_load_while_others_flow_and_goes_on_where_it_was(
    platform: Platform, console: Console, users: UserService, worker: WorkerClient
) -> None:
    crowd = {tier: [await of_tier(platform, tier) for _ in range(3)] for tier in ("pro", "starter")}
    assert (await console.pause(Tier.TIER_PRO, "a faulty driver")).is_changed
    assert not (await console.pause(Tier.TIER_PRO, "a faulty cable")).is_changed
    jobs = [await person.create() for people in crowd.values() for person in people for _ in range(4)]
    assert len(jobs) == 24

    async def drain(name: str) -> list[tuple[str, bool]]:
        done = []
        while (one := await work(platform, worker, name)) is not None:
            done.append(one)
        return done

    ended = [one for each in await asyncio.gather(*(drain(f"worker-{n}") for n in range(4))) for one in each]

    assert Counter(ended) == {("starter", True): 12}
    shown = await console.shown(Tier.TIER_PRO)
    assert (shown.waiting_count, shown.running_count, shown.pause_reason) == (12, 0, "a faulty cable")
    assert shown.HasField("pause_time")
    assert not (await console.shown(Tier.TIER_STARTER)).HasField("pause_time")

    assert (await console.resume(Tier.TIER_PRO)).is_changed
    assert not (await console.resume(Tier.TIER_PRO)).is_changed
    told: list[tuple[str, bool]] = []

    async def all_are_done() -> bool:
        # Another process may believe for a second that the tier is paused.
        told.extend(await drain("worker-0"))
        return told.count(("pro", True)) == 12

    await until(all_are_done, within_seconds=PATIENCE_SECONDS)
    by = f"user:{console.user_id}"
    paused = await recorded(users, NOBODY, "tier_paused")
    assert [each for each in paused if each[0] == by] == [
        (by, {"tier": "pro", "reason": "a faulty driver"}),
        (by, {"tier": "pro", "reason": "a faulty cable"}),
    ]
    resumed = await recorded(users, NOBODY, "tier_resumed")
    assert [each for each in resumed if each[0] == by] == [(by, {"tier": "pro"})] * 2


async def test_a_pause_survives_the_loss_of_redis_and_the_start_of_another_process(
    platform: Platform, console: Console, users: UserService, worker: WorkerClient
) -> None:
    paid, free = await of_tier(platform, "pro"), await of_tier(platform, "free")
    await console.pause(Tier.TIER_PRO)
    waiting = {(await paid.create()).job_id for _ in range(3)}
    await platform.queue.redis.flushall()
    async with platform.replica(user_internal_address=users.internal_address) as restarted:
        sweeper = restarted.sweeper()

        async def all_are_back() -> bool:
            await sweeper.enqueue_missing()
            return await platform.queue.missing([UUID(job_id) for job_id in waiting]) == []

        await until(all_are_back, within_seconds=PATIENCE_SECONDS)
        assert await platform.queue.claim("worker-0", (), LEASE_MS) is None
        other = await free.at(restarted).create()
        assert await work(platform, worker, "worker-0") == ("free", True)
        await free.ended(other.job_id, within_seconds=PATIENCE_SECONDS)

        # Between the loss and the sweep Redis knows of no pause: then the answer to the claim does.
        async def is_refused() -> bool:
            await platform.queue.pause_only([])
            # A sweep of another process may have been in between.
            done = await work(platform, worker, "worker-0")
            assert done in (None, ("pro", False))
            return done is not None

        await until(is_refused, within_seconds=PATIENCE_SECONDS)
        await until(all_are_back, within_seconds=PATIENCE_SECONDS)
        for job_id in waiting:
            assert (await paid.get(job_id)).state == job_pb2.JOB_STATE_QUEUED
        assert await platform.queue.claim("worker-0", (), LEASE_MS) is None


async def test_a_running_job_of_a_paused_tier_ends_as_usual(
    platform: Platform, console: Console, worker: WorkerClient
) -> None:
    person = await of_tier(platform, "pro")
    job = await person.create(image_count=1)
    claim = await platform.queue.claim("worker-0", (), LEASE_MS)
    assert claim is not None
    attempt = await worker.start(job.job_id, claim.holder)
    await console.pause(Tier.TIER_PRO)
    assert (await worker.start(job.job_id, claim.holder)).attempt == 1, "the answer was lost, and is given again"
    await worker.complete(attempt, await worker.upload(attempt))
    done = await person.ended(job.job_id, within_seconds=PATIENCE_SECONDS)
    assert done.state == job_pb2.JOB_STATE_COMPLETED


async def test_owners_are_told_that_their_estimates_count_from_the_end_of_the_pause(
    platform: Platform, replica: Replica, console: Console
) -> None:
    paid, free = [(await of_tier(platform, tier)).at(replica) for tier in ("pro", "free")]
    await console.pause(Tier.TIER_PRO)
    job = await paid.create()
    assert job.is_tier_paused
    assert (await paid.get(job.job_id)).is_tier_paused
    assert (await paid.quote()).is_tier_paused
    assert (await paid.queue_status()).is_tier_paused
    stream = paid.watch(job.job_id)
    (event,) = await read(stream, 1)
    assert event.queued.is_tier_paused
    stream.cancel()
    assert not (await free.queue_status()).is_tier_paused
    await console.resume(Tier.TIER_PRO)
    assert not (await paid.get(job.job_id)).is_tier_paused


async def test_no_worker_is_asked_for_on_behalf_of_a_paused_tier(platform: Platform, console: Console) -> None:
    person = await of_tier(platform, "enterprise")
    async with connect(platform.redis_url) as redis:

        def demand() -> WorkerDemand:
            return WorkerDemand(
                database=platform.generation.parts.tasks,
                presence=WorkerPresence(redis),
                now=real_now,
                idle_seconds=300.0,
                start_seconds=1.0,
            )

        await person.create()
        assert (await demand().wanted()).workers >= 1
        await console.pause(Tier.TIER_ENTERPRISE)
        # What other tests had accepted counts as arriving, but nothing waits for which a worker should be started.
        wanted = await demand().wanted()
        assert (wanted.workers, wanted.is_active) == (0, False)
        await console.resume(Tier.TIER_ENTERPRISE)
        assert (await demand().wanted()).is_active


async def test_waits_that_a_pause_has_drawn_out_are_no_measure_of_those_to_come(
    platform: Platform, replica: Replica, console: Console, worker: WorkerClient
) -> None:
    person = await of_tier(platform, "studio")

    async def measured() -> int:
        async with platform.generation.parts.tasks.transaction() as session:
            return len(await queries.recent_waits(session, 10_000))

    held_up = await person.create()
    await console.pause(Tier.TIER_STUDIO)
    before = await measured()
    await console.resume(Tier.TIER_STUDIO)

    async def is_begun() -> bool:
        return await work(platform, worker, "worker-0") == ("studio", True)

    await until(is_begun, within_seconds=PATIENCE_SECONDS)
    await person.ended(held_up.job_id, within_seconds=PATIENCE_SECONDS)
    assert await measured() == before
    later = await person.at(replica).create()
    await until(is_begun, within_seconds=PATIENCE_SECONDS)
    await person.ended(later.job_id, within_seconds=PATIENCE_SECONDS)
    assert await measured() == before + 1
