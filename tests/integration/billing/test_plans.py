"""The life of a plan: renewals, failed payments, ends, and moves to larger and smaller ones."""

from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import entitlement_pb2, subscription_pb2, subscription_service_pb2

from studio.payments.deliveries import Faults
from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.factories.shop import Shop
from tests.harness_service import refusal_of


async def test_packs_add_up_and_survive_the_renewal_that_replaces_the_plans_credits(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.buy("pack-1000")
    await shop.spend(1_500)
    assert await shop.available() == 4_500

    await shop.turn_clock(days=31)

    assert await shop.available() == 6_000
    assert [invoice.reason for invoice in await shop.invoices()] == [
        subscription_pb2.INVOICE_REASON_RENEWAL,
        subscription_pb2.INVOICE_REASON_PACK,
        subscription_pb2.INVOICE_REASON_SUBSCRIPTION,
    ]


async def test_renewal_leaves_running_holds_alone_and_lets_their_rest_lapse(shop: Shop) -> None:
    await shop.buy("starter")
    holds = [new_id() for _ in range(20)]
    for hold in holds:
        await shop.payment.reserve_call(shop.account, 100_000, hold=hold)

    await shop.turn_clock(days=31)
    for hold in holds:
        await shop.payment.release_call(shop.account, hold)

    assert await shop.available() == 5_000


async def test_failed_renewal_has_seventy_two_hours_of_grace_and_recovers(shop: Shop) -> None:
    await shop.buy("pro")
    shop.book.declines = True
    await shop.turn_clock(days=30)

    failed = await shop.current()
    assert failed.state == subscription_pb2.SUBSCRIPTION_STATE_GRACE
    assert (await shop.payment.entitlement_call(shop.account)).standing == entitlement_pb2.STANDING_GRACE
    await _set_ledger_clock(shop, failed.grace_end_time.ToDatetime().isoformat())
    suspended = await shop.payment.entitlement_call(shop.account)
    assert (suspended.tier, suspended.standing) == (tier_pb2.TIER_PRO, entitlement_pb2.STANDING_SUSPENDED)

    shop.book.declines = False
    await shop.turn_clock(days=3)

    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
    assert (await shop.payment.entitlement_call(shop.account)).standing == entitlement_pb2.STANDING_GOOD
    assert await shop.available() == 15_000


async def _set_ledger_clock(shop: Shop, moment: str) -> None:
    await shop.payment.ledger.as_admin(
        "CREATE OR REPLACE FUNCTION payment.ledger_now() RETURNS timestamptz "
        f"LANGUAGE sql VOLATILE AS $$ SELECT '{moment}Z'::timestamptz $$"
    )


async def test_cancelled_plan_lasts_until_its_end_and_leaves_the_packs(shop: Shop) -> None:
    await shop.buy("pro")
    await shop.buy("pack-1000")
    cancel = subscription_service_pb2.CancelSubscriptionRequest()

    first = await shop.subscriptions.CancelSubscription(cancel, metadata=shop.as_buyer)
    second = await shop.subscriptions.CancelSubscription(cancel, metadata=shop.as_buyer)

    assert first == second
    assert first.state == subscription_pb2.SUBSCRIPTION_STATE_CANCELLED
    assert (first.tier, await shop.available()) == (tier_pb2.TIER_PRO, 16_000)
    await shop.turn_clock(days=31)
    ended = await shop.current()
    assert (ended.plan_id, ended.tier) == ("free", tier_pb2.TIER_FREE)
    assert await shop.available() == 1_000


async def test_resumed_plan_is_renewed(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.subscriptions.CancelSubscription(
        subscription_service_pb2.CancelSubscriptionRequest(), metadata=shop.as_buyer
    )
    resumed = await shop.subscriptions.ResumeSubscription(
        subscription_service_pb2.ResumeSubscriptionRequest(), metadata=shop.as_buyer
    )
    assert resumed.state == subscription_pb2.SUBSCRIPTION_STATE_ACTIVE

    await shop.turn_clock(days=31)

    assert len(await shop.invoices()) == 2


async def test_larger_plan_follows_at_once_less_what_was_spent(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.spend(2_000)

    moved = await shop.change_call("pro")
    await shop.settled()

    assert (moved.plan_id, moved.tier) == ("pro", tier_pb2.TIER_PRO)
    assert await shop.available() == 13_000
    # Neither moving to and fro nor a repetition brings more.
    await shop.change_call("pro")
    await shop.settled()
    assert await shop.available() == 13_000


async def test_what_was_refunded_does_not_count_as_spent_of_the_larger_plan(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.spend(1_000)
    shop.book.refund(shop.invoice, 500)
    await shop.settled()
    assert await shop.available() == 3_000

    await shop.change_call("pro")
    await shop.settled()

    assert await shop.available() == 14_000


async def test_what_running_jobs_hold_counts_as_spent_of_the_larger_plan(shop: Shop) -> None:
    await shop.buy("starter")
    hold = new_id()
    await shop.payment.reserve_call(shop.account, 1_000_000, hold=hold)

    await shop.change_call("pro")
    await shop.settled()
    await shop.payment.release_call(shop.account, hold)

    assert await shop.available() == 14_000


async def test_larger_plan_whose_payment_fails_brings_no_credits(shop: Shop) -> None:
    await shop.buy("starter")
    shop.book.declines = True

    await shop.change_call("pro")
    await shop.settled()

    assert await shop.available() == 5_000


async def test_payment_of_a_larger_plan_that_is_reported_first_is_taken_for_the_larger_one(shop: Shop) -> None:
    await shop.buy("starter")
    shop.deliveries.faults = Faults(reorders=2)

    shop.book.move(shop.bought, shop.book.products[103], charges=True)
    await shop.settled()

    assert await shop.available() == 30_000


async def test_smaller_plan_follows_at_the_renewal(shop: Shop) -> None:
    await shop.buy("pro")

    moved = await shop.change_call("starter")
    assert (moved.plan_id, moved.next_plan_id) == ("pro", "starter")
    back = await shop.change_call("pro")
    assert back.next_plan_id == ""
    await shop.change_call("starter")
    assert await shop.available() == 15_000

    await shop.turn_clock(days=29, hours=23, minutes=30)
    await shop.reconciliation.make_moves()
    await shop.turn_clock(hours=1)

    after = await shop.current()
    assert (after.plan_id, after.next_plan_id, after.tier) == ("starter", "", tier_pb2.TIER_STARTER)
    assert await shop.available() == 5_000


async def test_plan_cannot_be_changed_while_cancelled_or_absent(shop: Shop) -> None:
    assert (await refusal_of(shop.change_call("pro"))).reason is Reason.SUBSCRIPTION_NOT_FOUND
    await shop.buy("starter")
    assert (await refusal_of(shop.change_call("platinum"))).reason is Reason.PRODUCT_NOT_FOUND
    assert (await refusal_of(shop.change_call("free"))).reason is Reason.PRODUCT_NOT_FOUND
    await shop.subscriptions.CancelSubscription(
        subscription_service_pb2.CancelSubscriptionRequest(), metadata=shop.as_buyer
    )
    refusal = await refusal_of(shop.change_call("pro"))
    assert (refusal.reason, refusal.metadata) == (Reason.SUBSCRIPTION_NOT_ACTIVE, {"state": "cancelled"})


async def test_moving_up_a_day_before_the_renewal_gives_nothing_for_free(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.spend(5_000)
    await shop.turn_clock(days=29)

    await shop.change_call("studio")
    await shop.settled()

    # A thirtieth of the difference was paid, and the credits of the smaller plan count as spent of the larger one.
    assert shop.invoice.total == round((15_000 - 2_500) / 30)
    assert await shop.available() == 25_000
    await shop.spend(25_000)
    await shop.turn_clock(days=1)
    assert await shop.available() == 30_000
    assert [invoice.amount_cents for invoice in await shop.invoices()] == [15_000, 417, 2_500]


async def test_moving_up_down_and_up_again_mints_nothing(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.spend(1_000)
    for plan in ("pro", "starter", "pro", "studio", "starter", "studio", "pro"):
        await shop.change_call(plan)
        await shop.settled()

    assert await shop.available() == 29_000
    assert shop.bought.product.name == "Studio"


async def test_paused_plan_is_neither_charged_nor_served_until_it_is_resumed(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.buy("pack-1000")
    assert (await shop.current()).can_pause

    paused = [await shop.pause_call() for _ in range(2)]
    assert [each.state for each in paused] == [subscription_pb2.SUBSCRIPTION_STATE_PAUSED] * 2
    assert not paused[0].can_pause
    await shop.turn_clock(days=65)

    entitlement = await shop.payment.entitlement_call(shop.account)
    assert (entitlement.tier, entitlement.standing) == (tier_pb2.TIER_STARTER, entitlement_pb2.STANDING_SUSPENDED)
    assert len(await shop.invoices()) == 2
    assert await shop.available() == 6_000
    assert [(await shop.resume_call()).state for _ in range(2)] == [subscription_pb2.SUBSCRIPTION_STATE_ACTIVE] * 2
    await shop.turn_clock(days=30)
    assert len(await shop.invoices()) == 3
    assert (await shop.payment.entitlement_call(shop.account)).standing == entitlement_pb2.STANDING_GOOD


async def test_plan_that_is_cancelled_or_absent_cannot_be_paused(shop: Shop) -> None:
    assert (await refusal_of(shop.pause_call())).reason is Reason.SUBSCRIPTION_NOT_FOUND
    await shop.buy("starter")
    await shop.cancel_call()

    refusal = await refusal_of(shop.pause_call())

    assert (refusal.reason, refusal.metadata) == (Reason.SUBSCRIPTION_NOT_ACTIVE, {"state": "cancelled"})
