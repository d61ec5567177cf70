"""Every method of payment's two services, and each way it refuses, through the real server and its stubs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, entitlement_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from redis.asyncio import Redis

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_common.settings import ServiceSettings
from svc_payment.domain import LONGEST_HOLD
from svc_payment.main import ENTITLEMENT_CHANNEL, SERVICE_NAME, compose
from tests.factories.ledger import HOUR, Ledger, ledger_in
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, Metadata, refusal_of, running, settings_values


@dataclass(frozen=True, slots=True)
class Payment:
    """A running svc_payment, its stubs, and its ledger seen from behind."""

    identities: Identities
    credits: CreditServiceStub
    ledger_service: LedgerServiceStub
    ledger: Ledger

    @property
    def as_generation(self) -> Metadata:
        return self.identities.as_service("svc_generation")

    @property
    def as_operator(self) -> Metadata:
        return self.identities.as_service("operator")

    def grant_call(self, account: UUID, amount: int, **fields: Any) -> Any:
        terms = {"request_id": str(new_id()), "kind": credit_service_pb2.GRANT_KIND_PURCHASED, **fields}
        request = ledger_service_pb2.GrantCreditsRequest(account_id=str(account), amount_millicredits=amount, **terms)
        return self.ledger_service.GrantCredits(request, metadata=self.as_operator)

    def reserve_call(
        self,
        account: UUID,
        amount: int,
        minimum: int | None = None,
        *,
        hold: UUID | None = None,
        lifetime: timedelta = HOUR,
    ) -> Any:
        duration = Duration()
        duration.FromTimedelta(lifetime)
        request = ledger_service_pb2.ReserveCreditsRequest(
            hold_id=str(hold or new_id()),
            account_id=str(account),
            amount_millicredits=amount,
            minimum_millicredits=minimum or amount,
            lifetime=duration,
        )
        return self.ledger_service.ReserveCredits(request, metadata=self.as_generation)

    def settle_call(self, account: UUID, hold: UUID, amount: int) -> Any:
        request = ledger_service_pb2.SettleCreditsRequest(
            account_id=str(account), hold_id=str(hold), amount_millicredits=amount
        )
        return self.ledger_service.SettleCredits(request, metadata=self.as_generation)

    def release_call(self, account: UUID, hold: UUID) -> Any:
        request = ledger_service_pb2.ReleaseCreditsRequest(account_id=str(account), hold_id=str(hold))
        return self.ledger_service.ReleaseCredits(request, metadata=self.as_generation)

    def entitlement_call(self, account: UUID) -> Any:
        request = ledger_service_pb2.GetEntitlementRequest(account_id=str(account))
        return self.ledger_service.GetEntitlement(request, metadata=self.as_generation)

    def set_tier_call(self, account: UUID, tier: tier_pb2.Tier.ValueType) -> Any:
        request = ledger_service_pb2.SetTierRequest(account_id=str(account), tier=tier)
        return self.ledger_service.SetTier(request, metadata=self.as_operator)

    def balance_call(self, account: UUID) -> Any:
        return self.credits.GetBalance(
            credit_service_pb2.GetBalanceRequest(), metadata=self.identities.as_user(account)
        )

    def transactions_call(self, account: UUID, *, size: int = 0, token: str = "") -> Any:
        request = credit_service_pb2.ListTransactionsRequest(page_size=size, page_token=token)
        return self.credits.ListTransactions(request, metadata=self.identities.as_user(account))


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    place = await database_for("payment")
    settings = ServiceSettings(**settings_values(identities, SERVICE_NAME, place, redis_url=redis_server.url))
    async with running(compose(settings)) as service, ledger_in(place) as ledger:
        yield Payment(identities, CreditServiceStub(service.public), LedgerServiceStub(service.internal), ledger)


def _violations(error: ServiceError) -> list[str]:
    assert error.reason is Reason.INVALID_FIELD
    return [violation.field for violation in error.violations]


def _soon(**amount: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(**amount))
    return moment


async def test_balance_is_zero_and_free_for_an_account_that_payment_never_heard_of(payment: Payment) -> None:
    assert await payment.balance_call(new_id()) == credit_service_pb2.Balance(
        available="0.000", held="0.000", tier=tier_pb2.TIER_FREE
    )


async def test_balance_lists_grants_in_order_of_spending(payment: Payment) -> None:
    account = new_id()
    for kind, amount, expire_time in (
        (credit_service_pb2.GRANT_KIND_PURCHASED, 1000, None),
        (credit_service_pb2.GRANT_KIND_PLAN, 2000, _soon(days=30)),
        (credit_service_pb2.GRANT_KIND_PLAN, 3000, _soon(days=3)),
        (credit_service_pb2.GRANT_KIND_PROMOTIONAL, 4000, None),
        (credit_service_pb2.GRANT_KIND_PROMOTIONAL, 5000, _soon(days=-1)),
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


async def test_grant_returns_the_first_grant_for_the_same_request_id(payment: Payment) -> None:
    account, expire_time = new_id(), _soon(days=1)
    terms = {"request_id": "invoice:1042", "expire_time": expire_time}

    first = await payment.grant_call(account, 5000, **terms)
    again = await asyncio.gather(*(payment.grant_call(account, 5000, **terms) for _ in range(20)))

    assert (first.amount, first.remaining, first.expire_time) == ("5.000", "5.000", expire_time)
    assert all(grant == first for grant in again)
    assert (await payment.balance_call(account)).available == "5.000"


@pytest.mark.parametrize(
    "change", [{"amount": 5001}, {"kind": credit_service_pb2.GRANT_KIND_PLAN}, {"expire_time": _soon(days=1)}]
)
async def test_grant_refuses_a_request_id_with_other_terms(payment: Payment, change: dict[str, Any]) -> None:
    account = new_id()
    await payment.grant_call(account, 5000, request_id="invoice:1042")

    terms = {"amount": 5000, "request_id": "invoice:1042", **change}
    error = await refusal_of(payment.grant_call(account, **terms))

    assert (error.reason, error.metadata) == (Reason.GRANT_CONFLICT, {"request_id": "invoice:1042"})
    assert (await payment.balance_call(account)).available == "5.000"


async def test_grant_lets_two_accounts_use_the_same_request_id(payment: Payment) -> None:
    one, other = new_id(), new_id()
    first = await payment.grant_call(one, 5000, request_id="welcome")
    second = await payment.grant_call(other, 7000, request_id="welcome")
    assert first.grant_id != second.grant_id
    assert (await payment.balance_call(other)).available == "7.000"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""),
        ("account_id", "me"),
        ("kind", credit_service_pb2.GRANT_KIND_UNSPECIFIED),
        ("amount_millicredits", 0),
        ("amount_millicredits", 10**15 + 1),
    ],
)
async def test_grant_refuses_invalid_fields(payment: Payment, field: str, value: Any) -> None:
    request = ledger_service_pb2.GrantCreditsRequest(
        request_id="a", account_id=str(new_id()), kind=credit_service_pb2.GRANT_KIND_PLAN, amount_millicredits=1
    )
    setattr(request, field, value)
    call = payment.ledger_service.GrantCredits(request, metadata=payment.as_operator)
    assert _violations(await refusal_of(call)) == [field]


async def test_reserve_holds_the_amount_and_tells_when_it_ends(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)

    hold = await payment.reserve_call(account, 3000, 2000, hold=hold_id)

    assert (hold.hold_id, hold.account_id) == (str(hold_id), str(account))
    assert (hold.amount_millicredits, hold.settled_millicredits) == (3000, 0)
    assert hold.state == ledger_service_pb2.HOLD_STATE_HELD
    remaining = hold.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert HOUR - timedelta(minutes=1) < remaining <= HOUR


async def test_reserve_takes_the_whole_balance_when_it_covers_the_minimum(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 2500)
    assert (await payment.reserve_call(account, 3000, 2000)).amount_millicredits == 2500
    assert (await payment.balance_call(account)).available == "0.000"


@pytest.mark.parametrize("balance", [0, 1999])
async def test_reserve_holds_nothing_when_the_balance_is_below_the_minimum(payment: Payment, balance: int) -> None:
    account = new_id()
    if balance:
        await payment.grant_call(account, balance)

    error = await refusal_of(payment.reserve_call(account, 3000, 2000))

    assert error.reason is Reason.INSUFFICIENT_CREDITS
    assert error.metadata == {"balance": f"{balance // 1000}.{balance % 1000:03d}", "price": "2.000"}
    shown = await payment.balance_call(account)
    assert (shown.available, shown.held) == (error.metadata["balance"], "0.000")


async def test_reserve_ignores_credits_that_lapsed_before_any_sweep(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 5000, expire_time=_soon(seconds=-1))
    error = await refusal_of(payment.reserve_call(account, 1000))
    assert error.metadata["balance"] == "0.000"


async def test_reserve_answers_alike_for_one_id_fifty_times_in_parallel(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)

    holds = await asyncio.gather(*(payment.reserve_call(account, 1000, hold=hold_id) for _ in range(50)))

    assert all(hold == holds[0] for hold in holds)
    assert (await payment.balance_call(account)).held == "1.000"


async def test_reserve_returns_a_closed_hold_in_its_present_state(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 1000, hold=hold_id)
    settled = await payment.settle_call(account, hold_id, 400)
    assert await payment.reserve_call(account, 1000, hold=hold_id) == settled


@pytest.mark.parametrize(
    "change", [{"amount": 1001}, {"minimum": 900}, {"lifetime": 2 * HOUR}, {"account": UUID(int=7)}]
)
async def test_reserve_refuses_a_hold_id_with_other_terms(payment: Payment, change: dict[str, Any]) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.grant_call(UUID(int=7), 5000)
    terms: dict[str, Any] = {"account": account, "amount": 1000, "minimum": 1000, "hold": hold_id}
    await payment.reserve_call(**terms)

    error = await refusal_of(payment.reserve_call(**(terms | change)))

    assert (error.reason, error.metadata) == (Reason.HOLD_CONFLICT, {"hold_id": str(hold_id)})
    assert (await payment.balance_call(account)).held == "1.000"
    assert (await payment.balance_call(UUID(int=7))).held == "0.000"


async def test_reserve_accepts_exactly_what_is_covered_for_two_hundred_parallel_calls(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 100_000)

    answers = await asyncio.gather(*(payment.reserve_call(account, 1000) for _ in range(200)), return_exceptions=True)

    assert Counter(type(answer).__name__ for answer in answers) == {"Hold": 100, "AioRpcError": 100}
    balance = await payment.balance_call(account)
    assert (balance.available, balance.held) == ("0.000", "100.000")
    assert await payment.ledger.breaches() == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("minimum_millicredits", {"minimum": 3001}),
        ("amount_millicredits", {"amount": -1, "minimum": 1}),
        ("lifetime", {"lifetime": timedelta(0)}),
        ("lifetime", {"lifetime": LONGEST_HOLD + timedelta(seconds=1)}),
    ],
)
async def test_reserve_refuses_invalid_fields(payment: Payment, field: str, change: dict[str, Any]) -> None:
    terms: dict[str, Any] = {"account": new_id(), "amount": 3000, "minimum": 2000}
    assert _violations(await refusal_of(payment.reserve_call(**(terms | change)))) == [field]


async def test_settle_spends_a_part_and_gives_the_rest_back(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 3000, hold=hold_id)

    hold = await payment.settle_call(account, hold_id, 1200)

    assert (hold.state, hold.settled_millicredits) == (ledger_service_pb2.HOLD_STATE_SETTLED, 1200)
    balance = await payment.balance_call(account)
    assert (balance.available, balance.held) == ("3.800", "0.000")
    assert await payment.settle_call(account, hold_id, 1200) == hold


async def test_settle_never_spends_more_than_the_hold(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 3000, hold=hold_id)

    assert (await payment.settle_call(account, hold_id, 4000)).settled_millicredits == 3000
    assert (await payment.balance_call(account)).available == "2.000"


async def test_release_gives_everything_back(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 3000, hold=hold_id)

    hold = await payment.release_call(account, hold_id)

    assert (hold.state, hold.settled_millicredits) == (ledger_service_pb2.HOLD_STATE_RELEASED, 0)
    assert await payment.release_call(account, hold_id) == hold
    balance = await payment.balance_call(account)
    assert (balance.available, balance.held) == ("5.000", "0.000")


async def test_close_refuses_a_second_way_of_closing(payment: Payment) -> None:
    account, settled, released = new_id(), new_id(), new_id()
    await payment.grant_call(account, 5000)
    for hold_id in (settled, released):
        await payment.reserve_call(account, 1000, hold=hold_id)
    await payment.settle_call(account, settled, 400)
    await payment.release_call(account, released)

    for call, hold_id, state in (
        (payment.settle_call(account, settled, 401), settled, "settled"),
        (payment.release_call(account, settled), settled, "settled"),
        (payment.settle_call(account, released, 400), released, "released"),
    ):
        error = await refusal_of(call)
        assert (error.reason, error.metadata) == (Reason.HOLD_CLOSED, {"hold_id": str(hold_id), "state": state})
    assert (await payment.balance_call(account)).available == "4.600"


async def test_close_does_not_find_holds_of_other_accounts(payment: Payment) -> None:
    account, hold_id = new_id(), new_id()
    await payment.grant_call(account, 5000)
    await payment.reserve_call(account, 1000, hold=hold_id)

    for call in (
        payment.settle_call(new_id(), hold_id, 400),
        payment.release_call(new_id(), hold_id),
        payment.release_call(account, UUID(int=9)),
    ):
        assert (await refusal_of(call)).reason is Reason.HOLD_NOT_FOUND
    assert (await payment.balance_call(account)).held == "1.000"


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
    assert _violations(await refusal_of(payment.transactions_call(new_id(), size=size))) == ["page_size"]


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
        await listener.subscribe(ENTITLEMENT_CHANNEL)
        assert (await listener.get_message(timeout=5))["type"] == "subscribe"

        await payment.set_tier_call(account, tier_pb2.TIER_FREE)

        message = await listener.get_message(timeout=5)
        assert message["data"].decode() == str(account)
    assert (await payment.entitlement_call(account)).tier == tier_pb2.TIER_FREE


async def test_set_tier_succeeds_while_redis_is_away(database_for: DatabaseFactory, identities: Identities) -> None:
    place = await database_for("payment")
    settings = ServiceSettings(**settings_values(identities, SERVICE_NAME, place))
    async with running(compose(settings)) as service:
        request = ledger_service_pb2.SetTierRequest(account_id=str(new_id()), tier=tier_pb2.TIER_PRO)
        answer = await LedgerServiceStub(service.internal).SetTier(request, metadata=identities.as_service("operator"))
    assert answer.tier == tier_pb2.TIER_PRO


async def test_audit_lists_the_breaches_of_the_whole_ledger_or_of_an_account(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 1000)
    everything = ledger_service_pb2.AuditLedgerRequest()
    stub, metadata = payment.ledger_service, payment.as_operator
    assert list((await stub.AuditLedger(everything, metadata=metadata)).breaches) == []

    await payment.ledger.as_admin("UPDATE payment.accounts SET held = 1")

    found = (await stub.AuditLedger(everything, metadata=metadata)).breaches
    assert {(breach.invariant, breach.reference) for breach in found} == {
        ("held_differs_from_journal", str(account)),
        ("held_differs_from_holds", str(account)),
    }
    other = ledger_service_pb2.AuditLedgerRequest(account_id=str(new_id()))
    assert list((await stub.AuditLedger(other, metadata=metadata)).breaches) == []


@pytest.mark.parametrize(
    ("method", "allowed"),
    [
        ("GrantCredits", {"operator", "svc_user"}),
        ("ReserveCredits", {"svc_generation"}),
        ("SettleCredits", {"svc_generation"}),
        ("ReleaseCredits", {"svc_generation"}),
        ("GetEntitlement", {"svc_generation", "svc_models", "svc_gallery", "svc_user", "operator"}),
        ("SetTier", {"operator"}),
        ("AuditLedger", {"operator", "svc_generation"}),
    ],
)
async def test_ledger_methods_serve_only_the_services_that_they_name(
    payment: Payment, method: str, allowed: set[str]
) -> None:
    request = getattr(ledger_service_pb2, f"{method}Request")(account_id="not an id")
    call = getattr(payment.ledger_service, method)

    for caller in ("svc_user", "svc_payment", "svc_generation", "svc_gallery", "svc_models", "gpu_worker", "operator"):
        error = await refusal_of(call(request, metadata=payment.identities.as_service(caller)))
        expected = Reason.INVALID_FIELD if caller in allowed else Reason.CALLER_NOT_ALLOWED
        assert error.reason is expected, caller
    assert (await refusal_of(call(request))).reason is Reason.CREDENTIALS_MISSING


async def test_credit_methods_want_a_user(payment: Payment) -> None:
    for call, request in (
        (payment.credits.GetBalance, credit_service_pb2.GetBalanceRequest()),
        (payment.credits.ListTransactions, credit_service_pb2.ListTransactionsRequest()),
    ):
        assert (await refusal_of(call(request))).reason is Reason.CREDENTIALS_MISSING
        assert (await refusal_of(call(request, metadata=payment.as_operator))).reason is Reason.TOKEN_INVALID
