"""Accounts that sign in at a provider: the credits of newcomers, sessions with their device, and passwords set later."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from pingvas.payment.v1 import credit_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.user.v1 import auth_service_pb2, identity_service_pb2, user_service_pb2
from pingvas.user.v1.identity_service_pb2_grpc import IdentityServiceStub

from svc_common.errors import Reason
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.sign_ins import StandIns, Studio, running_studio, serving_stand_ins
from tests.factories.user_service import bearer, refusal
from tests.fakes.providers import Account
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer, free_port
from tests.harness_service import Identities, running, settings_values

PASSWORD = "a password of my own"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/145.0"

_subjects = iter(range(10**17, 10**18))


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[StandIns]:
    with serving_stand_ins() as serving:
        yield serving


@pytest.fixture(scope="module")
def payment_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
async def studio(
    database_for: DatabaseFactory,
    identities: Identities,
    mail_server: MailServer,
    own_redis: RedisServer,
    stand_ins: StandIns,
    payment_port: int,
) -> AsyncIterator[Studio]:
    own_redis.start()
    changed = {"smtp_url": mail_server.url, "payment_internal_address": f"127.0.0.1:{payment_port}"}
    try:
        database = await database_for("user")
        async with running_studio(database, identities.folder, own_redis.url, stand_ins, **changed) as serving:
            yield serving
    finally:
        own_redis.stop()


def account_at(studio: Studio, email: str) -> Account:
    """Makes an account at Google."""
    account = Account(subject=str(next(_subjects)), email=email, name="Ada Lovelace")
    studio.stand_ins.google.accounts.append(account)
    return account


async def sign_in(studio: Studio, account: Account) -> str:
    """Signs in at Google and returns the access token."""
    async with studio.browser() as browser:
        browser.http.headers["user-agent"] = FIREFOX
        return await browser.sign_in("google", account)


async def reset(studio: Studio, mail_server: MailServer, email: str, number: int) -> None:
    """Sets PASSWORD by the n-th mail to an address."""
    await studio.service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=email))
    token = token_of(await mail_server.mail(email, number))
    await studio.service.auth.ResetPassword(auth_service_pb2.ResetPasswordRequest(token=token, new_password=PASSWORD))


async def test_address_that_a_provider_vouches_for_earns_the_credits_once(
    studio: Studio, database_for: DatabaseFactory, identities: Identities, payment_port: int
) -> None:
    address = f"127.0.0.1:{payment_port}"
    values = settings_values(identities, SERVICE_NAME, await database_for("payment"), internal_address=address)
    async with running(compose(PaymentSettings(**values))) as payment:
        balances = []
        for email in ("grace.hopper@gmail.com", "gracehopper+2@gmail.com"):
            user = await studio.me(await sign_in(studio, account_at(studio, email)))
            metadata = identities.as_user(UUID(user.account_id))
            call = CreditServiceStub(payment.public).GetBalance
            balances.append((await call(credit_service_pb2.GetBalanceRequest(), metadata=metadata)).available)

    assert balances == ["100.000", "0.000"]


async def test_session_tells_the_browser_that_signed_in(studio: Studio) -> None:
    access_token = await sign_in(studio, account_at(studio, "device@example.com"))

    request = user_service_pb2.ListSessionsRequest()
    (session,) = (await studio.service.users.ListSessions(request, metadata=bearer(access_token))).sessions

    assert (session.device, session.is_current) == ("Firefox on Windows", True)


async def test_account_without_a_password_sets_one_by_mail(studio: Studio, mail_server: MailServer) -> None:
    account = account_at(studio, "no-password@example.com")
    access_token = await sign_in(studio, account)
    change = auth_service_pb2.ChangePasswordRequest(current_password="any", new_password=PASSWORD)

    refused = await refusal(studio.service.auth.ChangePassword(change, metadata=bearer(access_token)))
    await reset(studio, mail_server, account.email, 1)
    pair = await studio.service.login(account.email, PASSWORD)

    assert refused.reason is Reason.LOGIN_FAILED
    assert "ForgotPassword" in refused.message
    ways = await studio.linked(pair.access_token)
    assert (ways.has_password, [identity.email for identity in ways.identities]) == (True, [account.email])


async def test_owner_of_an_address_locks_out_who_registered_it_before(studio: Studio, mail_server: MailServer) -> None:
    user = await studio.service.register(email="taken@example.com")
    stranger = account_at(studio, "stranger@example.com")
    async with studio.browser() as browser:
        await browser.link("google", stranger, (await studio.service.login(user.email)).access_token)

    # Behind the mails that confirm the address and tell of the identity.
    await reset(studio, mail_server, user.email, 3)

    ways = await studio.linked((await studio.service.login(user.email, PASSWORD)).access_token)
    assert (ways.has_password, list(ways.identities)) == (True, [])
    assert (await studio.me(await sign_in(studio, stranger))).user_id != user.user_id


async def test_owner_is_told_when_an_identity_is_linked_or_unlinked(studio: Studio, mail_server: MailServer) -> None:
    user = await studio.service.register(email="watchful@example.com")
    token = (await studio.service.login(user.email)).access_token
    async with studio.browser() as browser:
        await browser.link("google", account_at(studio, "mine@example.com"), token)
    assert (await mail_server.mail(user.email, 2))["Subject"] == "A way to sign in was added"

    (identity,) = (await studio.linked(token)).identities
    request = identity_service_pb2.UnlinkIdentityRequest(identity_id=identity.identity_id)
    await IdentityServiceStub(studio.service.public).UnlinkIdentity(request, metadata=bearer(token))
    assert (await mail_server.mail(user.email, 3))["Subject"] == "A way to sign in was removed"
