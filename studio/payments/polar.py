"""The face of Polar: its documents, its API, and its signatures."""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request
from standardwebhooks import Webhook

from studio.payments.book import MONTH, Book, Checkout, Invoice, Order, Product, Subscription, Thing
from studio.payments.deliveries import Deliveries, Message

_EVENTS: Final = {
    "order_paid": "order.paid",
    "order_refunded": "order.refunded",
    "invoice_paid": "order.paid",
    "invoice_refunded": "order.refunded",
    "subscription_created": "subscription.created",
    "subscription_updated": "subscription.updated",
    "subscription_cancelled": "subscription.canceled",
    "subscription_resumed": "subscription.uncanceled",
    "subscription_expired": "subscription.revoked",
}
_REASONS: Final = {
    "initial": "subscription_create",
    "renewal": "subscription_cycle",
    "updated": "subscription_update",
}
_OTHER_ORGANIZATION: Final = "another organization"


def uuid_of(number: int) -> str:
    """Returns a number of the book in the form of Polar's ids."""
    return f"00000000-0000-4000-8000-{number:012d}"


@dataclass(frozen=True, slots=True)
class PolarFace:
    """Shows a book as Polar does."""

    book: Book
    deliveries: Deliveries
    base_url: str
    api_key: str
    secret: str
    organization_id: str = "the organization"

    def announce(self, name: str, thing: Thing) -> None:
        """Reports what has happened, where Polar has a report of it: the first order of a subscription is its invoice."""
        is_first_order = isinstance(thing, Order) and thing.product.is_recurring
        if name in _EVENTS and not is_first_order:
            self.deliveries.send(self.message(_EVENTS[name], thing))

    def message(self, event: str, thing: Thing) -> Message:
        """Returns the signed report of an event."""
        faults = self.deliveries.faults
        data = self.document(thing)
        if faults.flips:
            faults.flips -= 1
            data["product"]["organization_id"] = _OTHER_ORGANIZATION
        now = datetime.now(UTC)
        return self.signed(event, json.dumps({"type": event, "timestamp": now.isoformat(), "data": data}).encode())

    def signed(self, event: str, body: bytes, *, age: timedelta = timedelta()) -> Message:
        """Returns a body with its signature, which goes by the real clock whatever the book's says."""
        message_id, at = f"msg_{uuid4().hex}", datetime.now(UTC) - age
        signature = Webhook(self.secret.encode()).sign(message_id, at, body.decode("utf-8", "replace"))
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature,
        }
        return Message(event, body, headers)

    def document(self, thing: Thing) -> dict[str, Any]:
        """Returns a thing as Polar has it."""
        match thing:
            case Subscription():
                return self._subscription(thing)
            case Invoice():
                reason, bought = _REASONS[thing.reason], thing.subscription
                return self._order(thing, bought.reference, reason, uuid_of(bought.number), thing.status)
            case Order():
                return self._order(thing, thing.reference, "purchase", None, "paid")

    def routes(self) -> APIRouter:
        """Returns the API."""
        router = APIRouter(prefix="/v1")

        @router.post("/checkouts/", status_code=201)
        async def create_checkout(request: Request) -> dict[str, Any]:
            self._authorize(request)
            body = await request.json()
            checkout = Checkout(
                checkout_id=str(uuid4()),
                product=self._product(body["products"][0]),
                reference=str((body.get("metadata") or {}).get("checkout_reference", "")),
                return_url=body["success_url"],
                expires=self.book.now + timedelta(hours=1),
            )
            self.book.checkouts[checkout.checkout_id] = checkout
            return {"id": checkout.checkout_id, "url": f"{self.base_url}/checkout/{checkout.checkout_id}"}

        @router.post("/customer-sessions/", status_code=201)
        async def create_session(request: Request) -> dict[str, Any]:
            self._authorize(request)
            number = int((await request.json())["customer_id"].rpartition("-")[2])
            return {"customer_portal_url": f"{self.base_url}/portal/{number}?customer_session_token={uuid4().hex}"}

        @router.get("/subscriptions/")
        async def list_subscriptions(request: Request) -> dict[str, Any]:
            self._authorize(request)
            return self._page(request, list(self.book.subscriptions.values()))

        @router.get("/orders/")
        async def list_orders(request: Request) -> dict[str, Any]:
            self._authorize(request)
            single = [order for order in self.book.orders.values() if not order.product.is_recurring]
            return self._page(request, [*self.book.invoices.values(), *single])

        router.include_router(self._subscription_routes())
        return router

    def _subscription_routes(self) -> APIRouter:
        router = APIRouter()

        @router.get("/subscriptions/{name}")
        async def get_subscription(request: Request, name: str) -> dict[str, Any]:
            self._authorize(request)
            return self._subscription(self._bought(name))

        @router.patch("/subscriptions/{name}")
        async def change_subscription(request: Request, name: str) -> dict[str, Any]:
            self._authorize(request)
            bought, body = self._bought(name), await request.json()
            if "product_id" in body and body["proration_behavior"] == "next_period":
                self.book.move_later(bought, self._product(body["product_id"]))
            elif "product_id" in body:
                self.book.move(bought, self._product(body["product_id"]), charges=True)
            cancels = body.get("cancel_at_period_end")
            if cancels is not None and cancels == (bought.status == "cancelled"):
                raise HTTPException(403, "the subscription is so already")
            if cancels is not None:
                (self.book.cancel if cancels else self.book.resume)(bought)
            return self._subscription(bought)

        return router

    def _authorize(self, request: Request) -> None:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown, f"Bearer {self.api_key}"):
            raise HTTPException(401)
        if self.book.is_away:
            raise HTTPException(503)

    def _bought(self, name: str) -> Subscription:
        named = {uuid_of(number): bought for number, bought in self.book.subscriptions.items()}
        if name not in named:
            raise HTTPException(404)
        return named[name]

    def _product(self, name: str) -> Product:
        named = {uuid_of(number): product for number, product in self.book.products.items()}
        if name not in named:
            raise HTTPException(422, "no such product")
        return named[name]

    def _page(self, request: Request, things: Sequence[Thing]) -> dict[str, Any]:
        number, size = (int(request.query_params.get(name, usual)) for name, usual in (("page", "1"), ("limit", "10")))
        page = [self.document(each) for each in things[(number - 1) * size : number * size]]
        return {"items": page, "pagination": {"total_count": len(things), "max_page": -(-len(things) // size)}}

    def _subscription(self, bought: Subscription) -> dict[str, Any]:
        is_cancelled = bought.status == "cancelled"
        status = {"cancelled": "active", "expired": "canceled"}.get(bought.status, bought.status)
        pending = {"product_id": uuid_of(bought.next_product.number)} if bought.next_product else None
        return {
            "id": uuid_of(bought.number),
            "created_at": _text(bought.created),
            "modified_at": _text(bought.updated),
            "status": status,
            "amount": bought.product.price_cents,
            "currency": "usd",
            "current_period_start": _text(bought.renews - MONTH),
            "current_period_end": _text(bought.renews),
            "cancel_at_period_end": is_cancelled,
            "ends_at": _text(bought.ends) if bought.ends else None,
            "customer_id": uuid_of(bought.number),
            "product_id": uuid_of(bought.product.number),
            "product": self._product_document(bought.product),
            "metadata": {"checkout_reference": bought.reference},
            "pending_update": pending,
        }

    def _order(
        self, paid: Invoice | Order, reference: str, reason: str, subscription_id: str | None, status: str
    ) -> dict[str, Any]:
        if paid.refunded:
            status = "refunded" if paid.refunded >= paid.total else "partially_refunded"
        return {
            "id": uuid_of(paid.number),
            "created_at": _text(paid.created),
            "modified_at": _text(paid.updated),
            "status": status,
            "paid": status != "pending",
            "total_amount": paid.total,
            "refunded_amount": paid.refunded,
            "refunded_tax_amount": 0,
            "currency": "usd",
            "billing_reason": reason,
            "product_id": uuid_of(paid.product.number),
            "product": self._product_document(paid.product),
            "subscription_id": subscription_id,
            "metadata": {"checkout_reference": reference},
        }

    def _product_document(self, product: Product) -> dict[str, Any]:
        return {"id": uuid_of(product.number), "name": product.name, "organization_id": self.organization_id}


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
