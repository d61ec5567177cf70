"""Two Envoys in front of the real svc_user and svc_payment, which share one Redis: what they allow together, and without it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import httpx
import pytest
from envoyproxy import rls_pb2
from envoyproxy.rls_pb2_grpc import RateLimitServiceStub
from pingvas.user.v1 import auth_service_pb2

from edge_envoy.settings import Address, EdgeSettings
from svc_common.client_address import EDGE_SECRET_HEADER
from svc_common.clock import new_id
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.errors import Reason
from svc_common.limits.buckets import Rate
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.contract.surface import rpc_named
from tests.factories.user_service import running_user_service
from tests.harness_envoy import Edge, json_refusal, running_edge
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, running, settings_values

AREAS = ("user", "payment", "generation", "gallery", "models")
EDGE_SECRET = "shown by both edges"
NOWHERE = Address("127.0.0.1", 1)
FREE, NETWORK = Rate(5, 25), Rate(5, 25)
SECONDS = 3.0
CALLERS = 8
PLANS, PROVIDERS, BALANCE = "/api/v1/plans", "/api/v1/auth/providers", "/api/v1/credits/balance"
LOGIN = "/api/v1/auth/login"
SOMEBODY = {"email": "nobody@example.com", "password": "correct horse battery"}
LOGIN_RPC = rpc_named("AuthService.Login")

_networks = itertools.count(1)


@dataclass(frozen=True)
class Edges:
    """Both Envoys and what stands behind them."""

    both: tuple[Edge, Edge]
    user_address: str


def a_network() -> dict[str, str]:
    """Returns the header that says, of a proxy of ours, from which network a call comes: one of its own for each test."""
    return {"x-forwarded-for": f"203.0.113.{next(_networks)}"}


@pytest.fixture(scope="module")
def redis_of_edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def edges(
    database_for: DatabaseFactory,
    identities: Identities,
    redis_of_edges: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Edges]:
    folder = tmp_path_factory.mktemp("edges")
    secret = folder / "edge-secret"
    secret.write_text(EDGE_SECRET)
    own = {"redis_url": redis_of_edges.url, "account_limit_factor": 1.0}
    async with AsyncExitStack() as stack:
        user = await stack.enter_async_context(
            running_user_service(
                await database_for("user"),
                identities.folder,
                edge_secret_file=secret,
                address_requests_per_minute=NETWORK.per_second * 60,
                address_request_burst=NETWORK.burst,
                **own,
            )
        )
        database = await database_for("payment")
        both = []
        for name in ("first", "second"):
            # Each has a process of svc_payment of its own, as in two zones.
            values = settings_values(identities, "svc_payment", database, **own)
            payment = await stack.enter_async_context(running(compose_payment(PaymentSettings(**values))))
            port = payment.server.public_port
            upstreams = {"user": _address(user.public_address), "payment": Address("127.0.0.1", port)}
            both.append(await stack.enter_async_context(_edge(identities, upstreams, folder / name)))
        yield Edges((both[0], both[1]), user.public_address)


def _edge(identities: Identities, upstreams: dict[str, Address], folder: Path) -> AbstractAsyncContextManager[Edge]:
    folder.mkdir(mode=0o700)
    settings = EdgeSettings(
        listen=Address("127.0.0.1", 0),
        admin=Path("/nowhere/envoy-admin.sock"),
        upstreams={area: upstreams.get(area, NOWHERE) for area in AREAS},
        descriptor_set=DESCRIPTOR_SET,
        token_check=Path("/nowhere/token-check.json"),
        user_jwks=identities.folder / "users.jwks",
        edge_secret=EDGE_SECRET,
        network_limits=True,
        # On a busy machine the answer takes its time, and what isn't counted can't be compared with the rate.
        network_limit_seconds=20,
        trusted_hops=1,
    )
    return running_edge(settings, folder)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


async def answered_by_both(edges: Edges, path: str, headers: dict[str, str]) -> tuple[int, float, list[httpx.Response]]:
    """Calls both edges as fast as it can; returns how many calls were answered, for how long it called, and the refusals."""
    answered, refused = 0, []
    began = time.monotonic()

    async def caller(edge: Edge) -> None:
        nonlocal answered
        while time.monotonic() < began + SECONDS:
            answer = await edge.http.get(path, headers=headers)
            if answer.status_code == 200:
                answered += 1
            else:
                refused.append(answer)

    await asyncio.gather(*(caller(edges.both[number % 2]) for number in range(CALLERS)))
    return answered, time.monotonic() - began, refused


def assert_at_the_rate(answered: int, seconds: float, rate: Rate) -> None:
    assert answered <= (rate.burst + rate.per_second * seconds) * 1.05
    # A token that came in is used at once by one of so many callers.
    assert answered >= rate.burst + rate.per_second * (seconds - 1)


async def test_two_edges_give_an_account_the_rate_of_its_tier_once(edges: Edges, identities: Identities) -> None:
    headers = dict(identities.as_user(new_id())) | a_network()

    answered, seconds, refused = await answered_by_both(edges, BALANCE, headers)

    assert_at_the_rate(answered, seconds, FREE)
    assert {json_refusal(answer)[1].metadata["scope"] for answer in refused} == {"account"}


async def test_two_edges_give_a_network_its_rate_once_over_all_services(edges: Edges) -> None:
    headers = a_network()

    answered, seconds, refused = await answered_by_both(edges, PLANS, headers)

    assert_at_the_rate(answered, seconds, NETWORK)
    status, refusal = json_refusal(refused[0])
    assert (status, refusal.reason, refusal.metadata) == (429, Reason.RATE_LIMITED, {"scope": "network"})
    assert refused[0].headers["retry-after"] == "1"
    # What was used up at svc_payment is used up at svc_user, in gRPC as in JSON, and for sign-ins as well: of a hundred
    # calls some come too early, however slow the machine is.
    empty, metadata = auth_service_pb2.LoginRequest(), tuple(headers.items())
    refusals = await asyncio.gather(*(edges.both[0].refusal_by_grpc(LOGIN_RPC, empty, metadata) for _ in range(100)))
    assert {refusal.reason for refusal in refusals} >= {Reason.RATE_LIMITED}


async def test_network_s_flood_touches_neither_another_network_nor_callers_with_a_token(
    edges: Edges, identities: Identities
) -> None:
    headers = a_network()
    flood = asyncio.create_task(answered_by_both(edges, PROVIDERS, headers))
    other = a_network()

    answers = [await edges.both[number % 2].http.get(PROVIDERS, headers=other) for number in range(10)]
    with_token = dict(identities.as_user(new_id())) | headers
    answers += [await edges.both[number % 2].http.get(BALANCE, headers=with_token) for number in range(10)]

    await flood
    assert {answer.status_code for answer in answers} == {200}


async def test_only_the_edge_may_ask(edges: Edges) -> None:
    async with grpc.aio.insecure_channel(edges.user_address) as channel:
        ask = RateLimitServiceStub(channel).ShouldRateLimit
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(rls_pb2.RateLimitRequest(domain="anonymous"), metadata=((EDGE_SECRET_HEADER, "guessed"),))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_rate_limit_service_has_no_route(edges: Edges) -> None:
    path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    answer = await edges.both[0].call_web(path, b"", tuple(a_network().items()))
    # Nothing is served without a token that the contracts don't declare anonymous.
    assert answer.code == grpc.StatusCode.UNAUTHENTICATED.value[0]


async def test_without_redis_reads_go_on_and_sign_ins_wait(
    edges: Edges, identities: Identities, redis_of_edges: RedisServer
) -> None:
    edge, headers = edges.both[0], a_network()
    with_token = dict(identities.as_user(new_id())) | headers

    async def log_in() -> httpx.Response:
        return await edge.http.post(LOGIN, json=SOMEBODY, headers=headers)

    assert json_refusal(await log_in())[1].reason is Reason.LOGIN_FAILED
    redis_of_edges.kill()
    try:
        reads = [await edge.http.get(path, headers=headers) for path in (PLANS, PROVIDERS) * 20]
        # A process then counts by itself, so an account has no more than its burst at once.
        reads += [await edge.http.get(BALANCE, headers=with_token) for _ in range(10)]
        status, refusal = json_refusal(await log_in())
        by_grpc = await edge.refusal_by_grpc(
            LOGIN_RPC, auth_service_pb2.LoginRequest(**SOMEBODY), tuple(headers.items())
        )
    finally:
        redis_of_edges.start()

    assert {answer.status_code for answer in reads} == {200}
    assert (status, refusal.reason) == (503, Reason.DEPENDENCY_UNAVAILABLE)
    assert by_grpc.reason is Reason.DEPENDENCY_UNAVAILABLE
    await until(_is_counted_again(log_in), within_seconds=30)


def _is_counted_again(log_in: Callable[[], Awaitable[httpx.Response]]) -> Callable[[], Awaitable[bool]]:
    async def is_counted() -> bool:
        return json_refusal(await log_in())[1].reason is not Reason.DEPENDENCY_UNAVAILABLE

    return is_counted
