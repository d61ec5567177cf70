"""What a flood of logins does to svc_user: it is refused, and memory stays bounded."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from pingvas.user.v1 import auth_service_pb2

from svc_common.errors import Code, Reason
from tests.factories.user_service import PASSWORD, UserService, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory, until

HASH_MIB = 64
CONCURRENCY = 2
# The hashes that may run at once, and half as much again for everything else that a flood allocates.
BOUND_MIB = CONCURRENCY * HASH_MIB + 64
SAMPLE_SECONDS = 0.002
# Hashing is what is flooded here; how often one may guess is another limit.
GUESSES_ARE_FREE = {"login_failures_known": 10_000, "login_burst": 10_000}
# However busy the machine that the tests run on.
PATIENCE_SECONDS = 60.0
PAGES_PER_MIB = 256


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    limits = {
        "argon2_memory_kib": HASH_MIB * 1024,
        "argon2_time_cost": 2,
        "password_concurrency": CONCURRENCY,
        "password_max_waiting": 4,
        # Longer than any call here lives: a refusal can only mean that too many were waiting.
        "password_longest_wait_seconds": 120.0,
        **GUESSES_ARE_FREE,
    }
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder, **limits) as running:
        yield running


async def test_login_flood_is_refused_and_memory_stays_bounded(service: UserService) -> None:
    email = (await service.register()).email

    with _peak_memory() as peak:
        answers = await asyncio.gather(*(_login(service, email) for _ in range(60)), return_exceptions=True)

    outcomes = Counter(
        answer.code() if isinstance(answer, grpc.aio.AioRpcError) else type(answer) for answer in answers
    )
    assert outcomes.keys() == {auth_service_pb2.TokenPair, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert outcomes[auth_service_pb2.TokenPair] >= CONCURRENCY + 4
    assert HASH_MIB <= peak.growth_mib < BOUND_MIB
    assert (await _login(service, email)).access_token


async def test_flood_refusal_says_when_to_call_again(service: UserService) -> None:
    email = (await service.register()).email

    calls = [refusal(_login(service, email, "wrong password")) for _ in range(30)]
    refusals = await asyncio.gather(*calls)

    overloaded = [error for error in refusals if error.reason is Reason.OVERLOADED]
    assert {error.reason for error in refusals} == {Reason.OVERLOADED, Reason.LOGIN_FAILED}
    assert {(error.code, error.retry_after) for error in overloaded} == {
        (Code.RESOURCE_EXHAUSTED, timedelta(seconds=120))
    }


async def test_callers_who_hang_up_free_no_memory_that_is_still_in_use(service: UserService) -> None:
    email = (await service.register()).email

    with _peak_memory() as peak:
        waves = [await _give_up_logins(service, email) for _ in range(10)]

    assert sum(waves) > CONCURRENCY
    assert peak.growth_mib < BOUND_MIB
    # Every slot comes back once its hash has ended: as many callers as may run and wait are served again.
    await until(lambda: _serves_at_once(service, email, CONCURRENCY + 4), within_seconds=PATIENCE_SECONDS)


async def test_caller_who_waited_too_long_is_refused(service: UserService, tmp_path: Path) -> None:
    limits = {
        "argon2_memory_kib": HASH_MIB * 1024,
        "password_concurrency": 1,
        "password_longest_wait_seconds": 0.1,
        **GUESSES_ARE_FREE,
    }
    async with running_user_service(service.database, tmp_path, **limits) as impatient:
        email = (await impatient.register()).email
        answers = await asyncio.gather(*(_login(impatient, email) for _ in range(40)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]

        assert {answer.code() for answer in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 0 < len(refused) < 40
        assert (await _login(impatient, email)).access_token


class _PeakMemory(threading.Thread):
    """Samples this process's resident memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._start_mib = self._peak_mib = _resident_mib()

    @property
    def growth_mib(self) -> float:
        """The highest memory seen, above that at the start."""
        return self._peak_mib - self._start_mib

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._peak_mib = max(self._peak_mib, _resident_mib())

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@contextmanager
def _peak_memory() -> Iterator[_PeakMemory]:
    peak = _PeakMemory()
    peak.start()
    try:
        yield peak
    finally:
        peak.stop()


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES_PER_MIB


async def _login(service: UserService, email: str, password: str = PASSWORD) -> auth_service_pb2.TokenPair:
    request = auth_service_pb2.LoginRequest(email=email, password=password)
    return await service.auth.Login(request, timeout=PATIENCE_SECONDS)


async def _give_up_logins(service: UserService, email: str) -> int:
    """Calls ten times with too little patience for a hash, and tells how many were given up while they were served."""
    request = auth_service_pb2.LoginRequest(email=email, password=PASSWORD)
    calls = [service.auth.Login(request, timeout=0.06) for _ in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return sum(
        isinstance(answer, grpc.aio.AioRpcError) and answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for answer in answers
    )


async def _serves_at_once(service: UserService, email: str, count: int) -> bool:
    answers = await asyncio.gather(*(_login(service, email) for _ in range(count)), return_exceptions=True)
    return all(isinstance(answer, auth_service_pb2.TokenPair) for answer in answers)
