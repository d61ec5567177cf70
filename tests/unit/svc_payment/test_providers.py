"""What the providers' documents mean in our words, from documents written by hand after the providers' own descriptions."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from svc_payment.domain.billing import PackPaid, PaymentFailed, PaymentSettled, PlanState, Reason, Status
from svc_payment.main import PaymentSettings
from svc_payment.providers.interface import ProviderError
from svc_payment.providers.lemon_squeezy import LemonSqueezy
from svc_payment.providers.polar import Polar
from tests.harness_postgres import UNREACHABLE_DATABASE
from tests.harness_service import Identities, settings_values

AT = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)
LATER = datetime(2026, 12, 29, 8, 30, tzinfo=UTC)


def lemon_squeezy(*, is_test: bool = False) -> LemonSqueezy:
    return LemonSqueezy(
        api_url="http://127.0.0.1:1",
        api_key="key",
        store_id="1",
        secrets=["secret"],
        variants={"pro": "102", "pack-1000": "201"},
        is_test=is_test,
    )


def polar() -> Polar:
    return Polar(
        api_url="http://127.0.0.1:1",
        api_key="key",
        organization_id="org",
        secrets=["secret"],
        products={"pro": "product-pro", "pack-1000": "product-pack"},
    )


def lemon_report(event: str, kind: str, attributes: dict[str, Any], **meta: Any) -> bytes:
    document = {
        "meta": {"test_mode": False, "event_name": event, "webhook_id": "w", **meta},
        "data": {"type": kind, "id": "77", "attributes": {"store_id": 1, **attributes}},
    }
    return json.dumps(document).encode()


SUBSCRIPTION = {
    "variant_id": 102,
    "status": "active",
    "renews_at": "2026-12-29T08:30:00.000000Z",
    "ends_at": None,
    "updated_at": "2026-11-29T08:30:00.000000Z",
}
INVOICE = {
    "subscription_id": 7,
    "billing_reason": "initial",
    "status": "paid",
    "refunded": False,
    "refunded_amount": 0,
    "currency": "EUR",
    "total": 7500,
    "created_at": "2026-11-29T08:30:00.000000Z",
    "updated_at": "2026-11-29T08:30:00.000000Z",
}
ORDER = {
    "status": "paid",
    "refunded": False,
    "currency": "USD",
    "total": 600,
    "first_order_item": {"variant_id": 201},
    "created_at": "2026-11-29T08:30:00.000000Z",
    "updated_at": "2026-11-29T08:30:00.000000Z",
}


@pytest.mark.parametrize(
    ("told", "status", "ends"),
    [
        ("on_trial", Status.ACTIVE, None),
        ("active", Status.ACTIVE, None),
        ("paused", Status.PAUSED, None),
        ("past_due", Status.PAST_DUE, None),
        ("unpaid", Status.UNPAID, None),
        ("cancelled", Status.CANCELLED, LATER),
        ("expired", Status.EXPIRED, LATER),
    ],
)
def test_lemon_squeezys_subscription_has_our_status(told: str, status: Status, ends: datetime | None) -> None:
    attributes = {**SUBSCRIPTION, "status": told, "ends_at": ends.isoformat() if ends else None}

    report = lemon_squeezy().read(
        lemon_report("subscription_updated", "subscriptions", attributes, custom_data={"checkout_reference": "r"})
    )

    assert report.reference == "r"
    renews = LATER if status is Status.ACTIVE else None
    assert report.event == PlanState("77", "pro", status, AT, renew_time=renews, end_time=ends)


def test_lemon_squeezys_unknown_status_is_not_guessed() -> None:
    with pytest.raises(ProviderError):
        lemon_squeezy().read(lemon_report("x", "subscriptions", {**SUBSCRIPTION, "status": "hibernating"}))


def test_lemon_squeezys_invoice_is_named_by_its_own_id() -> None:
    report = lemon_squeezy().read(lemon_report("subscription_payment_success", "subscription-invoices", INVOICE))

    assert report.event == PaymentSettled("inv:77", "7", Reason.INITIAL, 7500, "EUR", AT, AT)


@pytest.mark.parametrize(
    ("change", "refunded"),
    [
        ({"status": "refunded", "refunded": True, "refunded_amount": 7500}, 7500),
        # Before the amount was told, only the whole could be refunded.
        ({"status": "refunded", "refunded": True, "refunded_amount": None}, 7500),
        ({"status": "partial_refund", "refunded_amount": 1000}, 1000),
    ],
)
def test_lemon_squeezys_refund_settles_nothing_later(change: dict[str, Any], refunded: int) -> None:
    attributes = {**INVOICE, **change, "updated_at": "2026-12-29T08:30:00.000000Z"}

    event = (
        lemon_squeezy().read(lemon_report("subscription_payment_refunded", "subscription-invoices", attributes)).event
    )

    assert isinstance(event, PaymentSettled)
    assert (event.refunded_cents, event.settle_time) == (refunded, AT)


@pytest.mark.parametrize(
    ("event", "expected"),
    [("subscription_payment_failed", PaymentFailed("7", AT)), ("subscription_payment_success", None)],
)
def test_lemon_squeezys_open_invoice_is_no_payment(event: str, expected: PaymentFailed | None) -> None:
    body = lemon_report(event, "subscription-invoices", {**INVOICE, "status": "pending"})

    assert lemon_squeezy().read(body).event == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, PackPaid("order:77", "pack-1000", 600, "USD", AT)),
        ({"status": "pending"}, None),
        ({"first_order_item": {"variant_id": 999}}, None),
        ({"first_order_item": None}, None),
    ],
)
def test_lemon_squeezys_order(change: dict[str, Any], expected: PackPaid | None) -> None:
    assert lemon_squeezy().read(lemon_report("order_created", "orders", {**ORDER, **change})).event == expected


def test_lemon_squeezys_signature_is_the_one_of_its_documentation() -> None:
    body = lemon_report("order_created", "orders", ORDER)
    signature = hmac.new(b"secret", body, hashlib.sha256).hexdigest()

    assert lemon_squeezy().verify(body, {"x-signature": signature}, AT) == "order_created"


POLAR_SUBSCRIPTION = {
    "id": "sub",
    "created_at": "2026-11-29T08:30:00Z",
    "modified_at": None,
    "status": "active",
    "current_period_end": "2026-12-29T08:30:00Z",
    "cancel_at_period_end": False,
    "ends_at": None,
    "product_id": "product-pro",
    "metadata": {"checkout_reference": "r"},
}
POLAR_ORDER = {
    "id": "ord",
    "created_at": "2026-11-29T08:30:00Z",
    "modified_at": None,
    "status": "paid",
    "total_amount": 8250,
    "refunded_amount": 0,
    "refunded_tax_amount": 0,
    "currency": "usd",
    "billing_reason": "subscription_create",
    "product_id": "product-pro",
    "subscription_id": "sub",
    "metadata": {"checkout_reference": "r"},
}


def polar_report(event: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"type": event, "data": data}).encode()


@pytest.mark.parametrize(
    ("change", "status", "ends"),
    [
        ({}, Status.ACTIVE, None),
        ({"status": "trialing"}, Status.ACTIVE, None),
        ({"status": "past_due"}, Status.PAST_DUE, None),
        ({"status": "unpaid"}, Status.UNPAID, None),
        ({"cancel_at_period_end": True}, Status.CANCELLED, LATER),
        ({"status": "canceled", "ends_at": "2026-12-29T08:30:00Z"}, Status.EXPIRED, LATER),
    ],
)
def test_polars_subscription_has_our_status(change: dict[str, Any], status: Status, ends: datetime | None) -> None:
    report = polar().read(polar_report("subscription.updated", {**POLAR_SUBSCRIPTION, **change}))

    renews = None if ends else LATER
    assert report.event == PlanState("sub", "pro", status, AT, renew_time=renews, end_time=ends)
    assert report.reference == "r"


def test_polars_subscription_that_has_not_begun_is_none() -> None:
    data = {**POLAR_SUBSCRIPTION, "status": "incomplete"}

    assert polar().read(polar_report("subscription.created", data)).event is None


def test_polars_pending_update_is_the_next_plan() -> None:
    data = {**POLAR_SUBSCRIPTION, "product_id": "other", "pending_update": {"product_id": "product-pro"}}

    event = polar().read(polar_report("subscription.updated", data)).event

    assert isinstance(event, PlanState)
    assert (event.plan_id, event.next_plan_id) == (None, "pro")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("subscription_create", Reason.INITIAL),
        ("subscription_cycle", Reason.RENEWAL),
        ("subscription_update", Reason.CHANGE),
    ],
)
def test_polars_order_of_a_subscription_names_its_plan(told: str, reason: Reason) -> None:
    event = polar().read(polar_report("order.paid", {**POLAR_ORDER, "billing_reason": told})).event

    assert event == PaymentSettled("order:ord", "sub", reason, 8250, "USD", AT, AT, plan_id="pro")


def test_polars_refund_counts_with_its_taxes() -> None:
    data = {**POLAR_ORDER, "status": "partially_refunded", "refunded_amount": 1000, "refunded_tax_amount": 100}

    event = polar().read(polar_report("order.refunded", data)).event

    assert isinstance(event, PaymentSettled)
    assert event.refunded_cents == 1100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, PackPaid("order:ord", "pack-1000", 8250, "USD", AT)),
        ({"status": "pending"}, None),
        ({"product_id": "unknown"}, None),
    ],
)
def test_polars_single_order_is_a_pack(change: dict[str, Any], expected: PackPaid | None) -> None:
    data = {
        **POLAR_ORDER,
        "subscription_id": None,
        "billing_reason": "purchase",
        "product_id": "product-pack",
        **change,
    }

    assert polar().read(polar_report("order.paid", data)).event == expected


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"lemon_squeezy_key_file": "key"}, "LEMON_SQUEEZY_KEY_FILE is set"),
        ({"polar_key_file": "key", "polar_organization_id": "org"}, "POLAR_KEY_FILE is set"),
        ({"payment_provider": "polar"}, "set POLAR_KEY_FILE"),
    ],
)
def test_provider_that_is_set_in_part_is_refused_at_the_start(
    own: dict[str, str], said: str, identities: Identities, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("key")
    placed = {name: tmp_path / value if name.endswith("_file") else value for name, value in own.items()}

    with pytest.raises(ValidationError, match=said):
        PaymentSettings(**settings_values(identities, "svc_payment", UNREACHABLE_DATABASE, **placed))
