"""Nobody learns from the text or the time of an answer whether an address has an account.

Times are compared as medians of calls that alternate, so that whatever else the machine does meets both kinds alike. A password
costs so much here that an answer which skipped it would be several times as fast; the margin is far from both.
"""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest
from google.protobuf.message import Message
from pingvas.user.v1 import auth_service_pb2

from svc_common.errors import ServiceError
from tests.factories.user_service import PASSWORD, UserService, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory

ROUNDS = 25
MARGIN = 2.5
"""How many times as long the slower kind may take; skipping the hash makes at least eight of it."""

_numbers = count(1)

Ask = Callable[[str], Awaitable[object]]


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    # A hash of about 60 ms beside some milliseconds for the rest.
    costs = {"argon2_memory_kib": 32 * 1024, "argon2_time_cost": 3, "login_failures_known": 1000}
    limits = {"login_failures_strange": 1000, "login_failures_account": 1000, "login_failures_network": 1000}
    unconfirmed = {"login_requires_verified_email": True, "registration_burst": 1000, "mail_request_burst": 1000}
    async with running_user_service(await database_for("user"), folder, **costs, **limits, **unconfirmed) as service:
        yield service


def unknown() -> str:
    return f"nobody{next(_numbers)}@example.com"


async def medians(ask: Ask, known: str) -> tuple[float, float]:
    """Returns the seconds that an answer takes for a known and for an unknown address."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for times, address in zip(seconds, (known, unknown()), strict=True):
            began = time.perf_counter()
            await ask(address)
            times.append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def assert_alike(found: tuple[float, float]) -> None:
    assert max(found) < MARGIN * min(found), found


def text_of(answer: Message | ServiceError, address: str) -> str:
    """Returns what an answer says, without what belongs to the call itself."""
    if isinstance(answer, ServiceError):
        return f"{answer.reason} {answer.message} {answer.metadata} {answer.retry_after}"
    shown = type(answer)()
    shown.CopyFrom(answer)
    for field in ("user_id", "account_id", "create_time"):
        if field in shown.DESCRIPTOR.fields_by_name:
            shown.ClearField(field)
    return str(shown).replace(address, "ADDRESS").replace(address.partition("@")[0], "NAME")


async def test_log_in_tells_nothing(service: UserService) -> None:
    known = (await service.register()).email

    async def ask(address: str) -> ServiceError:
        return await refusal(service.login(address, "a wrong password"))

    texts = {text_of(await ask(address), address) for address in (known, unknown())}
    # The right password of an address that isn't confirmed is refused alike.
    texts.add(text_of(await refusal(service.login(known, PASSWORD)), known))
    assert len(texts) == 1
    assert_alike(await medians(ask, known))


async def test_registration_tells_nothing(service: UserService) -> None:
    known = (await service.register()).email

    async def ask(address: str) -> Message:
        return await service.register(email=address)

    texts = {text_of(await ask(address), address) for address in (known, unknown())}
    assert len(texts) == 1
    assert_alike(await medians(ask, known))


async def test_asking_for_a_mail_tells_nothing(service: UserService) -> None:
    known = (await service.register()).email

    async def reset(address: str) -> Message:
        return await service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=address))

    async def confirm(address: str) -> Message:
        return await service.auth.ResendVerification(auth_service_pb2.ResendVerificationRequest(email=address))

    for ask in (reset, confirm):
        texts = {text_of(await ask(address), address) for address in (known, unknown())}
        assert len(texts) == 1
        assert_alike(await medians(ask, known))
