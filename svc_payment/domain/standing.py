"""What a subscription gives at a moment, computed whenever somebody asks: no clock has to flip a flag."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from svc_payment.domain.billing import Plan, Status, Subscription

# How long after the first failed payment new jobs are still accepted. Providers try again for about two weeks.
GRACE: Final = timedelta(hours=72)


class Standing(StrEnum):
    """Whether an account may begin new work."""

    GOOD = "good"
    GRACE = "grace"
    SUSPENDED = "suspended"


def standing(subscription: Subscription, now: datetime) -> Standing:
    """Returns how a live subscription stands at a moment."""
    match subscription.status:
        case Status.UNPAID | Status.PAUSED:
            return Standing.SUSPENDED
        case Status.PAST_DUE:
            grace_ends = grace_end_time(subscription)
            return Standing.GRACE if grace_ends is None or now < grace_ends else Standing.SUSPENDED
        case _:
            return Standing.GOOD


def grace_end_time(subscription: Subscription) -> datetime | None:
    """Returns when the grace of a failed payment ends, or None when none has failed."""
    has_failed = subscription.status in (Status.PAST_DUE, Status.UNPAID)
    return subscription.failure_time + GRACE if has_failed and subscription.failure_time else None


def has_ended(subscription: Subscription, now: datetime) -> bool:
    """Returns whether a subscription gives nothing any more, even before its provider says that it has expired."""
    is_over = subscription.status is Status.CANCELLED and subscription.end_time is not None
    return not subscription.is_live or (is_over and subscription.end_time is not None and subscription.end_time <= now)


def current(subscriptions: Iterable[Subscription], plans: Mapping[str, Plan], now: datetime) -> Subscription | None:
    """Returns the subscription that decides over an account: of those that haven't ended the one with the largest plan.

    Between equal ones it is the one that stands best.
    """
    order = list(Standing)
    sizes = {plan_id: size for size, plan_id in enumerate(plans)}
    counting = [each for each in subscriptions if each.plan_id in sizes and not has_ended(each, now)]
    return max(
        counting,
        key=lambda each: (sizes[each.plan_id or ""], -order.index(standing(each, now)), each.subscription_id),
        default=None,
    )
