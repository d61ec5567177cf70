"""The plan that is sold by contract: requests reach the sales team, and a contract decides over an account for its term."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import enterprise_pb2, enterprise_service_pb2, subscription_pb2, subscription_service_pb2
from pingvas.payment.v1.enterprise_service_pb2_grpc import EnterpriseServiceStub
from pingvas.payment.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id, now
from svc_common.errors import Reason
from tests.factories.ledger import SettableClock
from tests.factories.payment_service import Payment, payment_service, violations
from tests.factories.user_service import UserService, running_user_service
from tests.harness_mail import MailServer, text_of
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of

SALES = "sales@example.com"
WAIT_SECONDS = 120
GIB = 2**30


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    async with payment_service(await database_for("payment"), identities, redis_server.url) as running:
        yield running


def ask(payment: Payment, account: UUID, **fields: Any) -> Any:
    values = {"company": "Sea & Sons", "contact": "maya@example.com", "message": "100,000 pictures a month", **fields}
    request = enterprise_service_pb2.RequestEnterpriseRequest(**values)
    stub = EnterpriseServiceStub(payment.public)
    return stub.RequestEnterprise(request, metadata=payment.identities.as_user(account))


def activate(payment: Payment, account: UUID, **fields: Any) -> Any:
    end_time = Timestamp()
    end_time.FromDatetime(now() + timedelta(days=365))
    values = {"reference": "2026-014", "credits": "500000", "end_time": end_time, "amount_cents": 250_000, **fields}
    request = enterprise_service_pb2.ActivateEnterpriseRequest(account_id=str(account), **values)
    as_administrator = payment.identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)
    return EnterpriseServiceStub(payment.public).ActivateEnterprise(request, metadata=as_administrator)


async def leads(payment: Payment, size: int = 0) -> list[enterprise_pb2.EnterpriseLead]:
    """Returns all leads, read page by page."""
    as_administrator = payment.identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)
    found: list[enterprise_pb2.EnterpriseLead] = []
    request = enterprise_service_pb2.ListEnterpriseLeadsRequest(page_size=size)
    while True:
        page = await EnterpriseServiceStub(payment.public).ListEnterpriseLeads(request, metadata=as_administrator)
        found.extend(page.leads)
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_requests_are_kept_once_each_and_listed_newest_first(payment: Payment) -> None:
    account, other = new_id(), new_id()
    first = await ask(payment, account, request_id="a")
    assert await ask(payment, account, request_id="a") == first
    second = await ask(payment, other, company="둘")
    assert [lead.lead_id for lead in await leads(payment, size=1)] == [second.lead_id, first.lead_id]
    refused = await refusal_of(ask(payment, account, request_id="a", message="something else"))
    assert refused.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_fourth_request_within_a_day_is_refused(payment: Payment) -> None:
    account = new_id()
    for _ in range(3):
        await ask(payment, account)
    refused = await refusal_of(ask(payment, account))
    assert (refused.reason, refused.metadata["limit"]) == (Reason.TOO_MANY_LEADS, "3")
    await ask(payment, new_id())


async def test_contract_gives_tier_limits_credits_and_an_invoice_until_it_ends(payment: Payment) -> None:
    account, clock = new_id(), SettableClock(payment.ledger)
    await clock.install()
    await payment.grant_call(account, 1_000)
    contract = await activate(payment, account, storage_bytes=5_000 * GIB, running_jobs=40)
    assert (contract.credits, contract.currency) == ("500000.000", "USD")
    assert (contract.limits.storage_bytes, contract.limits.running_jobs) == (5_000 * GIB, 40)
    held = await payment.entitlement_call(account)
    assert held.tier == tier_pb2.TIER_ENTERPRISE
    assert held.limits == contract.limits
    # What isn't agreed on is the tier's, and nobody else gets what is.
    assert held.limits.waiting_jobs == 10_000
    await payment.set_tier_call(other := new_id(), tier_pb2.TIER_ENTERPRISE)
    assert (await payment.entitlement_call(other)).limits.running_jobs == 16
    assert (await payment.balance_call(account)).available == "500001.000"
    invoices = await SubscriptionServiceStub(payment.public).ListInvoices(
        subscription_service_pb2.ListInvoicesRequest(), metadata=payment.identities.as_user(account)
    )
    (invoice,) = invoices.invoices
    assert (invoice.reason, invoice.amount_cents) == (subscription_pb2.INVOICE_REASON_CONTRACT, 250_000)
    assert await payment.ledger.breaches() == []

    await clock.advance(timedelta(days=366))

    assert (await payment.entitlement_call(account)).tier == tier_pb2.TIER_FREE
    assert (await payment.balance_call(account)).available == "1.000"
    await payment.ledger.sweep()
    assert await payment.ledger.breaches() == []


async def test_repeated_activation_gives_nothing_twice_and_other_terms_are_refused(payment: Payment) -> None:
    account = new_id()
    end_time = Timestamp()
    end_time.FromDatetime(now() + timedelta(days=30))
    first = await activate(payment, account, end_time=end_time)
    assert await activate(payment, account, end_time=end_time) == first
    assert (await payment.balance_call(account)).available == "500000.000"
    for other in ({"credits": "1"}, {"amount_cents": 1}):
        refused = await refusal_of(activate(payment, account, end_time=end_time, **other))
        assert refused.reason is Reason.ENTERPRISE_CONTRACT_EXISTS
    refused = await refusal_of(activate(payment, new_id(), end_time=end_time))
    assert refused.reason is Reason.ENTERPRISE_CONTRACT_EXISTS


@pytest.mark.parametrize(
    ("field", "value"),
    [("credits", "0"), ("credits", "many"), ("end_time", Timestamp(seconds=1)), ("reference", "a b")],
)
async def test_terms_that_make_no_contract_are_refused(payment: Payment, field: str, value: Any) -> None:
    assert violations(await refusal_of(activate(payment, new_id(), **{field: value}))) == [field]


async def test_users_and_keys_activate_nothing_and_see_no_leads(payment: Payment) -> None:
    account = new_id()
    request = enterprise_service_pb2.ListEnterpriseLeadsRequest()
    stub = EnterpriseServiceStub(payment.public)
    for metadata, reason in (
        (payment.identities.as_user(account), Reason.ROLE_MISSING),
        (payment.identities.as_api_key(account, "admin"), Reason.SCOPE_MISSING),
    ):
        assert (await refusal_of(stub.ListEnterpriseLeads(request, metadata=metadata))).reason is reason


@pytest.fixture
async def users(
    database_for: DatabaseFactory, identities: Identities, mail_server: MailServer, tmp_path: Path
) -> AsyncIterator[UserService]:
    settings = {
        "smtp_url": mail_server.url,
        "service_jwks_file": identities.folder / "services.jwks",
        "sales_email": SALES,
    }
    async with running_user_service(await database_for("user"), tmp_path, **settings) as running:
        yield running


async def test_request_reaches_the_sales_team_and_an_activation_the_audit_log(
    users: UserService,
    mail_server: MailServer,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
) -> None:
    person = await users.register()
    account = UUID(person.account_id)
    place, addresses = await database_for("payment"), {"user_internal_address": users.internal_address}
    async with payment_service(place, identities, redis_server.url, **addresses) as payment:
        await ask(payment, account)
        await activate(payment, account)

        async def is_told() -> bool:
            waiting = await payment.ledger.as_admin("SELECT 1 FROM payment.notices WHERE next_time IS NOT NULL")
            return not waiting and bool(mail_server.to(SALES))

        await until(is_told, within_seconds=WAIT_SECONDS)
    (mail,) = mail_server.to(SALES)
    assert mail["Subject"] == "Somebody asks for the enterprise plan"
    for line in ("Company | Sea & Sons", "Message | 100,000 pictures a month", f"Account | {account}"):
        assert line in text_of(mail)
    assert "Sea &amp; Sons" in text_of(mail, "html")
    (event,) = [each for each in await users.audit_events(account) if each["kind"] == "enterprise_activated"]
    assert event["actor"].startswith("user:")
    assert event["after"] == '{"reference": "2026-014"}'
