"""Every movement of credits and the audit, and each way to be refused, through the real server and its stubs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_payment.domain.ledger import LONGEST_HOLD
from tests.factories.ledger import HOUR
from tests.factories.payment_service import Payment, payment_service, soon, violations
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    async with payment_service(await database_for("payment"), identities, redis_server.url) as running_service:
        yield running_service


async def test_grant_returns_the_first_grant_for_the_same_request_id(payment: Payment) -> None:
    account, expire_time = new_id(), soon(days=1)
    terms = {"request_id": "invoice:1042", "expire_time": expire_time}

    first = await payment.grant_call(account, 5000, **terms)
    again = await asyncio.gather(*(payment.grant_call(account, 5000, **terms) for _ in range(20)))

    assert (first.amount, first.remaining, first.expire_time) == ("5.000", "5.000", expire_time)
    assert all(grant == first for grant in again)
    assert (await payment.balance_call(account)).available == "5.000"


@pytest.mark.parametrize(
    "change", [{"amount": 5001}, {"kind": credit_service_pb2.GRANT_KIND_PLAN}, {"expire_time": soon(days=1)}]
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
    assert violations(await refusal_of(call)) == [field]


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
    await payment.grant_call(account, 5000, expire_time=soon(seconds=-1))
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
    assert violations(await refusal_of(payment.reserve_call(**(terms | change)))) == [field]


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
        amount = "400" if state == "settled" else "0"
        known = {"hold_id": str(hold_id), "state": state, "settled_millicredits": amount}
        assert (error.reason, error.metadata) == (Reason.HOLD_CLOSED, known)
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


async def test_open_holds_of_all_accounts_are_listed_page_by_page(payment: Payment) -> None:
    ada, bob = new_id(), new_id()
    holds = [new_id() for _ in range(5)]
    for account in (ada, bob):
        await payment.grant_call(account, 5000)
    # Made in another order than that in which they expire.
    for account, number in ((ada, 3), (bob, 1), (ada, 0), (bob, 4), (ada, 2)):
        await payment.reserve_call(account, 100, hold=holds[number], lifetime=(number + 1) * HOUR)
    await payment.settle_call(ada, holds[0], 50)
    await payment.release_call(bob, holds[4])
    request = ledger_service_pb2.ListOpenHoldsRequest(held_before=soon(seconds=1), page_size=2)

    first = await payment.ledger_service.ListOpenHolds(request, metadata=payment.as_generation)
    request.page_token = first.next_page_token
    second = await payment.ledger_service.ListOpenHolds(request, metadata=payment.as_generation)

    listed = [(UUID(hold.hold_id), UUID(hold.account_id)) for page in (first, second) for hold in page.holds]
    assert listed == [(holds[1], bob), (holds[2], ada), (holds[3], ada)]
    assert (len(first.holds), second.next_page_token) == (2, "")
    request.held_before.CopyFrom(soon(seconds=2))
    refused = await refusal_of(payment.ledger_service.ListOpenHolds(request, metadata=payment.as_generation))
    assert refused.reason is Reason.PAGE_TOKEN_INVALID
    earlier = ledger_service_pb2.ListOpenHoldsRequest(held_before=soon(seconds=-60))
    assert not (await payment.ledger_service.ListOpenHolds(earlier, metadata=payment.as_generation)).holds


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
        ("ListOpenHolds", {"svc_generation"}),
        ("GetEntitlement", {"svc_generation", "svc_models", "svc_gallery", "svc_user", "operator"}),
        ("SetTier", {"operator"}),
        ("AuditLedger", {"operator", "svc_generation"}),
    ],
)
async def test_ledger_methods_serve_only_the_services_that_they_name(
    payment: Payment, method: str, allowed: set[str]
) -> None:
    invalid = {"page_size": -1} if method == "ListOpenHolds" else {"account_id": "not an id"}
    request = getattr(ledger_service_pb2, f"{method}Request")(**invalid)
    call = getattr(payment.ledger_service, method)

    for caller in ("svc_user", "svc_payment", "svc_generation", "svc_gallery", "svc_models", "gpu_worker", "operator"):
        error = await refusal_of(call(request, metadata=payment.identities.as_service(caller)))
        expected = Reason.INVALID_FIELD if caller in allowed else Reason.CALLER_NOT_ALLOWED
        assert error.reason is expected, caller
    assert (await refusal_of(call(request))).reason is Reason.CREDENTIALS_MISSING
