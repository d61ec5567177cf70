"""The credits that a person gets once, from a real svc_payment, when their address is confirmed."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from pingvas.payment.v1 import credit_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.user.v1 import auth_service_pb2, user_pb2

from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.user_service import UserService, running_user_service
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_redis import eventually, free_port
from tests.harness_service import Identities, RunningService, running, settings_values


@dataclass(frozen=True, slots=True)
class Newcomers:
    """A svc_user, and a svc_payment that is away until somebody starts it."""

    service: UserService
    mail_server: MailServer
    payment_database: ServiceDatabase
    identities: Identities
    payment_port: int

    def payment(self) -> AbstractAsyncContextManager[RunningService]:
        """Serves payment until the block ends."""
        address = f"127.0.0.1:{self.payment_port}"
        values = settings_values(self.identities, SERVICE_NAME, self.payment_database, internal_address=address)
        return running(compose(PaymentSettings(**values)))

    async def confirm(self, email: str) -> user_pb2.User:
        """Registers somebody and confirms their address."""
        user = await self.service.register(email=email)
        token = token_of(await self.mail_server.mail(email.lower()))
        await self.service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))
        return user

    async def balance(self, payment: RunningService, user: user_pb2.User) -> str:
        """Returns what somebody can spend."""
        metadata = self.identities.as_user(UUID(user.account_id))
        call = CreditServiceStub(payment.public).GetBalance
        return (await call(credit_service_pb2.GetBalanceRequest(), metadata=metadata)).available

    async def nobody_waits(self) -> bool:
        """Tells whether everybody has their credits."""
        return await self.due() == 0

    async def due(self) -> int:
        """Returns how many wait for their credits."""
        connection = await asyncpg.connect(self.service.database.admin_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM users.welcomes WHERE grant_time IS NULL"))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def newcomers(
    database_for: DatabaseFactory, identities: Identities, mail_server: MailServer
) -> AsyncIterator[Newcomers]:
    port = free_port()
    changed = {"smtp_url": mail_server.url, "payment_internal_address": f"127.0.0.1:{port}"}
    async with running_user_service(await database_for("user"), identities.folder, **changed) as service:
        yield Newcomers(service, mail_server, await database_for("payment"), identities, port)


async def test_confirmation_earns_the_credits_at_once(newcomers: Newcomers) -> None:
    async with newcomers.payment() as payment:
        user = await newcomers.confirm("Ada@example.com")

        assert await newcomers.balance(payment, user) == "100.000"


@pytest.mark.parametrize(
    ("first", "second", "earned"),
    [
        ("grace.hopper@gmail.com", "g.race.hopper+two@googlemail.com", "0.000"),
        ("alan+1@outlook.com", "alan+2@outlook.com", "0.000"),
        ("mary@icloud.com", "mary@me.com", "0.000"),
        # Hosts that aren't known to fold may give these to two people.
        ("kim+1@example.org", "kim+2@example.org", "100.000"),
        ("a.b@example.org", "ab@example.org", "100.000"),
        ("john@outlook.com", "john@hotmail.com", "100.000"),
    ],
)
async def test_spellings_of_one_mailbox_earn_them_once(
    newcomers: Newcomers, first: str, second: str, earned: str
) -> None:
    async with newcomers.payment() as payment:
        one, two = await newcomers.confirm(first), await newcomers.confirm(second)

        # Not at once: the connection to the one who was here before may have to be made again.
        await eventually(newcomers.nobody_waits, seconds=60)
        assert [await newcomers.balance(payment, user) for user in (one, two)] == ["100.000", earned]


async def test_credits_come_later_when_payment_was_away(newcomers: Newcomers) -> None:
    user = await newcomers.confirm("patient@example.com")
    assert await newcomers.due() == 1

    async with newcomers.payment() as payment:
        await eventually(newcomers.nobody_waits, seconds=60)
        assert await newcomers.balance(payment, user) == "100.000"


async def test_second_account_after_the_first_was_deleted_earns_none(newcomers: Newcomers) -> None:
    async with newcomers.payment() as payment:
        first = await newcomers.confirm("twice@example.com")
        await eventually(newcomers.nobody_waits, seconds=60)
        connection = await asyncpg.connect(newcomers.service.database.admin_url)
        await connection.execute("DELETE FROM users.users WHERE user_id = $1", UUID(first.user_id))
        await connection.close()

        second = await newcomers.service.register(email="twice@example.com")
        token = token_of(await newcomers.mail_server.mail("twice@example.com", 2))
        await newcomers.service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))

        await eventually(newcomers.nobody_waits, seconds=60)
        assert await newcomers.balance(payment, second) == "0.000"
