"""The way from the hold to the accepted job when it is cut anywhere: never a hold without a job, never a job for nothing."""

import asyncio
import contextlib
import random
from uuid import UUID

import grpc
import pytest
from pingvas.generation.v1 import job_pb2
from sqlalchemy import func, select, update
from sqlalchemy.exc import ProgrammingError

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason
from svc_generation.store import queries
from svc_generation.store.models import AccountCounter, Attempt, Job
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.harness_postgres import DatabaseFactory, PostgresServer, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of


def insertions_held_up(platform: Platform) -> contextlib.AbstractAsyncContextManager[None]:
    """Lets every acceptance wait between its hold and its row until the block ends."""
    return platform.locked("generation", "account_counters")


async def until_held(person: Person) -> None:
    async def is_held() -> bool:
        return (await person.balance())[1] != "0.000"

    await until(is_held)


async def until_one_waits(platform: Platform) -> None:
    """Waits until a call has found no job of its request, and waits for the batch before it."""

    async def waits() -> bool:
        return len(platform.generation.parts.acceptor._candidates._waiting) == 1

    await until(waits)


async def until_balance(person: Person, available: str, held: str) -> None:
    async def is_reached() -> bool:
        return await person.balance() == (available, held)

    await until(is_reached, within_seconds=20.0)


async def create_when_possible(person: Person) -> job_pb2.Job:
    """Creates a job as soon as everything that it needs is back."""
    made: list[job_pb2.Job] = []

    async def is_made() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            made.append(await person.create())
        return bool(made)

    await until(is_made)
    return made[0]


async def until_holds_match_jobs(platform: Platform) -> None:
    """Waits until every hold has its job; acceptances that nobody waits for may still be on their way."""

    async def match() -> bool:
        holds = await platform.rows("payment", "SELECT hold_id FROM payment.holds WHERE state = 'held'")
        jobs = await platform.rows("generation", "SELECT job_id FROM generation.jobs WHERE state < 4")
        return {row["hold_id"] for row in holds} == {row["job_id"] for row in jobs}

    await until(match)


async def test_job_is_accepted_though_its_caller_left_after_the_hold(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    async with insertions_held_up(platform):
        call = person.create(request_id="once")
        await until_held(person)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def is_there() -> bool:
        return bool((await person.page()).jobs)

    await until(is_there)
    (job,) = (await person.page()).jobs
    assert (job.state, job.credits_held) == (job_pb2.JOB_STATE_QUEUED, "0.114")
    assert (await person.create(request_id="once")).job_id == job.job_id
    await Operator(platform).assert_holds_match_jobs()


async def test_repeat_beside_an_abandoned_call_makes_no_second_job(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    async with insertions_held_up(platform):
        abandoned = person.create(request_id="once")
        await until_held(person)
        abandoned.cancel()
        repeats = [person.create(request_id="once") for _ in range(3)]
        await until_one_waits(platform)
    answers = await asyncio.gather(*repeats)
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert [job.job_id for job in (await person.page()).jobs] == [answers[0].job_id]
    await until_holds_match_jobs(platform)
    assert await person.balance() == ("0.886", "0.114")


async def test_calls_that_are_cancelled_at_any_moment_leave_no_hold_without_a_job(platform: Platform) -> None:
    random_moments = random.Random(20)
    people = [await Person.arrive(platform, tier="starter") for _ in range(4)]
    for _ in range(5):
        calls = [person.create() for person in people for _ in range(4)]
        loop = asyncio.get_running_loop()
        for call in calls:
            loop.call_later(random_moments.uniform(0, 0.03), call.cancel)
        ended = await asyncio.gather(*(_ended(call) for call in calls))
        assert set(ended) <= {"accepted", "cancelled"}
    # A job that came in behind all of these shows that nothing is on its way any more.
    await people[0].create()
    await until_holds_match_jobs(platform)
    await Operator(platform).assert_holds_match_jobs()


async def _ended(call: grpc.aio.UnaryUnaryCall) -> str:
    try:
        await call
    except asyncio.CancelledError:
        return "cancelled"
    return "accepted"


async def test_ledger_that_is_away_refuses_and_leaves_nothing(platform: Platform) -> None:
    person = await Person.arrive(platform, credits_held=1000)
    await person.quote()  # model and tier are remembered, so the hold is the first that meets the outage
    async with platform.without("payment"):
        refusal = await refusal_of(person.create())
    assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "svc_payment"})
    assert not (await person.page()).jobs
    await until_balance(person, "1.000", "0.000")
    await create_when_possible(person)
    assert await person.balance() == ("0.886", "0.114")


async def test_hold_of_a_job_that_postgresql_lost_is_given_back(
    own_postgres: PostgresServer,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The database of the jobs is killed between the hold and the row; that of the credits is another one."""
    database = await DatabaseFactory(own_postgres)("generation")
    folder = tmp_path_factory.mktemp("models")
    async with running_platform(
        database_for, identities, redis_server, s3_server, folder, generation_database=database
    ) as platform:
        person = await Person.arrive(platform, credits_held=1000)
        kept = await person.create()
        async with insertions_held_up(platform):
            call = person.create("a secret wish", request_id="once")
            await until_balance(person, "0.772", "0.228")
            own_postgres.kill()
            refusal = await refusal_of(call)
        assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "postgresql"})
        own_postgres.start()
        await until_balance(person, "0.886", "0.114")
        assert [job.job_id for job in (await person.page()).jobs] == [kept.job_id]
        again = await person.create("a secret wish", request_id="once")
        assert {job.job_id for job in (await person.page()).jobs} == {kept.job_id, again.job_id}
        await Operator(platform).assert_holds_match_jobs()
    assert "secret wish" not in capfd.readouterr().out, "what a user asks for doesn't belong into the log"


async def test_jobs_are_accepted_while_redis_is_away_and_queued_when_it_is_back(
    platform: Platform, own_redis: RedisServer
) -> None:
    person = await Person.arrive(platform)
    await person.create()
    own_redis.kill()
    try:
        job = await person.create()
        assert (await person.get(job.job_id)).state == job_pb2.JOB_STATE_QUEUED
        refusal = await refusal_of(person.queue_status())
        assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "redis"})
    finally:
        own_redis.start()

    async def is_queued() -> bool:
        return (await person.queue_status()).waiting_ahead >= 2

    await until(is_queued)


async def test_rows_of_another_account_stay_hidden_from_queries_that_forget_to_ask(platform: Platform) -> None:
    person, stranger = await Person.arrive(platform), await Person.arrive(platform)
    job = await person.create()
    await WorkerClient(platform).start(job.job_id)
    own = await stranger.create()
    database = platform.generation.parts.requests
    tables = (Job, Attempt, AccountCounter)

    async with database.direct(stranger.account_id) as direct:
        assert await queries.get_job(direct, job.job_id) is None
    async with database.transaction(stranger.account_id) as session:
        assert [str(row.job_id) for row in (await session.execute(select(Job))).scalars()] == [own.job_id]
        owners = {
            account for table in tables for account in (await session.execute(select(table.account_id))).scalars()
        }
        assert owners == {stranger.account_id}
        stolen = await session.execute(update(Job).values(cancel_requested=True).where(Job.job_id == job.job_id))
        assert stolen.rowcount == 0
    async with database.direct(person.account_id) as direct:
        assert await queries.get_job(direct, job.job_id) is not None
    async with database.transaction() as session:
        counts = [(await session.execute(select(func.count()).select_from(table))).scalar_one() for table in tables]
        assert counts == [0, 0, 0]


async def test_row_can_not_be_written_for_another_account(platform: Platform) -> None:
    person, stranger = await Person.arrive(platform), await Person.arrive(platform)
    job = await person.create()
    database = platform.generation.parts.requests
    with pytest.raises(ProgrammingError, match="row-level security"):
        await _insert_counter_of(new_id(), database, stranger.account_id)
    with pytest.raises(ProgrammingError, match="row-level security"):
        await _give_away(job.job_id, stranger.account_id, database, person.account_id)


async def _insert_counter_of(owner: UUID, database: Database, account_id: UUID) -> None:
    async with database.transaction(account_id) as session:
        session.add(AccountCounter(account_id=owner, last_sequence=0, waiting=0))


async def _give_away(job_id: str, receiver: UUID, database: Database, account_id: UUID) -> None:
    async with database.transaction(account_id) as session:
        await session.execute(update(Job).values(account_id=receiver).where(Job.job_id == job_id))
