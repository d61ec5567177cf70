"""Money that is paid back, and the credits that go with it."""

import pytest

from studio.payments.deliveries import Faults
from tests.factories.shop import Shop


@pytest.mark.parametrize(("parts", "left"), [([600], 0), ([60, 540], 0), ([60], 900), ([1], 999), ([600, 600], 0)])
async def test_refund_takes_back_its_share_once(shop: Shop, parts: list[int], left: int) -> None:
    await shop.buy("pack-1000")
    for cents in parts:
        shop.book.refund(shop.order, cents)
        again = shop.face.message("order_refunded", shop.order)
        await shop.deliver(again)
        await shop.settled()

    # Rounded down to 1/1000 credit, in the buyer's favour.
    assert await shop.available() == pytest.approx(left, abs=0.7)


async def test_refund_of_what_was_spent_is_a_debt_that_the_next_grant_pays(shop: Shop) -> None:
    await shop.buy("pack-1000")
    await shop.spend(700)
    shop.book.refund(shop.order, 600)
    await shop.settled()
    assert await shop.available() == 0

    await shop.buy("pack-1000")

    assert await shop.available() == 300
    await shop.buy("pack-1000")
    assert await shop.available() == 1_300


async def test_refund_that_arrives_before_its_payment_takes_back_everything(shop: Shop) -> None:
    shop.deliveries.faults = Faults(holds=True)
    checkout = await shop.checkout_call("pack-1000")
    shop.book.pay(shop.book.checkouts[checkout.url.rpartition("/")[2]])
    shop.book.refund(shop.order, 600)
    for report in reversed(shop.deliveries.held):
        await shop.receive(report)
        await shop.settled()

    assert await shop.available() == 0
    (invoice,) = await shop.invoices()
    assert (invoice.refunded_cents, invoice.credits) == (600, "1000.000")
