"""Converts between the messages about plans and payments and their values, one function a message."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from pingvas.payment.v1 import subscription_pb2

from svc_common.credits import format_credits
from svc_payment.domain.billing import Pack, Plan, Reason, Status
from svc_payment.domain.standing import Standing, grace_end_time
from svc_payment.messages.credits import limits_message, tier_message, timestamp
from svc_payment.store import models
from svc_payment.store.billing import Entitlement

# Of the catalogue. What was paid keeps the currency that the provider took.
_CURRENCY: Final = "USD"
_FREE: Final = "free"

INVOICE_REASONS: Final[Mapping[Reason, subscription_pb2.InvoiceReason.ValueType]] = MappingProxyType(
    {
        Reason.INITIAL: subscription_pb2.INVOICE_REASON_SUBSCRIPTION,
        Reason.RENEWAL: subscription_pb2.INVOICE_REASON_RENEWAL,
        Reason.CHANGE: subscription_pb2.INVOICE_REASON_PLAN_CHANGE,
        Reason.PACK: subscription_pb2.INVOICE_REASON_PACK,
        Reason.CONTRACT: subscription_pb2.INVOICE_REASON_CONTRACT,
    }
)


def plan_message(plan: Plan, limits: models.TierLimits, *, is_sold: bool) -> subscription_pb2.Plan:
    """Returns the message of a plan."""
    return subscription_pb2.Plan(
        plan_id=plan.plan_id,
        tier=tier_message(plan.tier),
        price_cents=plan.price_cents,
        currency=_CURRENCY,
        credits=format_credits(plan.credits),
        limits=limits_message(limits),
        is_sold=is_sold,
    )


def pack_message(pack: Pack, *, is_sold: bool) -> subscription_pb2.Pack:
    """Returns the message of a pack."""
    return subscription_pb2.Pack(
        pack_id=pack.pack_id,
        price_cents=pack.price_cents,
        currency=_CURRENCY,
        credits=format_credits(pack.credits),
        is_sold=is_sold,
    )


def checkout_message(checkout: models.Checkout) -> subscription_pb2.Checkout:
    """Returns the message of a checkout."""
    return subscription_pb2.Checkout(
        checkout_id=str(checkout.checkout_id), url=checkout.url, expire_time=timestamp(checkout.expire_time)
    )


def subscription_message(held: Entitlement, *, can_pause: bool) -> subscription_pb2.Subscription:
    """Returns the message of what an account subscribes to."""
    subscription = held.subscription
    if subscription is None:
        return subscription_pb2.Subscription(
            plan_id=_FREE, state=subscription_pb2.SUBSCRIPTION_STATE_NONE, tier=tier_message(held.tier)
        )
    grace_ends = grace_end_time(subscription)
    is_renewed = subscription.renew_time is not None and subscription.status is not Status.CANCELLED
    return subscription_pb2.Subscription(
        plan_id=subscription.plan_id or _FREE,
        state=_state(held),
        renew_time=timestamp(subscription.renew_time) if is_renewed and subscription.renew_time else None,
        end_time=timestamp(subscription.end_time) if subscription.end_time else None,
        grace_end_time=timestamp(grace_ends) if grace_ends else None,
        next_plan_id=subscription.next_plan_id or "",
        tier=tier_message(held.tier),
        can_pause=can_pause,
    )


def invoice_message(row: models.Invoice) -> subscription_pb2.Invoice:
    """Returns the message of an invoice."""
    return subscription_pb2.Invoice(
        invoice_id=f"{row.provider}:{row.invoice_id}",
        item_id=row.item_id or "",
        reason=INVOICE_REASONS[Reason(row.reason)],
        amount_cents=row.amount_cents,
        refunded_cents=row.refunded_cents,
        currency=row.currency,
        credits=format_credits(row.credits or 0),
        issue_time=timestamp(row.issue_time),
    )


def invoice_key(parts: Iterable[str]) -> tuple[datetime, str]:
    """Returns the sort key of an invoice from the parts of a page's token."""
    moment, key = parts
    return datetime.fromisoformat(moment), key


def _state(held: Entitlement) -> subscription_pb2.SubscriptionState.ValueType:
    if held.subscription is not None and held.subscription.status is Status.PAUSED:
        return subscription_pb2.SUBSCRIPTION_STATE_PAUSED
    match held.own_standing:
        case Standing.GRACE:
            return subscription_pb2.SUBSCRIPTION_STATE_GRACE
        case Standing.SUSPENDED:
            return subscription_pb2.SUBSCRIPTION_STATE_SUSPENDED
    is_cancelled = held.subscription is not None and held.subscription.status is Status.CANCELLED
    return subscription_pb2.SUBSCRIPTION_STATE_CANCELLED if is_cancelled else subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
