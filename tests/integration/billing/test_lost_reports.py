"""Reports that were lost or came late: what the sweeps and SyncSubscription make good."""

from pingvas.payment.v1 import subscription_pb2, subscription_service_pb2

from studio.payments.book import Subscription
from studio.payments.deliveries import Faults
from tests.factories.shop import Shop


async def test_reports_survive_faults_of_the_delivery(shop: Shop) -> None:
    shop.deliveries.faults = Faults(duplicates=9, wrong_signatures=2, delay_seconds=60)
    await shop.buy("pro")
    assert await shop.available() == 0

    # The two forged ones are given up after three more tries; the reconciliation has to see to the rest.
    for _ in range(4):
        await shop.turn_clock(seconds=130)
    await shop.subscriptions.SyncSubscription(
        subscription_service_pb2.SyncSubscriptionRequest(), metadata=shop.as_buyer
    )

    assert await shop.available() == 15_000
    assert len(await shop.invoices()) == 1


async def test_sweep_repairs_what_every_report_was_lost_of(shop: Shop) -> None:
    await shop.buy("starter")
    shop.deliveries.faults = Faults(drops=1_000)
    await shop.turn_clock(days=31)
    shop.book.refund(shop.invoice, 2_500)
    shop.book.cancel(shop.bought)
    await shop.settled()

    for _ in range(2):
        await shop.reconciliation.catch_up()
        assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_CANCELLED
        assert await shop.available() == 0
        assert len(await shop.invoices()) == 2


async def test_item_of_a_list_that_nobody_understands_hides_no_other(shop: Shop) -> None:
    await shop.buy("starter")
    shop.deliveries.faults = Faults(drops=1_000)
    shop.book.cancel(shop.bought)
    shop.book.pay(shop.book.checkouts[(await shop.checkout_call("pack-1000")).url.rpartition("/")[2]])
    odd = Subscription(
        1, shop.book.products[101], "", shop.book.now, shop.book.now, shop.book.now, status="hibernating"
    )
    shop.book.subscriptions = {1: odd, **shop.book.subscriptions}

    await shop.reconciliation.catch_up()

    assert (await shop.current()).state == subscription_pb2.SUBSCRIPTION_STATE_CANCELLED


async def test_reports_are_forgotten_after_a_month(shop: Shop) -> None:
    await shop.buy("pack-1000")
    assert await shop.reconciliation.forget_reports() == 0
    await shop.payment.ledger.as_admin(
        "UPDATE payment.webhook_inbox SET receive_time = receive_time - interval '31 days'"
    )

    assert await shop.reconciliation.forget_reports() == 1
    assert await shop.inbox() == {}
