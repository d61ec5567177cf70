"""Polar: its JSON API, and its webhooks, which follow the Standard Webhooks with an id and a time that are signed.

The reference of a checkout is its metadata, which Polar copies to the order and the subscription that follow. Every
payment is an order, of a subscription or not, and names its product. A cancelled subscription stays active until its
period ends; `canceled` means that it has ended.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from standardwebhooks import Webhook, WebhookVerificationError

from svc_payment.domain.billing import Event, PackPaid, PaymentSettled, PlanState, Reason, Status
from svc_payment.providers.http import ProviderClient
from svc_payment.providers.interface import (
    Capabilities,
    ChangeTime,
    CheckoutOrder,
    ForeignReportError,
    ProviderError,
    Report,
    not_a_report,
    signature_invalid,
)

NAME: Final = "polar"
_REFERENCE: Final = "checkout_reference"
_PAGE: Final = "100"

_STATUSES: Final[Mapping[str, Status]] = {
    "trialing": Status.ACTIVE,
    "active": Status.ACTIVE,
    "past_due": Status.PAST_DUE,
    "unpaid": Status.UNPAID,
    "paused": Status.PAUSED,
    "canceled": Status.EXPIRED,
}
# Nothing was paid yet, or ever will be.
_UNBORN: Final = frozenset({"incomplete", "incomplete_expired"})
_REASONS: Final[Mapping[str, Reason]] = {
    "subscription_create": Reason.INITIAL,
    "subscription_update": Reason.CHANGE,
}
_PAID: Final = frozenset({"paid", "refunded", "partially_refunded"})


_log: Final = structlog.get_logger("billing")


class Polar:
    """Implements `Provider`."""

    name = NAME
    capabilities = Capabilities(moves_at_renewal=True, payments_name_plan=True, lists_references=True, pauses=False)

    def __init__(
        self,
        *,
        api_url: str,
        api_key: str,
        organization_id: str,
        secrets: Sequence[str],
        products: Mapping[str, str],
    ) -> None:
        """Takes the webhooks' secrets, of which any may have signed while they are rotated, and products by our ids."""
        self._client = ProviderClient(NAME, api_url, {"authorization": f"Bearer {api_key}"})
        self._organization_id = organization_id
        # Polar signs with the bytes of the secret as it is shown, not with what it would be in base64.
        self._webhooks = [Webhook(secret.encode()) for secret in secrets]
        self._products = dict(products)
        self._items = {product: item for item, product in products.items()}

    def sells(self, item_id: str) -> bool:
        """Returns whether a plan or pack has a product."""
        return item_id in self._products

    async def create_checkout(self, order: CheckoutOrder) -> str:
        """Opens a page for one product."""
        body = {
            "products": [self._products[order.item_id]],
            "metadata": {_REFERENCE: order.reference},
            "success_url": order.return_url,
        }
        return str((await self._client.call("POST", "/v1/checkouts/", body))["url"])

    async def portal_url(self, subscription_id: str) -> str:
        """Opens a session on the customer's own pages and returns their address."""
        subscription = await self._client.call("GET", f"/v1/subscriptions/{subscription_id}")
        session = await self._client.call(
            "POST", "/v1/customer-sessions/", {"customer_id": subscription["customer_id"]}
        )
        return str(session["customer_portal_url"])

    async def change_plan(self, subscription_id: str, plan_id: str, when: ChangeTime) -> PlanState:
        """Moves to another product: now, with the difference invoiced, or with the next period."""
        behavior = "next_period" if when is ChangeTime.AT_RENEWAL else "invoice"
        body = {"product_id": self._products[plan_id], "proration_behavior": behavior}
        return await self._patch(subscription_id, body)

    async def cancel(self, subscription_id: str) -> PlanState:
        """Ends the renewal."""
        return await self._patch(subscription_id, {"cancel_at_period_end": True})

    async def resume(self, subscription_id: str) -> PlanState:
        """Takes a cancellation back."""
        return await self._patch(subscription_id, {"cancel_at_period_end": False})

    async def pause(self, subscription_id: str) -> PlanState:
        """Isn't possible."""
        raise ProviderError(f"{NAME} can't pause {subscription_id}")

    async def unpause(self, subscription_id: str) -> PlanState:
        """Isn't possible."""
        raise ProviderError(f"{NAME} can't end a pause of {subscription_id}")

    async def fetch(self, subscription_id: str) -> PlanState | None:
        """Returns how a subscription stands."""
        data = await self._client.find("GET", f"/v1/subscriptions/{subscription_id}")
        return None if data is None else self._subscription(data)

    async def list_since(self, since: datetime) -> Sequence[Report]:
        """Returns what changed since a moment; every list is read whole, since none is sorted by its changes."""
        bought = [
            Report("listed subscriptions", self._listed("subscription", data), _reference(data))
            async for data in self._list("subscriptions")
            if _changed(data) >= since
        ]
        paid = [
            Report("listed orders", self._listed("order", data), _reference(data))
            async for data in self._list("orders")
            if _changed(data) >= since
        ]
        return [*bought, *paid]

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> str:
        """Checks the signature over id, time and bytes, then whose report it is; returns its name."""
        del now  # the library compares the time with the machine's own
        if not any(_holds(webhook, body, headers) for webhook in self._webhooks):
            raise signature_invalid()
        try:
            document = json.loads(body)
            name, data = str(document["type"]), document["data"]
            organization_id = (data.get("product") or {}).get("organization_id", self._organization_id)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_a_report() from error
        if organization_id != self._organization_id:
            raise ForeignReportError
        return name

    def read(self, body: bytes) -> Report:
        """Returns what a body reports that was verified before."""
        document = json.loads(body)
        name, data = str(document["type"]), document["data"]
        return Report(name, self._event(name.partition(".")[0], data), _reference(data))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _patch(self, subscription_id: str, body: Mapping[str, Any]) -> PlanState:
        data = await self._client.call("PATCH", f"/v1/subscriptions/{subscription_id}", body)
        state = self._subscription(data)
        if state is None:
            raise ProviderError(f"{NAME} answered a change with a subscription that hasn't begun")
        return state

    async def _list(self, kind: str) -> AsyncIterator[Mapping[str, Any]]:
        number, last = 1, 1
        while number <= last:
            parameters = {"organization_id": self._organization_id, "page": str(number), "limit": _PAGE}
            answer = await self._client.call("GET", f"/v1/{kind}/", parameters=parameters)
            for data in answer["items"]:
                yield data
            number, last = number + 1, int(answer["pagination"]["max_page"])

    def _listed(self, kind: str, data: Mapping[str, Any]) -> Event | None:
        """Returns what an item of a list says; one that isn't understood must not hide the others."""
        try:
            return self._event(kind, data)
        except (ProviderError, ValueError, KeyError, TypeError) as error:
            _log.warning("billing.not_understood", provider=NAME, item=str(data.get("id")), error=repr(error))
            return None

    def _event(self, kind: str, data: Mapping[str, Any]) -> Event | None:
        match kind:
            case "subscription":
                return self._subscription(data)
            case "order":
                return self._order(data)
            case _:
                return None

    def _subscription(self, data: Mapping[str, Any]) -> PlanState | None:
        if data["status"] in _UNBORN:
            return None
        status = _STATUSES.get(data["status"])
        if status is None:
            raise ProviderError(f"{NAME} has a status {data['status']!r}, which isn't known here")
        is_ending = status is Status.ACTIVE and bool(data["cancel_at_period_end"])
        period_end = _time(data["current_period_end"])
        has_end = is_ending or status is Status.EXPIRED
        pending = data.get("pending_update") or {}
        return PlanState(
            subscription_id=str(data["id"]),
            plan_id=self._items.get(str(data["product_id"])),
            status=Status.CANCELLED if is_ending else status,
            update_time=_changed(data),
            renew_time=None if has_end else period_end,
            end_time=(_optional_time(data.get("ends_at")) or period_end) if has_end else None,
            next_plan_id=self._items.get(str(pending.get("product_id"))),
        )

    def _order(self, data: Mapping[str, Any]) -> Event | None:
        if data["status"] not in _PAID:
            return None
        item_id, subscription_id = self._items.get(str(data["product_id"])), data.get("subscription_id")
        issue_time = _time(data["created_at"])
        # Both without their taxes, so both with them.
        refunded = int(data["refunded_amount"]) + int(data.get("refunded_tax_amount") or 0)
        if subscription_id is not None:
            return PaymentSettled(
                invoice_id=f"order:{data['id']}",
                subscription_id=str(subscription_id),
                reason=_REASONS.get(data["billing_reason"], Reason.RENEWAL),
                amount_cents=int(data["total_amount"]),
                currency=str(data["currency"]).upper(),
                issue_time=issue_time,
                # A refund changes the order as well, and settles nothing.
                settle_time=_changed(data) if data["status"] == "paid" else issue_time,
                refunded_cents=refunded,
                plan_id=item_id,
            )
        if item_id is None:
            return None
        return PackPaid(
            invoice_id=f"order:{data['id']}",
            pack_id=item_id,
            amount_cents=int(data["total_amount"]),
            currency=str(data["currency"]).upper(),
            issue_time=issue_time,
            refunded_cents=refunded,
        )


def _holds(webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> bool:
    """Returns whether a signature fits; the library raises ValueError for one that can't be read."""
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def _reference(data: Mapping[str, Any]) -> str:
    return str((data.get("metadata") or {}).get(_REFERENCE, ""))


def _changed(data: Mapping[str, Any]) -> datetime:
    return _time(data.get("modified_at") or data["created_at"])


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _optional_time(text: str | None) -> datetime | None:
    return _time(text) if text else None
