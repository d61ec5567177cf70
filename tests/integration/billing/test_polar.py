"""Paying through Polar: what differs from the other provider, and that the rest doesn't."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import subscription_pb2, subscription_service_pb2

from studio.payments.deliveries import Faults, Message
from svc_common.errors import Reason
from svc_payment.main import compose
from tests.factories.shop import OLD_SECRET, Shop, running_shop
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of, running


@pytest.fixture
async def shop(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Shop]:
    place = await database_for("payment")
    async with running_shop(place, identities, redis_server.url, tmp_path, provider="polar") as running:
        yield running


async def _first_reports(shop: Shop) -> list[Message]:
    """Pays for a plan while the provider keeps its reports back, and returns them."""
    shop.deliveries.faults = Faults(holds=True)
    checkout = await shop.checkout_call("pro")
    shop.book.pay(shop.book.checkouts[checkout.url.rpartition("/")[2]])
    assert [report.name for report in shop.deliveries.held] == [
        "subscription.created",
        "order.paid",
        "subscription.updated",
    ]
    return list(shop.deliveries.held)


async def test_plan_and_pack_are_paid_renewed_and_refunded(shop: Shop) -> None:
    await shop.buy("pro")
    await shop.buy("pack-1000")
    assert await shop.available() == 16_000
    await shop.spend(2_000)
    await shop.turn_clock(days=31)
    assert await shop.available() == 16_000

    shop.book.refund(shop.order, 300)
    await shop.settled()

    assert await shop.available() == 15_500
    assert [(invoice.item_id, invoice.currency, invoice.reason) for invoice in await shop.invoices()] == [
        ("pro", "USD", subscription_pb2.INVOICE_REASON_RENEWAL),
        ("pack-1000", "USD", subscription_pb2.INVOICE_REASON_PACK),
        ("pro", "USD", subscription_pb2.INVOICE_REASON_SUBSCRIPTION),
    ]


async def test_every_order_of_the_first_reports_ten_times_in_parallel_gives_one_grant(shop: Shop) -> None:
    reports = await _first_reports(shop)
    for order in itertools.permutations(reports):
        await shop.payment.ledger.as_admin("DELETE FROM payment.webhook_inbox")
        for report in order:
            await asyncio.gather(*(shop.receive(report) for _ in range(10)))
        await shop.settled()

        assert await shop.available() == 15_000
        assert (await shop.current()).plan_id == "pro"
        assert len(await shop.invoices()) == 1


async def test_cancelled_plan_ends_and_resumed_one_does_not(shop: Shop) -> None:
    await shop.buy("starter")
    cancelled = await shop.subscriptions.CancelSubscription(
        subscription_service_pb2.CancelSubscriptionRequest(), metadata=shop.as_buyer
    )
    resumed = await shop.subscriptions.ResumeSubscription(
        subscription_service_pb2.ResumeSubscriptionRequest(), metadata=shop.as_buyer
    )
    assert cancelled.state == subscription_pb2.SUBSCRIPTION_STATE_CANCELLED
    assert resumed.state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
    await shop.subscriptions.CancelSubscription(
        subscription_service_pb2.CancelSubscriptionRequest(), metadata=shop.as_buyer
    )

    await shop.turn_clock(days=31)

    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_NONE
    assert await shop.available() == 0


async def test_smaller_plan_is_kept_by_the_provider_until_the_renewal(shop: Shop) -> None:
    await shop.buy("pro")
    moved = await shop.change_call("starter")
    assert (moved.plan_id, moved.next_plan_id) == ("pro", "starter")
    assert shop.bought.next_product is not None
    back = await shop.change_call("pro")
    assert (back.next_plan_id, shop.bought.next_product) == ("", None)
    await shop.change_call("starter")

    await shop.turn_clock(days=31)

    after = await shop.current()
    assert (after.plan_id, after.next_plan_id, after.tier) == ("starter", "", tier_pb2.TIER_STARTER)
    assert await shop.available() == 5_000


async def test_larger_plan_follows_at_once_less_what_was_spent(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.spend(2_000)

    await shop.change_call("studio")
    await shop.settled()

    assert await shop.available() == 28_000


async def test_failed_renewal_has_grace(shop: Shop) -> None:
    await shop.buy("pro")
    shop.book.declines = True
    await shop.turn_clock(days=30)
    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_GRACE

    shop.book.declines = False
    await shop.turn_clock(days=3)

    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE


async def test_sync_finds_a_first_purchase_of_which_every_report_was_lost(shop: Shop) -> None:
    shop.deliveries.faults = Faults(drops=100)
    await shop.buy("pro")
    await shop.buy("pack-1000")

    for _ in range(2):
        found = await shop.subscriptions.SyncSubscription(
            subscription_service_pb2.SyncSubscriptionRequest(), metadata=shop.as_buyer
        )
        assert (found.plan_id, await shop.available()) == ("pro", 16_000)


async def test_service_asks_the_provider_when_it_starts(shop: Shop) -> None:
    shop.deliveries.faults = Faults(drops=100)
    await shop.buy("pro")
    await shop.without_sweeps.aclose()

    async def is_known() -> bool:
        return await shop.available() == 15_000

    async with running(compose(shop.settings)):
        await until(is_known, within_seconds=120)


async def test_sweep_finds_it_too(shop: Shop) -> None:
    shop.deliveries.faults = Faults(drops=100)
    await shop.buy("pro")

    for _ in range(2):
        await shop.reconciliation.catch_up()
        assert await shop.available() == 15_000


async def test_wrong_or_old_signature_is_refused_without_effect(shop: Shop) -> None:
    report = (await _first_reports(shop))[1]
    headers, face = report.headers, shop.face
    forged = [
        Message(report.name, report.body, {}),
        Message(report.name, report.body + b" ", headers),
        Message(report.name, report.body, {**headers, "webhook-id": "msg_other"}),
        Message(report.name, report.body, {**headers, "webhook-timestamp": "0"}),
        Message(report.name, report.body, {**headers, "webhook-timestamp": "soon"}),
        Message(report.name, report.body, {**headers, "webhook-signature": "v1"}),
        Message(report.name, report.body, {**headers, "webhook-signature": "v1,%%%"}),
        face.signed(report.name, b"\xff"),
        face.signed(report.name, report.body, age=timedelta(minutes=6)),  # type: ignore[call-arg]
    ]

    assert [await shop.deliver(each) for each in forged] == [401] * len(forged)
    assert await shop.inbox() == {}


async def test_secret_that_is_being_replaced_is_still_good(shop: Shop) -> None:
    reports = await _first_reports(shop)
    old = type(shop.face)(shop.book, shop.deliveries, shop.face.base_url, shop.face.api_key, OLD_SECRET)
    for report in reports:
        assert await shop.deliver(old.signed(report.name, report.body)) == 200
    await shop.settled()

    assert await shop.available() == 15_000


async def test_report_of_another_organization_has_no_effect(shop: Shop) -> None:
    shop.deliveries.faults = Faults(flips=100)
    await shop.buy("pro")

    assert await shop.inbox() == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"type": "order.paid"}'])
async def test_signed_body_that_is_no_report_is_refused(shop: Shop, body: bytes) -> None:
    assert await shop.deliver(shop.face.signed("order.paid", body)) == 400


async def test_event_that_nobody_knows_is_kept_and_does_nothing(shop: Shop) -> None:
    body = json.dumps({"type": "benefit.created", "data": {"id": "1"}}).encode()

    assert await shop.deliver(shop.face.signed("benefit.created", body)) == 200
    await shop.settled()

    assert await shop.inbox() == {"ignored": 1}


async def test_portal_is_the_providers(shop: Shop) -> None:
    await shop.buy("starter")

    portal = await shop.subscriptions.GetPortal(subscription_service_pb2.GetPortalRequest(), metadata=shop.as_buyer)

    assert portal.url.startswith(f"{shop.face.base_url}/portal/{shop.bought.number}?")


async def test_pause_is_refused_since_the_provider_has_none(shop: Shop) -> None:
    await shop.buy("starter")
    assert not (await shop.current()).can_pause

    refusal = await refusal_of(shop.pause_call())

    assert (refusal.reason, refusal.metadata) == (Reason.PAUSE_UNSUPPORTED, {"provider": "polar"})
