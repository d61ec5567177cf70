"""Guessing passwords and flooding the methods that anybody may call, against a real Redis and without one."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import redis as redis_sync
from pingvas.user.v1 import auth_service_pb2

from svc_common.client_address import ADDRESS_HEADER, EDGE_SECRET_HEADER
from svc_common.errors import Reason
from tests.factories.user_service import PASSWORD, UserService, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer

EDGE_SECRET = "shown by the edge"
OWNERS_ADDRESS = "198.51.100.7"


@pytest.fixture
async def service(
    database_for: DatabaseFactory, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[UserService]:
    async with running_user_service(
        await database_for("user"), tmp_path, redis_url=redis_server.url, **_edge_secret(tmp_path)
    ) as running:
        yield running


async def test_guesses_in_a_row_are_stopped_before_the_right_one(service: UserService) -> None:
    email = await _registered(service)

    outcomes = Counter([await _outcome(service, email, "a wrong password", "203.0.113.5") for _ in range(200)])

    # Five that cost no wait, the one after which the waiting begins, and what a slow machine lets pass in some seconds.
    assert outcomes.keys() == {Reason.LOGIN_FAILED, Reason.RATE_LIMITED}
    assert 6 <= outcomes[Reason.LOGIN_FAILED] <= 12
    error = await refusal(_login(service, email, PASSWORD, "203.0.113.5"))
    assert error.reason is Reason.RATE_LIMITED
    assert error.metadata == {"scope": "login"}
    assert error.retry_after is not None
    assert 0 < error.retry_after.total_seconds() <= 60


async def test_many_networks_neither_get_through_nor_lock_the_owner_out(service: UserService) -> None:
    email = await _registered(service)

    guesses = [
        _outcome(service, email, f"guess {number}", f"203.0.{number >> 8}.{number & 255}") for number in range(1000)
    ]
    outcomes = Counter(await asyncio.gather(*guesses))
    await _guess_until_strangers_wait_longer_than(seconds=5, service=service, email=email)
    stranger = await _outcome(service, email, PASSWORD, "192.0.2.99")
    owner = await _outcome(service, email, PASSWORD, OWNERS_ADDRESS)

    assert outcomes.total() == 1000
    assert outcomes[Reason.LOGIN_FAILED] <= 60
    assert stranger is Reason.RATE_LIMITED
    assert owner is None


async def test_parallel_guesses_do_not_slip_through_one_check(service: UserService) -> None:
    email = await _registered(service)

    outcomes = Counter(
        await asyncio.gather(*(_outcome(service, email, f"guess {number}", "203.0.113.5") for number in range(100)))
    )

    assert outcomes[Reason.LOGIN_FAILED] <= 8


async def test_unknown_addresses_are_limited_like_known_ones(service: UserService) -> None:
    email = await _registered(service)

    # Above the number of guesses that a pause of the machine could let pass, each list is the same in both cases.
    known = [await _outcome(service, email, "a wrong password", "203.0.113.5") for _ in range(7)]
    unknown = [await _outcome(service, "nobody@example.com", "a wrong password", "203.0.113.6") for _ in range(7)]

    assert known == unknown == [Reason.LOGIN_FAILED] * 6 + [Reason.RATE_LIMITED]


async def test_one_network_that_tries_many_accounts_is_stopped(service: UserService) -> None:
    outcomes = Counter(
        [await _outcome(service, f"nobody{number}@example.com", PASSWORD, "203.0.113.5") for number in range(150)]
    )

    assert outcomes[Reason.LOGIN_FAILED] <= 110
    assert outcomes[Reason.RATE_LIMITED] >= 40


async def test_log_in_forgets_the_failures_of_its_own_network(service: UserService) -> None:
    email = await _registered(service)

    for _ in range(4):
        assert await _outcome(service, email, "mistyped", OWNERS_ADDRESS) is Reason.LOGIN_FAILED
        assert await _outcome(service, email, "mistyped", OWNERS_ADDRESS) is Reason.LOGIN_FAILED
        assert await _outcome(service, email, "mistyped", OWNERS_ADDRESS) is Reason.LOGIN_FAILED
        assert await _outcome(service, email, PASSWORD, OWNERS_ADDRESS) is None


async def test_address_that_the_client_names_itself_is_not_believed(service: UserService) -> None:
    email = await _registered(service)

    def spoofed(number: int) -> tuple[tuple[str, str], ...]:
        address = f"203.0.113.{number}"
        return ((ADDRESS_HEADER, address), ("x-forwarded-for", address), (EDGE_SECRET_HEADER, "a guess"))

    request = auth_service_pb2.LoginRequest(email=email, password="a wrong password")
    outcomes = Counter(
        [(await refusal(service.auth.Login(request, metadata=spoofed(number)))).reason for number in range(100)]
    )

    assert outcomes[Reason.LOGIN_FAILED] <= 10


async def test_counts_are_shared_by_processes_tell_no_address_and_expire(
    service: UserService, tmp_path: Path, redis_server: RedisServer
) -> None:
    email = await _registered(service)
    for _ in range(7):
        await _outcome(service, email, "a wrong password", "203.0.113.5")
    async with running_user_service(
        service.database, tmp_path, redis_url=redis_server.url, **_edge_secret(tmp_path)
    ) as replica:
        assert await _outcome(replica, email, PASSWORD, "203.0.113.5") is Reason.RATE_LIMITED

    with redis_sync.Redis(port=redis_server.port, decode_responses=True) as client:
        keys = [str(key) for key in client.scan_iter()]
        assert keys
        assert not any(email in key or "203.0.113" in key for key in keys)
        assert all(client.ttl(key) > 0 for key in keys)


@pytest.mark.parametrize(
    ("scope", "settings"),
    [
        ("registration", {"registrations_per_second": 0.01, "registration_burst": 3}),
        ("refresh", {"refreshes_per_second": 0.01, "refresh_burst": 3}),
        ("login", {"logins_per_second": 0.01, "login_burst": 3}),
    ],
)
async def test_calls_of_one_network_are_limited_whatever_they_bring(
    database_for: DatabaseFactory, tmp_path: Path, redis_server: RedisServer, scope: str, settings: dict[str, float]
) -> None:
    async with running_user_service(
        await database_for("user"), tmp_path, redis_url=redis_server.url, **settings
    ) as service:
        calls = {
            "registration": lambda number: service.register(email=f"{scope}{number}@example.com"),
            "refresh": lambda number: service.refresh(f"no token {number}"),
            "login": lambda number: service.login(f"{scope}{number}@example.com"),
        }
        outcomes = [await _reason(calls[scope](number)) for number in range(6)]
        error = await refusal(calls[scope](7))

    assert [reason is Reason.RATE_LIMITED for reason in outcomes] == [False] * 3 + [True] * 3
    assert error.metadata == {"scope": scope}
    assert error.retry_after is not None


async def test_without_redis_people_log_in_and_guessing_is_still_slowed(
    database_for: DatabaseFactory, tmp_path: Path
) -> None:
    async with running_user_service(await database_for("user"), tmp_path, **_edge_secret(tmp_path)) as service:
        email = await _registered(service)
        outcomes = Counter([await _outcome(service, email, "a wrong password", "203.0.113.5") for _ in range(100)])

        assert outcomes[Reason.LOGIN_FAILED] <= 12
        assert await _outcome(service, email, PASSWORD, OWNERS_ADDRESS) is None


def _edge_secret(folder: Path) -> dict[str, Path]:
    file = folder / "edge-secret"
    file.write_text(EDGE_SECRET)
    return {"edge_secret_file": file}


def _from(address: str) -> tuple[tuple[str, str], ...]:
    return ((ADDRESS_HEADER, address), (EDGE_SECRET_HEADER, EDGE_SECRET))


async def _registered(service: UserService) -> str:
    """Registers somebody from the owner's address."""
    email = "owner@example.com"
    request = auth_service_pb2.RegisterRequest(email=email, password=PASSWORD)
    return (await service.auth.Register(request, metadata=_from(OWNERS_ADDRESS))).email


async def _login(service: UserService, email: str, password: str, address: str) -> auth_service_pb2.TokenPair:
    request = auth_service_pb2.LoginRequest(email=email, password=password)
    return await service.auth.Login(request, metadata=_from(address))


async def _outcome(service: UserService, email: str, password: str, address: str) -> Reason | None:
    return await _reason(_login(service, email, password, address))


async def _guess_until_strangers_wait_longer_than(*, seconds: float, service: UserService, email: str) -> None:
    """Goes on guessing from ever new networks, patiently: the waits double, and what follows falls into a long one."""
    for number in itertools.count():
        error = await refusal(_login(service, email, "another guess", f"198.18.{number >> 8}.{number & 255}"))
        if error.retry_after is None:
            continue
        if error.retry_after.total_seconds() > seconds:
            return
        await asyncio.sleep(error.retry_after.total_seconds())


async def _reason(call: object) -> Reason | None:
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return (await refusal(_raised(error))).reason
    return None


async def _raised(error: grpc.aio.AioRpcError) -> object:
    raise error
