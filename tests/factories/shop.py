"""A shop for tests: the real svc_payment and HTTP bridge, and the payment provider's stand-in on a port of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from fastapi import FastAPI
from pingvas.payment.v1 import subscription_pb2, subscription_service_pb2, webhook_service_pb2
from pingvas.payment.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from pingvas.payment.v1.webhook_service_pb2_grpc import WebhookServiceStub

from edge_http.webhooks import CALLER, Webhooks
from studio.payments.application import application
from studio.payments.book import Book, Invoice, Order, Product, Subscription
from studio.payments.deliveries import Deliveries, Message
from studio.payments.lemon_squeezy import LemonSqueezyFace
from studio.payments.polar import PolarFace, uuid_of
from svc_common.clock import new_id
from svc_common.db import Database
from svc_payment import tasks
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose, configured_providers
from svc_payment.usecases.applying import Billing
from svc_payment.usecases.reconciling import Reconciliation
from tests.factories.ledger import ledger_in
from tests.factories.payment_service import Payment
from tests.harness_bridge import running_bridge
from tests.harness_postgres import ServiceDatabase, until
from tests.harness_service import Identities, running, settings_values

PRODUCTS = {
    "starter": Product(101, "Starter", 2_500, is_recurring=True),
    "pro": Product(102, "Pro", 7_500, is_recurring=True),
    "studio": Product(103, "Studio", 15_000, is_recurring=True),
    "pack-1000": Product(201, "1,000 credits", 600, is_recurring=False),
    "pack-5000": Product(202, "5,000 credits", 2_700, is_recurring=False),
}
_ORGANIZATION = "the organization"
# Of a machine that may be ten times slower than usual.
_PATIENCE_SECONDS = 120.0
_PROVIDER_SWEEPS = (tasks.CATCH_UP, tasks.MAKE_MOVES, tasks.FORGET_REPORTS)
_KEY = "the key of the shop"
SECRET = "the secret of the shop"
OLD_SECRET = "the secret of the shop before"


@dataclass(slots=True)
class Shop:
    """The parts of a running shop, and short ways to use them."""

    payment: Payment
    subscriptions: SubscriptionServiceStub
    webhooks: WebhookServiceStub
    face: LemonSqueezyFace | PolarFace
    bridge: str
    # Of the tests' own, over the same database and provider.
    billing: Billing
    settings: PaymentSettings
    # Keeps the sweeps of every replica from running until it is closed.
    without_sweeps: AsyncExitStack
    account: UUID = field(default_factory=new_id)

    @property
    def book(self) -> Book:
        return self.face.book

    @property
    def deliveries(self) -> Deliveries:
        return self.face.deliveries

    @property
    def as_buyer(self) -> Any:
        return self.payment.identities.as_user(self.account)

    def checkout_call(self, item_id: str, *, request_id: str = "") -> Any:
        kind = "pack_id" if item_id.startswith("pack") else "plan_id"
        request = subscription_service_pb2.CreateCheckoutRequest(request_id=request_id, **{kind: item_id})
        return self.subscriptions.CreateCheckout(request, metadata=self.as_buyer)

    def change_call(self, plan_id: str) -> Any:
        request = subscription_service_pb2.ChangePlanRequest(plan_id=plan_id)
        return self.subscriptions.ChangePlan(request, metadata=self.as_buyer)

    def cancel_call(self) -> Any:
        request = subscription_service_pb2.CancelSubscriptionRequest()
        return self.subscriptions.CancelSubscription(request, metadata=self.as_buyer)

    def pause_call(self) -> Any:
        request = subscription_service_pb2.PauseSubscriptionRequest()
        return self.subscriptions.PauseSubscription(request, metadata=self.as_buyer)

    def resume_call(self) -> Any:
        request = subscription_service_pb2.ResumeSubscriptionRequest()
        return self.subscriptions.ResumeSubscription(request, metadata=self.as_buyer)

    async def buy(self, item_id: str) -> None:
        """Pays on the provider's page as a browser does, and waits until everything is known here."""
        checkout = await self.checkout_call(item_id)
        async with httpx.AsyncClient() as browser:
            page = await browser.get(checkout.url)
            assert "Pay" in page.text
            answer = await browser.post(checkout.url)
        assert answer.status_code == 303
        await self.settled()

    async def turn_clock(self, **by: float) -> None:
        """Turns the provider's clock forward and waits until everything that followed is known here."""
        self.book.turn_clock(timedelta(**by))
        await self.settled()

    async def settled(self) -> None:
        """Waits until the provider has sent what is due, and all that was kept is applied."""
        await self.deliveries.quiet()
        await until(self._has_applied_all, within_seconds=_PATIENCE_SECONDS)

    async def _has_applied_all(self) -> bool:
        (row,) = await self.payment.ledger.as_admin(
            "SELECT count(*) AS due FROM payment.webhook_inbox WHERE state = 'new' AND attempts = 0"
        )
        return bool(row["due"] == 0)

    @property
    def provider(self) -> str:
        """The name of the provider that the shop sells through."""
        return "polar" if isinstance(self.face, PolarFace) else "lemon-squeezy"

    async def deliver(self, message: Message, *, provider: str = "") -> int:
        """Sends a report over HTTP as a provider does; returns the HTTP status."""
        async with httpx.AsyncClient() as client:
            path = f"{self.bridge}/api/v1/webhooks/{provider or self.provider}"
            answer = await client.post(path, content=message.body, headers=dict(message.headers))
        return answer.status_code

    async def receive(self, message: Message) -> None:
        """Hands a report to svc_payment as the bridge does."""
        headers = [
            webhook_service_pb2.SignatureHeader(name=name, value=value) for name, value in message.headers.items()
        ]
        request = webhook_service_pb2.ReceiveWebhookRequest(provider=self.provider, body=message.body, headers=headers)
        await self.webhooks.ReceiveWebhook(request, metadata=self.payment.identities.as_service(CALLER))

    async def current(self) -> subscription_pb2.Subscription:
        request = subscription_service_pb2.GetCurrentSubscriptionRequest()
        found: subscription_pb2.Subscription = await self.subscriptions.GetCurrentSubscription(
            request, metadata=self.as_buyer
        )
        return found

    async def invoices(self) -> list[subscription_pb2.Invoice]:
        request = subscription_service_pb2.ListInvoicesRequest()
        return list((await self.subscriptions.ListInvoices(request, metadata=self.as_buyer)).invoices)

    async def available(self) -> float:
        """Returns the credits that can be spent."""
        return float((await self.payment.balance_call(self.account)).available)

    async def spend(self, amount: int) -> None:
        """Spends credits as a job does."""
        hold = new_id()
        await self.payment.reserve_call(self.account, amount * 1000, hold=hold)
        await self.payment.settle_call(self.account, hold, amount * 1000)

    async def inbox(self) -> dict[str, int]:
        """Returns how many reports were kept, by what became of them."""
        rows = await self.payment.ledger.as_admin(
            "SELECT state, count(*) AS number FROM payment.webhook_inbox GROUP BY state"
        )
        return {row["state"]: row["number"] for row in rows}

    @property
    def bought(self) -> Subscription:
        """The subscription at the provider."""
        (only,) = self.book.subscriptions.values()
        return only

    @property
    def reconciliation(self) -> Reconciliation:
        """The sweeps of the running service, to be run when the test wants them, at the provider's clock."""
        return Reconciliation(self.billing, now=lambda: self.book.now)

    @property
    def subscription_id(self) -> str:
        """The subscription's id as the provider shows it."""
        return uuid_of(self.bought.number) if isinstance(self.face, PolarFace) else str(self.bought.number)

    @property
    def invoice(self) -> Invoice:
        """The latest invoice at the provider."""
        return list(self.book.invoices.values())[-1]

    @property
    def order(self) -> Order:
        """The latest order at the provider."""
        return list(self.book.orders.values())[-1]


@asynccontextmanager
async def running_shop(
    place: ServiceDatabase, identities: Identities, redis_url: str, folder: Path, *, provider: str = "lemon-squeezy"
) -> AsyncIterator[Shop]:
    """Runs a shop until the block ends; its books are audited then."""
    (folder / "key").write_text(f"{_KEY}\n")
    (folder / "secrets").write_text(f"{OLD_SECRET}\n{SECRET}\n")
    book = Book({product.number: product for product in PRODUCTS.values()})
    deliveries = Deliveries("http://127.0.0.1:1", lambda: book.now)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        face_of = PolarFace if provider == "polar" else LemonSqueezyFace
        face: LemonSqueezyFace | PolarFace = face_of(book, deliveries, url, _KEY, SECRET)
        book.announce = face.announce
        own = {
            "payment_provider": provider,
            "checkout_return_url": "http://studio.example/billing",
            **(_polar(url, folder) if provider == "polar" else _lemon_squeezy(url, folder)),
        }
        settings = PaymentSettings(**settings_values(identities, SERVICE_NAME, place, redis_url=redis_url, **own))
        app = application(book, deliveries, face)
        async with (
            serving(app, listener),
            ledger_in(place) as ledger,
            _without_provider_sweeps(place) as without_sweeps,
            running(compose(settings)) as service,
        ):
            providers = {provider.name: provider for provider in configured_providers(settings)}
            webhooks = Webhooks(service.internal_address, identities.credential(CALLER))
            async with running_bridge({}, webhooks=webhooks) as port:
                deliveries.url = f"http://127.0.0.1:{port}/api/v1/webhooks/{provider}"
                shop = Shop(
                    payment=Payment.over(identities, service, ledger),
                    subscriptions=SubscriptionServiceStub(service.public),
                    webhooks=WebhookServiceStub(service.internal),
                    face=face,
                    bridge=f"http://127.0.0.1:{port}",
                    billing=Billing(database=ledger.tasks, providers=providers, announce=_nobody),
                    settings=settings,
                    without_sweeps=without_sweeps,
                )
                yield shop
                assert await ledger.breaches() == []
            for each in providers.values():
                await each.close()


@asynccontextmanager
async def _without_provider_sweeps(place: ServiceDatabase) -> AsyncIterator[AsyncExitStack]:
    """Keeps the sweeps' locks as another replica would, so that a test alone decides when a provider is asked."""
    async with AsyncExitStack() as stack:
        database = Database(place.tasks_url, pool_size=len(_PROVIDER_SWEEPS))
        stack.push_async_callback(database.close)
        for name in _PROVIDER_SWEEPS:
            assert await stack.enter_async_context(database.advisory_lock(f"sweep:{name}"))
        yield stack


def _lemon_squeezy(url: str, folder: Path) -> dict[str, Any]:
    return {
        "lemon_squeezy_api_url": url,
        "lemon_squeezy_key_file": folder / "key",
        "lemon_squeezy_secrets_file": folder / "secrets",
        "lemon_squeezy_store_id": "1",
        "lemon_squeezy_variants": {item: str(product.number) for item, product in PRODUCTS.items()},
        "lemon_squeezy_test_mode": True,
    }


def _polar(url: str, folder: Path) -> dict[str, Any]:
    return {
        "polar_api_url": url,
        "polar_key_file": folder / "key",
        "polar_secrets_file": folder / "secrets",
        "polar_organization_id": _ORGANIZATION,
        "polar_products": {item: uuid_of(product.number) for item, product in PRODUCTS.items()},
    }


async def _nobody(_: UUID) -> None:
    """Caches belong to other services."""


@asynccontextmanager
async def serving(app: FastAPI, listener: socket.socket) -> AsyncIterator[None]:
    """Serves an application on a socket until the block ends."""
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none")
    )
    # Its own signal handlers would take those of the tests.
    task = asyncio.create_task(server._serve([listener]))

    async def has_started() -> bool:
        return server.started

    await until(has_started, within_seconds=_PATIENCE_SECONDS)
    yield
    server.should_exit = True
    await task
