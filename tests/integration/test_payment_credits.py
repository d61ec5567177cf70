"""What a person sees of their credits and what an account may do, through the real server and its stubs."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, entitlement_pb2, ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from redis.asyncio import Redis

from svc_common.clock import new_id
from svc_common.entitlements import ENTITLEMENT_CHANGED
from svc_common.errors import Reason
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.payment_service import Payment, payment_service, soon, violations
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of, running, settings_values


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    async with payment_service(await database_for("payment"), identities, redis_server.url) as running_service:
        yield running_service


async def test_balance_is_zero_and_free_for_an_account_that_payment_never_heard_of(payment: Payment) -> None:
    assert await payment.balance_call(new_id()) == credit_service_pb2.Balance(
        available="0.000", held="0.000", tier=tier_pb2.TIER_FREE
    )


async def test_balance_lists_grants_in_order_of_spending(payment: Payment) -> None:
    account = new_id()
    for kind, amount, expire_time in (
        (credit_service_pb2.GRANT_KIND_PURCHASED, 1000, None),
        (credit_service_pb2.GRANT_KIND_PLAN, 2000, soon(days=30)),
        (credit_service_pb2.GRANT_KIND_PLAN, 3000, soon(days=3)),
        (credit_service_pb2.GRANT_KIND_PROMOTIONAL, 4000, None),
        (credit_service_pb2.GRANT_KIND_PROMOTIONAL, 5000, soon(days=-1)),
    ):
        await payment.grant_call(account, amount, kind=kind, expire_time=expire_time)
    await payment.reserve_call(account, 4500)

    balance = await payment.balance_call(account)

    assert [(grant.amount, grant.remaining) for grant in balance.grants] == [
        ("3.000", "2.500"),
        ("2.000", "2.000"),
        ("1.000", "1.000"),
    ]
    assert (balance.available, balance.held) == ("5.500", "4.500")


async def test_transactions_tell_each_movement_newest_first(payment: Payment) -> None:
    account, settled, released = new_id(), new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 3000, hold=settled)
    await payment.settle_call(account, settled, 1200)
    await payment.reserve_call(account, 1000, hold=released)
    await payment.release_call(account, released)

    answer = await payment.transactions_call(account)

    kind = credit_service_pb2.TransactionKind
    assert [(kind.Name(line.kind)[17:], line.amount, line.spent, line.job_id) for line in answer.transactions] == [
        ("RELEASE", "1.000", "0.000", str(released)),
        ("RESERVE", "-1.000", "0.000", str(released)),
        ("SETTLE", "1.800", "1.200", str(settled)),
        ("RESERVE", "-3.000", "0.000", str(settled)),
        ("GRANT", "5.000", "0.000", ""),
    ]
    assert answer.next_page_token == ""
    ids = [UUID(line.transaction_id) for line in answer.transactions]
    assert {identifier.version for identifier in ids} == {7}
    assert len(set(ids)) == 5


async def test_transactions_come_page_by_page_while_new_ones_arrive(payment: Payment) -> None:
    account = new_id()
    for number in range(7):
        await payment.grant_call(account, 1000 + number)

    amounts, token = [], ""
    while True:
        page = await payment.transactions_call(account, size=3, token=token)
        amounts += [line.amount for line in page.transactions]
        token = page.next_page_token
        if not token:
            break
        await payment.grant_call(account, 9000)

    assert amounts == [f"1.00{number}" for number in reversed(range(7))]


async def test_transactions_refuse_the_token_of_another_account(payment: Payment) -> None:
    one, other = new_id(), new_id()
    for _ in range(2):
        await payment.grant_call(one, 1000)
    token = (await payment.transactions_call(one, size=1)).next_page_token

    for account, bad_token in ((other, token), (one, "AAAA"), (one, token[:-2])):
        error = await refusal_of(payment.transactions_call(account, token=bad_token))
        assert error.reason is Reason.PAGE_TOKEN_INVALID


async def test_transactions_show_nothing_of_other_accounts(payment: Payment) -> None:
    await payment.grant_call(new_id(), 1000)
    assert list((await payment.transactions_call(new_id())).transactions) == []


@pytest.mark.parametrize("size", [-1, 201])
async def test_transactions_refuse_a_page_size_out_of_range(payment: Payment, size: int) -> None:
    assert violations(await refusal_of(payment.transactions_call(new_id(), size=size))) == ["page_size"]


async def test_entitlement_is_free_for_an_account_that_payment_never_heard_of(payment: Payment) -> None:
    account = new_id()
    assert await payment.entitlement_call(account) == entitlement_pb2.Entitlement(
        account_id=str(account),
        tier=tier_pb2.TIER_FREE,
        limits=entitlement_pb2.TierLimits(
            running_jobs=1,
            waiting_jobs=5,
            model_families=["tiny", "sd15"],
            largest_side_px=768,
            images_per_job=1,
            step_count=30,
            storage_bytes=2**30,
            requests_per_second=5,
            request_burst=25,
        ),
        standing=entitlement_pb2.STANDING_GOOD,
    )


@pytest.mark.parametrize(
    ("tier", "running", "waiting", "families", "side", "images", "steps", "gibibytes", "rate", "burst"),
    [
        (tier_pb2.TIER_STARTER, 2, 50, {"tiny", "sd15"}, 1024, 2, 50, 20, 20, 100),
        (tier_pb2.TIER_PRO, 4, 200, {"tiny", "sd15", "sdxl", "flux", "zimage"}, 1536, 4, 100, 100, 50, 250),
        (tier_pb2.TIER_STUDIO, 8, 1000, {"tiny", "sd15", "sdxl", "flux", "zimage"}, 2048, 4, 150, 200, 100, 500),
        (
            tier_pb2.TIER_ENTERPRISE,
            16,
            10000,
            {"tiny", "sd15", "sdxl", "flux", "zimage"},
            4096,
            8,
            150,
            1024,
            500,
            2500,
        ),
    ],
)
async def test_set_tier_changes_the_entitlement_at_once(
    payment: Payment,
    tier: tier_pb2.Tier.ValueType,
    running: int,
    waiting: int,
    families: set[str],
    side: int,
    images: int,
    steps: int,
    gibibytes: int,
    rate: int,
    burst: int,
) -> None:
    account = new_id()

    answer = await payment.set_tier_call(account, tier)

    limits = answer.limits
    assert (answer.account_id, answer.tier) == (str(account), tier)
    assert (limits.running_jobs, limits.waiting_jobs, set(limits.model_families)) == (running, waiting, families)
    assert (limits.largest_side_px, limits.images_per_job, limits.step_count) == (side, images, steps)
    assert (limits.storage_bytes, limits.requests_per_second) == (gibibytes * 2**30, rate)
    assert limits.request_burst == burst
    assert await payment.entitlement_call(account) == answer
    assert (await payment.balance_call(account)).tier == tier


async def test_set_tier_announces_the_account_after_the_commit(payment: Payment, redis: Redis) -> None:
    account = new_id()
    await payment.set_tier_call(account, tier_pb2.TIER_PRO)
    async with redis.pubsub() as listener:
        await listener.subscribe(ENTITLEMENT_CHANGED)
        assert (await listener.get_message(timeout=5))["type"] == "subscribe"

        await payment.set_tier_call(account, tier_pb2.TIER_FREE)

        message = await listener.get_message(timeout=5)
        assert message["data"].decode() == str(account)
    assert (await payment.entitlement_call(account)).tier == tier_pb2.TIER_FREE


async def test_set_tier_succeeds_while_redis_is_away(database_for: DatabaseFactory, identities: Identities) -> None:
    place = await database_for("payment")
    settings = PaymentSettings(**settings_values(identities, SERVICE_NAME, place))
    async with running(compose(settings)) as service:
        request = ledger_service_pb2.SetTierRequest(account_id=str(new_id()), tier=tier_pb2.TIER_PRO)
        answer = await LedgerServiceStub(service.internal).SetTier(request, metadata=identities.as_service("operator"))
    assert answer.tier == tier_pb2.TIER_PRO


async def test_credit_methods_want_a_user(payment: Payment) -> None:
    for call, request in (
        (payment.credits.GetBalance, credit_service_pb2.GetBalanceRequest()),
        (payment.credits.ListTransactions, credit_service_pb2.ListTransactionsRequest()),
    ):
        assert (await refusal_of(call(request))).reason is Reason.CREDENTIALS_MISSING
        assert (await refusal_of(call(request, metadata=payment.as_operator))).reason is Reason.TOKEN_INVALID
