"""Reports of the provider in every order, forged, repeated and of somebody else, over real servers."""

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import subscription_pb2
from prometheus_client import REGISTRY

from studio.payments.deliveries import Faults, Message
from svc_common.clock import new_id
from tests.factories.shop import OLD_SECRET, Shop

# What four reports of a first payment have in common with what follows, whatever order they come in.
FIRST_REPORTS = ("subscription_created", "order_created", "subscription_payment_success", "subscription_updated")


async def _first_reports(shop: Shop) -> dict[str, Message]:
    """Pays for a plan while the provider keeps its reports back, and returns them by name."""
    shop.deliveries.faults = Faults(holds=True)
    checkout = await shop.checkout_call("pro")
    shop.book.pay(shop.book.checkouts[checkout.url.rpartition("/")[2]])
    reports = {message.name: message for message in shop.deliveries.held}
    assert set(reports) == set(FIRST_REPORTS)
    return reports


async def _state(shop: Shop) -> Any:
    grants = await shop.payment.ledger.as_admin("SELECT request_id, amount, remaining, lapsed FROM payment.grants")
    subscriptions = await shop.payment.ledger.as_admin(
        "SELECT plan_id, status, failure_time FROM payment.subscriptions ORDER BY subscription_id"
    )
    return [tuple(row) for row in grants], [tuple(row) for row in subscriptions]


async def test_every_order_of_the_first_reports_ten_times_in_parallel_gives_one_grant(shop: Shop) -> None:
    for order in itertools.permutations(FIRST_REPORTS):
        shop.account = new_id()
        shop.deliveries.held.clear()
        reports = await _first_reports(shop)
        for name in order:
            await asyncio.gather(*(shop.receive(reports[name]) for _ in range(10)))
        await shop.settled()

        assert await shop.available() == 15_000, order
        current = await shop.current()
        assert (current.plan_id, current.state) == ("pro", subscription_pb2.SUBSCRIPTION_STATE_ACTIVE), order
        assert len(await shop.invoices()) == 1, order
    # 24 buyers with four reports each, of which every one was kept once.
    assert sum((await shop.inbox()).values()) == 24 * 4
    (row,) = await shop.payment.ledger.as_admin("SELECT count(*) AS grants FROM payment.grants")
    assert row["grants"] == 24


async def test_all_reports_at_once_give_one_grant(shop: Shop) -> None:
    reports = await _first_reports(shop)

    await asyncio.gather(*(shop.receive(report) for report in reports.values() for _ in range(10)))
    await shop.settled()

    assert await shop.available() == 15_000
    assert len(await shop.invoices()) == 1


async def test_every_order_of_a_recovery_ends_active(shop: Shop) -> None:
    await shop.buy("starter")
    shop.book.declines = True
    shop.deliveries.faults = Faults(holds=True)
    shop.book.turn_clock(timedelta(days=30))
    shop.book.declines = False
    shop.book.turn_clock(timedelta(days=3))
    reports = list(shop.deliveries.held)
    assert [report.name for report in reports] == [
        "subscription_payment_failed",
        "subscription_updated",
        "subscription_payment_recovered",
        "subscription_payment_success",
        "subscription_updated",
    ]
    account = shop.account
    recovery = (reports[2], reports[3], reports[4])
    for blocks in itertools.permutations([(reports[0],), (reports[1],), recovery]):
        order = [report for block in blocks for report in block]
        # The same bytes are kept once, so each order begins with an empty inbox and with what was known before.
        await shop.payment.ledger.as_admin(
            "DELETE FROM payment.webhook_inbox",
            f"UPDATE payment.subscriptions SET status = 'active', update_time = '2020-01-01', failure_time = NULL, "  # noqa: S608
            f"paid_time = '2020-01-01' WHERE account_id = '{account}'",
        )
        for report in order:
            await shop.receive(report)
        await shop.settled()
        _, ((plan_id, status, failure_time),) = await _state(shop)
        assert (plan_id, status, failure_time) == ("starter", "active", None)
        assert await shop.available() == 5_000


async def test_wrong_signature_is_refused_without_effect(shop: Shop) -> None:
    report = (await _first_reports(shop))["subscription_payment_success"]
    forged = [
        Message(report.name, report.body, {}),
        Message(report.name, report.body, {"x-signature": "0" * 64}),
        Message(report.name, report.body + b" ", report.headers),
        Message(report.name, report.body, {"x-signature": report.headers["x-signature"][:-1]}),
    ]

    assert [await shop.deliver(each) for each in forged] == [401] * 4
    assert await shop.inbox() == {}


async def test_every_report_is_counted_by_what_was_answered(shop: Shop) -> None:
    report = (await _first_reports(shop))["order_created"]
    document = json.loads(report.body)
    document["data"]["attributes"]["store_id"] = 2
    before = {outcome: _counted(outcome) for outcome in _OUTCOMES}

    await shop.deliver(report)
    await shop.deliver(report)
    await shop.deliver(Message(report.name, report.body, {}))
    await shop.deliver(shop.face.signed("order_created", b"{"))
    await shop.deliver(shop.face.signed("order_created", json.dumps(document).encode()))

    assert {outcome: _counted(outcome) - before[outcome] for outcome in _OUTCOMES} == dict.fromkeys(_OUTCOMES, 1)


_OUTCOMES = ("KEPT", "REPEATED", "WEBHOOK_SIGNATURE_INVALID", "REQUEST_MALFORMED", "FOREIGN")


def _counted(outcome: str) -> float:
    labels = {"provider": "lemon-squeezy", "outcome": outcome}
    return REGISTRY.get_sample_value("webhooks_total", labels) or 0


async def test_secret_that_is_being_replaced_is_still_good(shop: Shop) -> None:
    reports = await _first_reports(shop)
    for report in reports.values():
        shop.face = type(shop.face)(shop.book, shop.deliveries, shop.face.base_url, shop.face.api_key, OLD_SECRET)
        assert await shop.deliver(shop.face.signed(report.name, report.body)) == 200
    await shop.settled()

    assert await shop.available() == 15_000


async def test_replayed_body_is_answered_and_does_nothing(shop: Shop) -> None:
    reports = await _first_reports(shop)
    for _ in range(3):
        assert [await shop.deliver(report) for report in reports.values()] == [200] * 4
        await shop.settled()

    assert await shop.available() == 15_000
    assert await shop.inbox() == {"applied": 4}


async def test_body_sent_again_with_other_addresses_in_it_does_nothing(shop: Shop) -> None:
    await shop.buy("pro")
    # The provider signs the addresses in a document anew, so that these are other bytes of the same payment.
    again = shop.face.message("subscription_payment_success", shop.invoice)

    assert await shop.deliver(again) == 200
    await shop.settled()

    assert await shop.available() == 15_000


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda document: document["data"]["attributes"].update(store_id=2), 200),
        (lambda document: document["meta"].update(test_mode=False), 200),
        (lambda document: document["meta"].pop("event_name"), 400),
        (lambda document: document.pop("data"), 400),
    ],
)
async def test_signed_report_of_somebody_else_has_no_effect(shop: Shop, change: Any, status: int) -> None:
    for report in (await _first_reports(shop)).values():
        document = json.loads(report.body)
        change(document)
        signed = shop.face.signed(report.name, json.dumps(document).encode())
        assert await shop.deliver(signed) == status

    assert await shop.inbox() == {}
    assert await shop.available() == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"meta": 1}'])
async def test_signed_body_that_is_no_report_is_refused(shop: Shop, body: bytes) -> None:
    assert await shop.deliver(shop.face.signed("order_created", body)) == 400
    assert await shop.inbox() == {}


async def test_body_of_five_megabytes_is_refused(shop: Shop) -> None:
    assert await shop.deliver(shop.face.signed("order_created", b" " * 5_000_000)) == 413
    assert await shop.inbox() == {}


async def test_unknown_provider_is_refused(shop: Shop) -> None:
    report = (await _first_reports(shop))["order_created"]

    assert await shop.deliver(report, provider="polar") == 404
    assert await shop.deliver(report, provider="paypal") == 404


async def test_event_that_nobody_knows_is_kept_and_does_nothing(shop: Shop) -> None:
    body = {
        "meta": {"test_mode": True, "event_name": "license_key_created"},
        "data": {"type": "license-keys", "id": "1", "attributes": {"store_id": 1}},
    }

    assert await shop.deliver(shop.face.signed("license_key_created", json.dumps(body).encode())) == 200
    await shop.settled()

    assert await shop.inbox() == {"ignored": 1}


async def test_payment_without_a_checkout_of_ours_goes_to_nobody(shop: Shop) -> None:
    reports = await _first_reports(shop)
    for report in reports.values():
        document = json.loads(report.body)
        document["meta"]["custom_data"] = {"checkout_reference": "made-up", "account_id": str(shop.account)}
        assert await shop.deliver(shop.face.signed(report.name, json.dumps(document).encode())) == 200
    await shop.settled()

    assert await shop.available() == 0
    (row,) = await shop.payment.ledger.as_admin("SELECT count(*) AS grants FROM payment.grants")
    assert row["grants"] == 0


async def test_reference_cannot_move_what_belongs_to_another(shop: Shop) -> None:
    await shop.buy("pro")
    owner, shop.account = shop.account, new_id()
    thief_reference = shop.book.checkouts[(await shop.checkout_call("pro")).url.rpartition("/")[2]].reference
    shop.bought.reference = thief_reference

    await shop.turn_clock(days=31)

    assert await shop.available() == 0
    shop.account = owner
    assert len(await shop.invoices()) == 2


async def test_cheap_product_with_the_reference_of_a_dear_one_brings_the_cheap_one(shop: Shop) -> None:
    checkout = await shop.checkout_call("studio")
    page = shop.book.checkouts[checkout.url.rpartition("/")[2]]
    page.product = shop.book.products[101]
    shop.book.pay(page)
    await shop.settled()

    assert await shop.available() == 5_000
    assert (await shop.current()).tier == tier_pb2.TIER_STARTER
