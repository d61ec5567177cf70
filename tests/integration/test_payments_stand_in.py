"""The payment provider's stand-in by its own HTTP: its pages, its control, and what it keeps from one run to the next."""

import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from studio.payments.application import application
from studio.payments.book import Book, Checkout
from studio.payments.deliveries import Deliveries, Faults
from studio.payments.lemon_squeezy import LemonSqueezyFace
from tests.factories.shop import PRODUCTS, serving


class StandIn:
    """A stand-in that serves, with a file for its book; its reports go nowhere."""

    def __init__(self, url: str) -> None:
        self.book = Book({product.number: product for product in PRODUCTS.values()})
        self.deliveries = Deliveries("http://127.0.0.1:1", lambda: self.book.now, Faults(holds=True))
        self.face = LemonSqueezyFace(self.book, self.deliveries, url, "key", "secret")
        self.book.announce = self.face.announce
        self.client = httpx.AsyncClient(base_url=url)

    def checkout(self, number: int) -> Checkout:
        checkout = Checkout(
            "1", self.book.products[number], "", "http://studio.example/", self.book.now + timedelta(days=1)
        )
        self.book.checkouts["1"] = checkout
        return checkout


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StandIn]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}")
        async with (
            serving(application(made.book, made.deliveries, made.face, tmp_path / "book.json"), listener),
            made.client,
        ):
            yield made


async def test_page_is_paid_once(stand_in: StandIn) -> None:
    stand_in.checkout(201)

    assert "$ 6.00" in (await stand_in.client.get("/checkout/1")).text
    answers = [(await stand_in.client.post("/checkout/1")).status_code for _ in range(2)]

    assert answers == [303, 410]
    assert (await stand_in.client.get("/checkout/1")).status_code == 410
    assert len(stand_in.book.orders) == 1


async def test_clock_renews_fails_and_ends(stand_in: StandIn) -> None:
    stand_in.book.pay(stand_in.checkout(101))
    month = {"seconds": 31 * 86_400}

    await stand_in.client.post("/control/clock", json=month)
    assert [invoice.status for invoice in stand_in.book.invoices.values()] == ["paid", "paid"]
    await stand_in.client.post("/control/cards", json={"declines": True})
    # The next month, and four more tries of three days each.
    await stand_in.client.post("/control/clock", json={"seconds": 45 * 86_400})

    (bought,) = stand_in.book.subscriptions.values()
    assert bought.status == "unpaid"
    assert [message.name for message in stand_in.deliveries.held].count("subscription_payment_failed") == 5


async def test_control_takes_no_forms(stand_in: StandIn) -> None:
    answer = await stand_in.client.post(
        "/control/clock", content='{"seconds": 1}', headers={"content-type": "text/plain"}
    )

    assert answer.status_code == 415
    assert stand_in.book.ahead == timedelta()


async def test_api_wants_its_key(stand_in: StandIn) -> None:
    answers = [await stand_in.client.get(path) for path in ("/v1/orders", "/v1/subscriptions/1", "/v1/nothing")]

    assert [answer.status_code for answer in answers] == [401] * 3


async def test_book_is_taken_up_again(stand_in: StandIn) -> None:
    stand_in.book.pay(stand_in.checkout(101))
    stand_in.book.turn_clock(timedelta(days=31))

    later = Book(stand_in.book.products)
    later.restore(stand_in.book.saved())

    assert later.saved() == stand_in.book.saved()
    later.turn_clock(timedelta(days=31))
    assert len(later.invoices) == 3
    (bought,) = later.subscriptions.values()
    assert all(invoice.subscription is bought for invoice in later.invoices.values())
