"""What is sold, and the pages on which it is paid, over real servers."""

import asyncio

import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import entitlement_pb2, subscription_pb2, subscription_service_pb2

from svc_common.errors import Reason
from tests.factories.shop import Shop
from tests.harness_service import refusal_of


async def test_plans_and_packs_are_shown_to_anybody(shop: Shop) -> None:
    plans = (await shop.subscriptions.ListPlans(subscription_service_pb2.ListPlansRequest())).plans
    packs = (await shop.subscriptions.ListPacks(subscription_service_pb2.ListPacksRequest())).packs

    assert [(plan.plan_id, plan.price_cents, plan.credits, plan.is_sold) for plan in plans] == [
        ("free", 0, "0.000", False),
        ("starter", 2500, "5000.000", True),
        ("pro", 7500, "15000.000", True),
        ("studio", 15000, "30000.000", True),
        ("enterprise", 0, "0.000", False),
    ]
    assert not plans[4].HasField("price_cents")
    assert plans[2].limits.running_jobs == 4
    assert [(pack.pack_id, pack.price_cents, pack.credits, pack.is_sold) for pack in packs] == [
        ("pack-1000", 600, "1000.000", True),
        ("pack-5000", 2700, "5000.000", True),
        ("pack-20000", 9600, "20000.000", False),
    ]


async def test_pages_of_plans_follow_each_other(shop: Shop) -> None:
    first = await shop.subscriptions.ListPlans(subscription_service_pb2.ListPlansRequest(page_size=3))
    request = subscription_service_pb2.ListPlansRequest(page_size=3, page_token=first.next_page_token)
    second = await shop.subscriptions.ListPlans(request)

    assert [plan.plan_id for plan in (*first.plans, *second.plans)] == [
        "free",
        "starter",
        "pro",
        "studio",
        "enterprise",
    ]
    assert second.next_page_token == ""


async def test_paid_plan_brings_its_tier_and_its_credits(shop: Shop) -> None:
    await shop.buy("pro")

    current = await shop.current()
    assert (current.plan_id, current.state) == ("pro", subscription_pb2.SUBSCRIPTION_STATE_ACTIVE)
    assert current.tier == tier_pb2.TIER_PRO
    assert current.HasField("renew_time")
    assert await shop.available() == 15_000
    (invoice,) = await shop.invoices()
    assert (invoice.item_id, invoice.amount_cents, invoice.credits) == ("pro", 7500, "15000.000")
    entitlement = await shop.payment.entitlement_call(shop.account)
    assert (entitlement.tier, entitlement.standing) == (tier_pb2.TIER_PRO, entitlement_pb2.STANDING_GOOD)


async def test_opened_checkout_brings_nothing_before_it_is_paid(shop: Shop) -> None:
    await shop.checkout_call("pro")

    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_NONE
    assert await shop.available() == 0


async def test_repeated_checkout_is_the_same_page(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.checkout_call("pro", request_id="once") for _ in range(8)))
    refusal = await refusal_of(shop.checkout_call("starter", request_id="once"))

    assert len({answer.url for answer in answers}) == 1
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize("item", ["free", "enterprise", "platinum", "pack-20000", "pack-9"])
async def test_what_is_not_sold_has_no_checkout(shop: Shop, item: str) -> None:
    refusal = await refusal_of(shop.checkout_call(item))

    assert (refusal.reason, refusal.metadata) == (Reason.PRODUCT_NOT_FOUND, {"item_id": item})


async def test_second_subscription_is_refused(shop: Shop) -> None:
    await shop.buy("starter")

    refusal = await refusal_of(shop.checkout_call("pro"))

    assert (refusal.reason, refusal.metadata) == (Reason.SUBSCRIPTION_EXISTS, {"plan_id": "starter"})


async def test_provider_that_is_away_fails_the_call_and_nothing_else(shop: Shop) -> None:
    await shop.buy("starter")
    shop.book.is_away = True

    refusal = await refusal_of(
        shop.subscriptions.CancelSubscription(
            subscription_service_pb2.CancelSubscriptionRequest(), metadata=shop.as_buyer
        )
    )

    assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "lemon-squeezy"})
    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
    assert (await refusal_of(shop.checkout_call("pack-1000"))).reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_portal_is_the_providers(shop: Shop) -> None:
    request = subscription_service_pb2.GetPortalRequest()
    refusal = await refusal_of(shop.subscriptions.GetPortal(request, metadata=shop.as_buyer))
    assert refusal.reason is Reason.SUBSCRIPTION_NOT_FOUND
    await shop.buy("starter")

    portal = await shop.subscriptions.GetPortal(request, metadata=shop.as_buyer)

    assert portal.url.startswith(f"{shop.face.base_url}/portal/{shop.bought.number}?")


async def test_operators_tier_counts_when_it_is_the_higher_one(shop: Shop) -> None:
    await shop.payment.set_tier_call(shop.account, tier_pb2.TIER_STUDIO)
    await shop.buy("pro")
    assert (await shop.current()).tier == tier_pb2.TIER_STUDIO

    await shop.payment.set_tier_call(shop.account, tier_pb2.TIER_FREE)
    assert (await shop.current()).tier == tier_pb2.TIER_PRO
