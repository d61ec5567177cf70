"""Lemon Squeezy: its JSON:API, and its webhooks, which it signs without a time.

Reports are read by the type of what they hold, never by their name: `subscription_payment_*` hold an invoice, whose
`data.id` is the invoice's. Our reference stands in `meta.custom_data` of webhooks only, and in nothing that the API
returns. Its clock has seconds.
"""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from svc_payment.domain.billing import (
    Event,
    PackPaid,
    PaymentFailed,
    PaymentSettled,
    PlanState,
    Reason,
    Status,
)
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

NAME: Final = "lemon-squeezy"
_JSON_API: Final = "application/vnd.api+json"
_REFERENCE: Final = "checkout_reference"
_SIGNATURE: Final = "x-signature"
_PAGE: Final = "100"

_STATUSES: Final[Mapping[str, Status]] = {
    "on_trial": Status.ACTIVE,
    "active": Status.ACTIVE,
    "paused": Status.PAUSED,
    "past_due": Status.PAST_DUE,
    "unpaid": Status.UNPAID,
    "cancelled": Status.CANCELLED,
    "expired": Status.EXPIRED,
}
_REASONS: Final[Mapping[str, Reason]] = {
    "initial": Reason.INITIAL,
    "renewal": Reason.RENEWAL,
    "updated": Reason.CHANGE,
}
# What was paid once: a refund changes the status, and doesn't undo the payment.
_PAID: Final = frozenset({"paid", "refunded", "partial_refund"})
_PAYMENT_FAILED: Final = "subscription_payment_failed"


_log: Final = structlog.get_logger("billing")


class LemonSqueezy:
    """Implements `Provider`."""

    name = NAME
    capabilities = Capabilities(moves_at_renewal=False, payments_name_plan=False, lists_references=False, pauses=True)

    def __init__(
        self,
        *,
        api_url: str,
        api_key: str,
        store_id: str,
        secrets: Sequence[str],
        variants: Mapping[str, str],
        is_test: bool,
    ) -> None:
        """Takes the webhooks' secrets, of which any may have signed while they are rotated, and variants by our ids."""
        headers = {"authorization": f"Bearer {api_key}", "accept": _JSON_API, "content-type": _JSON_API}
        self._client = ProviderClient(NAME, api_url, headers)
        self._store_id = store_id
        self._secrets = [secret.encode() for secret in secrets]
        self._variants = dict(variants)
        self._items = {variant: item for item, variant in variants.items()}
        self._is_test = is_test

    def sells(self, item_id: str) -> bool:
        """Returns whether a plan or pack has a variant."""
        return item_id in self._variants

    async def create_checkout(self, order: CheckoutOrder) -> str:
        """Opens a page for one variant; by default a page offers all of the product's."""
        variant = self._variants[order.item_id]
        attributes = {
            "checkout_data": {"custom": {_REFERENCE: order.reference}},
            "product_options": {"redirect_url": order.return_url, "enabled_variants": [int(variant)]},
            "expires_at": order.expire_time.isoformat(),
            "test_mode": self._is_test,
        }
        relationships = {
            "store": {"data": {"type": "stores", "id": self._store_id}},
            "variant": {"data": {"type": "variants", "id": variant}},
        }
        body = {"data": {"type": "checkouts", "attributes": attributes, "relationships": relationships}}
        answer = await self._client.call("POST", "/v1/checkouts", body)
        return str(answer["data"]["attributes"]["url"])

    async def portal_url(self, subscription_id: str) -> str:
        """Returns the portal's address, which is signed for a day."""
        answer = await self._client.call("GET", f"/v1/subscriptions/{subscription_id}")
        return str(answer["data"]["attributes"]["urls"]["customer_portal"])

    async def change_plan(self, subscription_id: str, plan_id: str, when: ChangeTime) -> PlanState:
        """Moves to another variant at once: charging the difference, or at its renewal, which is near then, nothing."""
        charging = {"disable_prorations": True} if when is ChangeTime.AT_RENEWAL else {"invoice_immediately": True}
        return await self._patch(subscription_id, {"variant_id": int(self._variants[plan_id]), **charging})

    async def cancel(self, subscription_id: str) -> PlanState:
        """Ends the renewal."""
        return await self._patch(subscription_id, {"cancelled": True})

    async def resume(self, subscription_id: str) -> PlanState:
        """Takes a cancellation back."""
        return await self._patch(subscription_id, {"cancelled": False})

    async def pause(self, subscription_id: str) -> PlanState:
        """Pauses it; its invoices are void meanwhile. The other mode, `free`, would go on serving for nothing."""
        return await self._patch(subscription_id, {"pause": {"mode": "void", "resumes_at": None}})

    async def unpause(self, subscription_id: str) -> PlanState:
        """Ends a pause."""
        return await self._patch(subscription_id, {"pause": None})

    async def fetch(self, subscription_id: str) -> PlanState | None:
        """Returns how a subscription stands."""
        answer = await self._client.find("GET", f"/v1/subscriptions/{subscription_id}")
        return None if answer is None else self._subscription(answer["data"])

    async def list_since(self, since: datetime) -> Sequence[Report]:
        """Returns what changed since a moment.

        The lists are filtered here: Lemon Squeezy's own filter of invoices by status returns nothing.
        """
        return [
            Report(f"listed {kind}", self._listed(data))
            for kind in ("subscriptions", "subscription-invoices", "orders")
            async for data in self._list(kind)
            if _time(data["attributes"]["updated_at"]) >= since
        ]

    def verify(self, body: bytes, headers: Mapping[str, str], now: datetime) -> str:
        """Checks the signature over the bytes, then whose report it is; returns its name."""
        del now  # nothing that is signed says when it was sent
        shown = headers.get(_SIGNATURE, "").encode()
        # Each secret is tried, so that the time says nothing about which one it was.
        matches = [
            hmac.compare_digest(hmac.new(secret, body, hashlib.sha256).hexdigest().encode(), shown)
            for secret in self._secrets
        ]
        if not any(matches):
            raise signature_invalid()
        try:
            document = json.loads(body)
            meta, attributes = document["meta"], document["data"]["attributes"]
            name, store_id = str(meta["event_name"]), str(attributes.get("store_id", self._store_id))
            is_test = bool(meta.get("test_mode"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_a_report() from error
        if store_id != self._store_id or is_test != self._is_test:
            raise ForeignReportError
        return name

    def read(self, body: bytes) -> Report:
        """Returns what a body reports that was verified before."""
        document = json.loads(body)
        name = str(document["meta"]["event_name"])
        reference = str((document["meta"].get("custom_data") or {}).get(_REFERENCE, ""))
        return Report(name, self._event(document["data"], name=name), reference)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _patch(self, subscription_id: str, attributes: Mapping[str, Any]) -> PlanState:
        body = {"data": {"type": "subscriptions", "id": subscription_id, "attributes": attributes}}
        answer = await self._client.call("PATCH", f"/v1/subscriptions/{subscription_id}", body)
        return self._subscription(answer["data"])

    async def _list(self, kind: str) -> AsyncIterator[Mapping[str, Any]]:
        number, last = 1, 1
        while number <= last:
            parameters = {"filter[store_id]": self._store_id, "page[number]": str(number), "page[size]": _PAGE}
            answer = await self._client.call("GET", f"/v1/{kind}", parameters=parameters)
            for data in answer["data"]:
                yield data
            number, last = number + 1, int(answer["meta"]["page"]["lastPage"])

    def _listed(self, data: Mapping[str, Any]) -> Event | None:
        """Returns what an item of a list says; one that isn't understood must not hide the others."""
        try:
            return self._event(data, name="")
        except (ProviderError, ValueError, KeyError, TypeError) as error:
            _log.warning("billing.not_understood", provider=NAME, item=str(data.get("id")), error=repr(error))
            return None

    def _event(self, data: Mapping[str, Any], *, name: str) -> Event | None:
        match data["type"]:
            case "subscriptions":
                return self._subscription(data)
            case "subscription-invoices":
                return self._invoice(data, has_failed=name == _PAYMENT_FAILED)
            case "orders":
                return self._order(data)
            case _:
                return None

    def _subscription(self, data: Mapping[str, Any]) -> PlanState:
        attributes = data["attributes"]
        status = _STATUSES.get(attributes["status"])
        if status is None:
            raise ProviderError(f"{NAME} has a status {attributes['status']!r}, which isn't known here")
        return PlanState(
            subscription_id=str(data["id"]),
            plan_id=self._items.get(str(attributes["variant_id"])),
            status=status,
            update_time=_time(attributes["updated_at"]),
            # A past-due subscription names the next try in place of the renewal.
            renew_time=_optional_time(attributes.get("renews_at")) if status is Status.ACTIVE else None,
            end_time=_optional_time(attributes.get("ends_at")),
        )

    def _invoice(self, data: Mapping[str, Any], *, has_failed: bool) -> Event | None:
        attributes = data["attributes"]
        subscription_id = str(attributes["subscription_id"])
        if attributes["status"] in _PAID:
            return PaymentSettled(
                invoice_id=f"inv:{data['id']}",
                subscription_id=subscription_id,
                reason=_REASONS.get(attributes["billing_reason"], Reason.RENEWAL),
                amount_cents=int(attributes["total"]),
                currency=str(attributes["currency"]),
                issue_time=_time(attributes["created_at"]),
                # A refund changes the invoice as well, and settles nothing.
                settle_time=_time(attributes["updated_at" if attributes["status"] == "paid" else "created_at"]),
                refunded_cents=_refunded(attributes),
            )
        return PaymentFailed(subscription_id, _time(attributes["updated_at"])) if has_failed else None

    def _order(self, data: Mapping[str, Any]) -> PackPaid | None:
        """Returns what was bought once. A subscription's first order is one too, of an item that is no pack."""
        attributes = data["attributes"]
        item_id = self._items.get(str((attributes.get("first_order_item") or {}).get("variant_id")))
        if item_id is None or attributes["status"] not in _PAID:
            return None
        return PackPaid(
            invoice_id=f"order:{data['id']}",
            pack_id=item_id,
            amount_cents=int(attributes["total"]),
            currency=str(attributes["currency"]),
            issue_time=_time(attributes["created_at"]),
            refunded_cents=_refunded(attributes),
        )


def _refunded(attributes: Mapping[str, Any]) -> int:
    """Returns how much was paid back so far; older documents say only that all was."""
    amount = int(attributes.get("refunded_amount") or 0)
    return max(amount, int(attributes["total"])) if attributes.get("refunded") and not amount else amount


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _optional_time(text: str | None) -> datetime | None:
    return _time(text) if text else None
