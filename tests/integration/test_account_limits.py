"""Accounts that call as fast as they can, against the real svc_payment, PostgreSQL and Redis, and without Redis."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.entitlement_pb2 import Entitlement, TierLimits
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from redis.asyncio import Redis

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_common.limits.accounts import AccountLimits
from svc_common.limits.buckets import Rate
from svc_common.limits.calls import CallRates
from svc_common.limits.leases import LEASE_LIFETIME, SharedLeases
from svc_common.limits.redis_guard import RedisGuard
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from svc_payment.main import PaymentSettings, compose
from tests.factories.contracts import USER, Contract, stream, stream_call
from tests.harness_postgres import UNREACHABLE_DATABASE, DatabaseFactory, ServiceDatabase
from tests.harness_redis import RedisServer, eventually, free_port
from tests.harness_service import Identities, RunningService, refusal_of, running, settings_values

REPOSITORY = Path(__file__).resolve().parents[2]
FREE, STARTER = Rate(5, 25), Rate(20, 100)
SECONDS = 3.0
CALLERS = 8
STREAMS = Contract("limited_streams", {"Watch": USER})
MOST_STREAMS = 5


@pytest.fixture(scope="module")
async def payment_database(database_for: DatabaseFactory) -> ServiceDatabase:
    return await database_for("payment")


@pytest.fixture
async def payment(
    payment_database: ServiceDatabase, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[RunningService]:
    async with payment_at(payment_database, identities, redis_server) as service:
        yield service


@asynccontextmanager
async def payment_at(
    database: ServiceDatabase, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[RunningService]:
    values = settings_values(identities, "svc_payment", database, redis_url=redis_server.url, account_limit_factor=1.0)
    async with running(compose(PaymentSettings(**values))) as service:
        yield service


def balance(channel: grpc.aio.Channel, identities: Identities, account_id: UUID) -> Callable[[], Awaitable[Any]]:
    """Returns what makes one call of an account."""
    stub, metadata = CreditServiceStub(channel), identities.as_user(account_id)
    return lambda: stub.GetBalance(credit_service_pb2.GetBalanceRequest(), metadata=metadata)


@dataclass
class Flood:
    """What became of calls that were made as fast as the machine can."""

    answered: int = 0
    refused: int = 0
    seconds: float = 0.0
    longest_call_seconds: float = 0.0

    async def call(self, call: Callable[[], Awaitable[Any]]) -> None:
        began = time.monotonic()
        if await is_answered(call):
            self.answered += 1
        else:
            self.refused += 1
        self.longest_call_seconds = max(self.longest_call_seconds, time.monotonic() - began)

    def at_least(self, rate: Rate, burst: int) -> int:
        """Returns how many had to be answered: all, unless the limit was reached; then what came in until the last calls.

        A token that came in is used at once by one of so many callers, so what is left at the end came in during the last
        calls, or the pause before them.
        """
        if not self.refused:
            return self.answered
        return int(burst + rate.per_second * (self.seconds - 2 * self.longest_call_seconds - 0.8))


async def flood(*calls: Callable[[], Awaitable[Any]], seconds: float = SECONDS) -> Flood:
    """Calls as fast as it can, the calls in turn."""
    flood = Flood()
    began = time.monotonic()

    async def caller(call: Callable[[], Awaitable[Any]]) -> None:
        while time.monotonic() < began + seconds:
            await flood.call(call)

    await asyncio.gather(*(caller(calls[number % len(calls)]) for number in range(CALLERS)))
    flood.seconds = time.monotonic() - began
    return flood


async def is_answered(call: Callable[[], Awaitable[Any]]) -> bool:
    """Calls once; the only refusal that may come is that of the limit."""
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


async def use_up(call: Callable[[], Awaitable[Any]]) -> ServiceError:
    """Calls until a call is refused and returns that refusal, of which each later one may find a new token."""

    async def calls() -> None:
        while True:
            await call()

    return await refusal_of(calls())


def assert_at_the_rate(flood: Flood, rate: Rate) -> None:
    # Within 5 % of what the tier allows; of 40 calls in 3 s that is two, which a slice that was in hand already may bring.
    assert flood.answered <= (rate.burst + rate.per_second * flood.seconds) * 1.05
    assert flood.answered >= flood.at_least(rate, rate.burst)


async def test_account_at_full_speed_gets_the_burst_and_the_rate_of_its_tier(
    payment: RunningService, identities: Identities
) -> None:
    flooded = await flood(balance(payment.public, identities, new_id()))

    assert_at_the_rate(flooded, FREE)


async def test_api_keys_of_an_account_share_its_rate_with_its_sessions(
    payment: RunningService, identities: Identities
) -> None:
    account_id, stub = new_id(), CreditServiceStub(payment.public)
    key = identities.as_api_key(account_id, "read")
    by_key = partial(stub.GetBalance, credit_service_pb2.GetBalanceRequest(), metadata=key)
    flooded = await flood(by_key, balance(payment.public, identities, account_id))

    assert_at_the_rate(flooded, FREE)


async def test_refusal_says_when_to_call_again_and_then_it_is_answered(
    payment: RunningService, identities: Identities
) -> None:
    call = balance(payment.public, identities, new_id())

    refusal = await use_up(call)

    assert refusal.reason is Reason.RATE_LIMITED
    assert refusal.metadata == {"scope": "account", "per_second": "5", "burst": "25"}
    assert refusal.retry_after is not None
    assert 0 < refusal.retry_after.total_seconds() <= 0.25
    await asyncio.sleep(refusal.retry_after.total_seconds())
    await call()


async def test_another_account_and_services_are_not_touched(payment: RunningService, identities: Identities) -> None:
    flooding, other = new_id(), new_id()
    flooded = asyncio.create_task(flood(balance(payment.public, identities, flooding), seconds=1))
    request = ledger_service_pb2.GetEntitlementRequest(account_id=str(flooding))
    ledger, as_service = LedgerServiceStub(payment.internal), identities.as_service("svc_generation")

    await asyncio.sleep(0.5)
    for _ in range(20):
        await balance(payment.public, identities, other)()
    for _ in range(100):
        await ledger.GetEntitlement(request, metadata=as_service)

    assert_at_the_rate(await flooded, FREE)


async def test_tier_that_changes_changes_the_rate(payment: RunningService, identities: Identities) -> None:
    account_id = new_id()
    call = balance(payment.public, identities, account_id)
    await use_up(call)

    request = ledger_service_pb2.SetTierRequest(account_id=str(account_id), tier=tier_pb2.TIER_STARTER)
    await LedgerServiceStub(payment.internal).SetTier(request, metadata=identities.as_service("operator"))

    flooded = await flood(call)
    # The bucket was empty, so there is no burst.
    assert flooded.at_least(STARTER, 0) <= flooded.answered <= STARTER.per_second * flooded.seconds * 1.05 + 5


async def test_two_processes_share_the_account_s_rate(
    payment_database: ServiceDatabase, identities: Identities, redis_server: RedisServer, tmp_path: Path
) -> None:
    account_id = new_id()
    with (
        payment_process(payment_database, identities, redis_server, tmp_path / "first.log") as first,
        payment_process(payment_database, identities, redis_server, tmp_path / "second.log") as second,
    ):
        async with grpc.aio.insecure_channel(first) as one, grpc.aio.insecure_channel(second) as two:
            async with asyncio.timeout(60):
                await asyncio.gather(one.channel_ready(), two.channel_ready())
            calls = [balance(channel, identities, account_id) for channel in (one, two)]
            flooded = await flood(*calls)

    assert_at_the_rate(flooded, FREE)


@contextmanager
def payment_process(
    database: ServiceDatabase, identities: Identities, redis_server: RedisServer, log: Path
) -> Iterator[str]:
    """Runs svc_payment as a process of its own and returns where it is."""
    address = f"127.0.0.1:{free_port()}"
    values = settings_values(identities, "svc_payment", database, redis_url=redis_server.url, public_address=address)
    settings = {name.upper(): str(value) for name, value in (values | {"account_limit_factor": 1.0}).items()}
    environment = {**os.environ, **settings, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen'}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "svc_payment.main"], env=environment, stdout=output, stderr=output
        )
        try:
            yield address
        finally:
            process.terminate()
            process.wait(timeout=20)


async def test_tokens_that_a_process_has_left_go_back_for_the_others(
    payment_database: ServiceDatabase, identities: Identities, redis_server: RedisServer
) -> None:
    account_id = new_id()
    async with (
        payment_at(payment_database, identities, redis_server) as first,
        payment_at(payment_database, identities, redis_server) as second,
    ):
        for _ in range(4):
            await balance(first.public, identities, account_id)()
        # Longer than the slices are used, shorter than their leases last: without giving back, some would be missing.
        await asyncio.sleep(LEASE_LIFETIME.total_seconds() / 2 + 0.3)
        call = balance(second.public, identities, account_id)
        ended = await asyncio.gather(*(call() for _ in range(FREE.burst)), return_exceptions=True)

    assert [error for error in ended if isinstance(error, Exception)] == []


async def test_without_redis_each_process_counts_by_itself(
    payment_database: ServiceDatabase, identities: Identities, own_redis_server: RedisServer
) -> None:
    async with payment_at(payment_database, identities, own_redis_server) as service:
        call = balance(service.public, identities, new_id())
        await call()
        own_redis_server.kill()
        flooded = await flood(call)
        own_redis_server.start()
        again = await flood(call)

    # A full bucket of the process's own, and tokens that had been leased before.
    assert flooded.answered <= FREE.burst + FREE.per_second * flooded.seconds * 1.05 + 3
    assert flooded.answered >= flooded.at_least(FREE, FREE.burst)
    assert again.answered <= FREE.burst + FREE.per_second * again.seconds * 1.05 + 3


async def test_most_calls_ask_nobody(redis: Redis) -> None:
    rates = call_rates(redis, Rate(100, 1000))
    account_id = new_id()
    await redis.config_resetstat()

    for _ in range(1000):
        await admitted(rates, account_id)

    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] < 50


async def test_parallel_calls_share_one_question_and_one_burst(redis: Redis) -> None:
    rates, account_id = call_rates(redis, Rate(1, 25)), new_id()

    ended = await asyncio.gather(*(admitted(rates, account_id) for _ in range(200)), return_exceptions=True)

    assert FREE.burst <= ended.count(None) <= FREE.burst + 1


async def test_call_that_is_cancelled_takes_nothing_from_those_that_wait_with_it(redis: Redis) -> None:
    rates, account_id = call_rates(redis, Rate(0.01, 5)), new_id()
    calls = [asyncio.create_task(admitted(rates, account_id)) for _ in range(8)]
    await asyncio.sleep(0)
    for call in calls[:3]:
        call.cancel()

    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert ended[3:] == [None] * 5


def call_rates(redis: Redis, rate: Rate) -> CallRates:
    async def rate_of(_: UUID) -> Rate:
        return rate

    return CallRates(SharedLeases(RedisGuard(redis)), rate_of)


async def admitted(rates: CallRates, account_id: UUID) -> None:
    waiting = rates.admit(account_id)
    if waiting is not None:
        await waiting


async def watch(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
    """Answers once, and goes on until its caller leaves."""
    yield StringValue(value="open")
    await asyncio.Event().wait()


async def fail(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
    yield StringValue(value="open")
    raise RuntimeError("broken")


async def end(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
    yield StringValue(value="open")


@asynccontextmanager
async def stream_service(
    identities: Identities, redis_url: str, handler: Any = watch
) -> AsyncIterator[tuple[RunningService, AccountLimits]]:
    async def fetch(_: UUID) -> Entitlement:
        return Entitlement(limits=TierLimits(requests_per_second=1000, request_burst=MOST_STREAMS))

    values = settings_values(identities, "svc_user", UNREACHABLE_DATABASE, redis_url=redis_url)
    settings = ServiceSettings(**values | {"account_limit_factor": 1.0})
    limits = AccountLimits.from_settings(settings, fetch)
    registration = (lambda servicer, server: STREAMS.add_to_server({"Watch": stream(servicer)}, server), handler)
    async with running(Server(settings, "svc_user", public=[registration], limits=limits)) as service:
        yield service, limits


def open_stream(service: RunningService, identities: Identities, account_id: UUID) -> Any:
    call = stream_call(service.public, STREAMS.path("Watch"))
    return call(StringValue(), metadata=identities.as_user(account_id))


async def opened(service: RunningService, identities: Identities, account_id: UUID, count: int) -> list[Any]:
    """Opens streams one after the other, slowly enough for the burst, and waits until each has answered."""
    calls = []
    for _ in range(count):
        calls.append(open_stream(service, identities, account_id))
        assert (await calls[-1].read()).value == "open"
    return calls


async def test_one_stream_more_is_refused_and_another_account_s_is_not(
    identities: Identities, redis_server: RedisServer
) -> None:
    account_id = new_id()
    async with stream_service(identities, redis_server.url) as (service, _):
        await opened(service, identities, account_id, MOST_STREAMS)
        refusal = await refusal_of(open_stream(service, identities, account_id).read())
        await opened(service, identities, new_id(), MOST_STREAMS)

    assert refusal.reason is Reason.TOO_MANY_STREAMS
    assert refusal.metadata == {"limit": str(MOST_STREAMS)}
    assert refusal.retry_after is not None


async def test_parallel_streams_in_two_processes_are_exactly_as_many_as_allowed(
    identities: Identities, redis_server: RedisServer
) -> None:
    account_id = new_id()
    async with (
        stream_service(identities, redis_server.url) as (first, _),
        stream_service(identities, redis_server.url) as (second, _),
    ):
        calls = [open_stream(service, identities, account_id) for service in (first, second) for _ in range(4)]
        answers = await asyncio.gather(*(call.read() for call in calls), return_exceptions=True)

    assert sum(isinstance(answer, StringValue) for answer in answers) == MOST_STREAMS


@pytest.mark.parametrize("handler", [watch, fail, end], ids=["client disappears", "handler fails", "stream ends"])
async def test_place_is_free_again_however_a_stream_ends(
    identities: Identities, redis_server: RedisServer, redis: Redis, handler: Any
) -> None:
    account_id = new_id()
    async with stream_service(identities, redis_server.url, handler) as (service, _):
        for _ in range(3):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.public_port}") as channel:
                call = stream_call(channel, STREAMS.path("Watch"))
                calls = [call(StringValue(), metadata=identities.as_user(account_id)) for _ in range(MOST_STREAMS)]
                assert [(await call.read()).value for call in calls] == ["open"] * MOST_STREAMS
            # The client's connection is gone without a word to the streams.

            async def nothing_is_left() -> bool:
                return not await redis.exists(f"streams:{account_id}")

            await eventually(nothing_is_left)


async def test_places_of_open_streams_are_kept_and_come_back_to_a_redis_that_lost_them(
    identities: Identities, redis_server: RedisServer, redis: Redis
) -> None:
    account_id = new_id()
    async with (
        stream_service(identities, redis_server.url) as (first, limits),
        stream_service(identities, redis_server.url) as (second, _),
    ):
        await opened(first, identities, account_id, MOST_STREAMS)
        await redis.flushall()
        await limits.streams.keep()
        refusal = await refusal_of(open_stream(second, identities, account_id).read())

    assert refusal.reason is Reason.TOO_MANY_STREAMS


async def test_places_of_a_process_that_died_lapse(
    identities: Identities, redis_server: RedisServer, redis: Redis
) -> None:
    account_id = new_id()
    seconds, microseconds = await redis.time()
    in_a_moment = seconds * 1000 + microseconds / 1000 + 300
    await redis.zadd(f"streams:{account_id}", {f"dead {number}": in_a_moment for number in range(MOST_STREAMS)})
    async with stream_service(identities, redis_server.url) as (service, _):
        refusal = await refusal_of(open_stream(service, identities, account_id).read())
        await asyncio.sleep(0.35)
        await opened(service, identities, account_id, 1)

    assert refusal.reason is Reason.TOO_MANY_STREAMS


async def test_streams_without_redis_are_counted_in_the_process(
    identities: Identities, own_redis_server: RedisServer
) -> None:
    account_id = new_id()
    own_redis_server.kill()
    async with stream_service(identities, own_redis_server.url) as (service, _):
        calls = await opened(service, identities, account_id, MOST_STREAMS)
        refusal = await refusal_of(open_stream(service, identities, account_id).read())
        calls[0].cancel()

        async def is_admitted() -> bool:
            call = open_stream(service, identities, account_id)
            try:
                return (await call.read()).value == "open"
            except grpc.aio.AioRpcError:
                return False

        await eventually(is_admitted)

    assert refusal.reason is Reason.TOO_MANY_STREAMS
