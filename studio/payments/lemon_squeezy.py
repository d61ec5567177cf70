"""The face of Lemon Squeezy: its documents, its API, and its signatures."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from studio.payments.book import Book, Checkout, Invoice, Order, Subscription, Thing
from studio.payments.deliveries import Deliveries, Message

_MEDIA_TYPE: Final = "application/vnd.api+json"
_EVENTS: Final = {
    "order_paid": "order_created",
    "order_refunded": "order_refunded",
    "invoice_paid": "subscription_payment_success",
    "invoice_failed": "subscription_payment_failed",
    "invoice_recovered": "subscription_payment_recovered",
    "invoice_refunded": "subscription_payment_refunded",
}


@dataclass(frozen=True, slots=True)
class LemonSqueezyFace:
    """Shows a book as Lemon Squeezy does, in test mode."""

    book: Book
    deliveries: Deliveries
    base_url: str
    api_key: str
    secret: str
    store_id: int = 1

    def announce(self, name: str, thing: Thing) -> None:
        """Reports what has happened."""
        self.deliveries.send(self.message(_EVENTS.get(name, name), thing))

    def message(self, event: str, thing: Thing) -> Message:
        """Returns the signed report of an event."""
        faults = self.deliveries.faults
        is_test = not faults.flips
        faults.flips = max(0, faults.flips - 1)
        reference = thing.subscription.reference if isinstance(thing, Invoice) else thing.reference
        meta: dict[str, Any] = {"test_mode": is_test, "event_name": event, "webhook_id": str(uuid4())}
        if reference:
            meta["custom_data"] = {"checkout_reference": reference}
        return self.signed(event, json.dumps({"meta": meta, "data": self.document(thing)}).encode())

    def signed(self, event: str, body: bytes) -> Message:
        """Returns a body with its signature: the hexadecimal HMAC of its bytes, without a time."""
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return Message(event, body, {"x-event-name": event, "x-signature": signature})

    def document(self, thing: Thing) -> dict[str, Any]:
        """Returns a thing as JSON:API has it."""
        match thing:
            case Subscription():
                return self._subscription(thing)
            case Invoice():
                return self._invoice(thing)
            case Order():
                return self._order(thing)

    def routes(self) -> APIRouter:
        """Returns the API."""
        router = APIRouter(prefix="/v1")

        @router.post("/checkouts")
        async def create_checkout(request: Request) -> JSONResponse:
            self._authorize(request)
            data = (await request.json())["data"]
            attributes, variant = data["attributes"], int(data["relationships"]["variant"]["data"]["id"])
            if int(data["relationships"]["store"]["data"]["id"]) != self.store_id or variant not in self.book.products:
                raise HTTPException(422, "no such store or variant")
            checkout = Checkout(
                checkout_id=str(uuid4()),
                product=self.book.products[variant],
                reference=str((attributes["checkout_data"].get("custom") or {}).get("checkout_reference", "")),
                return_url=attributes["product_options"]["redirect_url"],
                expires=datetime.fromisoformat(attributes["expires_at"]),
            )
            self.book.checkouts[checkout.checkout_id] = checkout
            url = f"{self.base_url}/checkout/{checkout.checkout_id}"
            answer = {"type": "checkouts", "id": checkout.checkout_id, "attributes": {"url": url, "test_mode": True}}
            return _answer({"data": answer}, 201)

        @router.get("/subscriptions/{number}")
        async def get_subscription(request: Request, number: int) -> JSONResponse:
            self._authorize(request)
            return _answer({"data": self._subscription(self._bought(number))})

        @router.patch("/subscriptions/{number}")
        async def change_subscription(request: Request, number: int) -> JSONResponse:
            self._authorize(request)
            bought = self._bought(number)
            self._change(bought, (await request.json())["data"]["attributes"])
            return _answer({"data": self._subscription(bought)})

        @router.get("/{kind}")
        async def list_things(request: Request, kind: str) -> JSONResponse:
            self._authorize(request)
            things: dict[str, Sequence[Thing]] = {
                "subscriptions": list(self.book.subscriptions.values()),
                "subscription-invoices": list(self.book.invoices.values()),
                "orders": list(self.book.orders.values()),
            }
            if kind not in things:
                raise HTTPException(404)
            number = int(request.query_params.get("page[number]", "1"))
            size = int(request.query_params.get("page[size]", "10"))
            last = max(1, -(-len(things[kind]) // size))
            page = [self.document(each) for each in things[kind][(number - 1) * size : number * size]]
            return _answer({"meta": {"page": {"currentPage": number, "lastPage": last}}, "data": page})

        return router

    def _change(self, bought: Subscription, attributes: dict[str, Any]) -> None:
        if "variant_id" in attributes:
            charges = bool(attributes.get("invoice_immediately")) and not attributes.get("disable_prorations")
            self.book.move(bought, self.book.products[int(attributes["variant_id"])], charges=charges)
        if attributes.get("cancelled") is True:
            self.book.cancel(bought)
        if attributes.get("cancelled") is False and bought.status == "cancelled":
            self.book.resume(bought)
        if "pause" in attributes:
            (self.book.pause if attributes["pause"] else self.book.unpause)(bought)

    def _authorize(self, request: Request) -> None:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown, f"Bearer {self.api_key}"):
            raise HTTPException(401)
        if self.book.is_away:
            raise HTTPException(503)

    def _bought(self, number: int) -> Subscription:
        if number not in self.book.subscriptions:
            raise HTTPException(404)
        return self.book.subscriptions[number]

    def _subscription(self, bought: Subscription) -> dict[str, Any]:
        attributes = {
            "store_id": self.store_id,
            "variant_id": bought.product.number,
            "product_name": bought.product.name,
            "status": bought.status,
            "cancelled": bought.status == "cancelled",
            "renews_at": _text(bought.renews),
            "ends_at": _text(bought.ends) if bought.ends else None,
            "created_at": _text(bought.created),
            "updated_at": _text(bought.updated),
            "test_mode": True,
            "urls": {
                "customer_portal": f"{self.base_url}/portal/{bought.number}?expires="
                f"{int((self.book.now + timedelta(days=1)).timestamp())}&signature={uuid4().hex}",
            },
        }
        return {"type": "subscriptions", "id": str(bought.number), "attributes": attributes}

    def _invoice(self, invoice: Invoice) -> dict[str, Any]:
        attributes = {
            "store_id": self.store_id,
            "subscription_id": invoice.subscription.number,
            "billing_reason": invoice.reason,
            "status": _paid_status(invoice.status, invoice.total, invoice.refunded),
            "refunded": invoice.refunded >= invoice.total > 0,
            "refunded_amount": invoice.refunded,
            "currency": "USD",
            "total": invoice.total,
            "created_at": _text(invoice.created),
            "updated_at": _text(invoice.updated),
            "test_mode": True,
            "urls": {"invoice_url": f"{self.base_url}/invoice/{invoice.number}?signature={uuid4().hex}"},
        }
        return {"type": "subscription-invoices", "id": str(invoice.number), "attributes": attributes}

    def _order(self, order: Order) -> dict[str, Any]:
        attributes = {
            "store_id": self.store_id,
            "identifier": str(uuid4()),
            "status": _paid_status("paid", order.total, order.refunded),
            "refunded": order.refunded >= order.total > 0,
            "refunded_amount": order.refunded,
            "currency": "USD",
            "total": order.total,
            "first_order_item": {"variant_id": order.product.number, "product_name": order.product.name},
            "created_at": _text(order.created),
            "updated_at": _text(order.updated),
            "test_mode": True,
        }
        return {"type": "orders", "id": str(order.number), "attributes": attributes}


def _paid_status(status: str, total: int, refunded: int) -> str:
    if not refunded:
        return status
    return "refunded" if refunded >= total else "partial_refund"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def _answer(document: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(document, status, media_type=_MEDIA_TYPE)
