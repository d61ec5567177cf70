"""What a payment does: a pure reducer from what is known of an account's payments and one report to what is known then.

Reports come late, twice and in any order. What is known therefore only grows: a subscription is as its newest state says,
an invoice is paid from the first report on, and more of it can be refunded. The effects, which are what the ledger is to
do, follow from what is known; each carries the key by which the ledger does it once.

Which of two states of a subscription is the newer one is decided by the provider's clock, which may have whole seconds.
Within the same second, only an answer to a question that was asked after everything else had been learnt is surely the
newer one. Anything else is doubtful: it changes nothing, and the provider has to be asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pingvas.vocabulary import Tier

# Older than any report: of a subscription that only its payments have told of yet.
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ItemKind(StrEnum):
    """The kinds of things that are sold."""

    PLAN = "plan"
    PACK = "pack"


@dataclass(frozen=True, slots=True)
class Plan:
    """A tier for a monthly price. `credits` are millicredits; without a price it is sold by contract."""

    plan_id: str
    tier: Tier
    price_cents: int | None
    credits: int

    @property
    def is_for_sale(self) -> bool:
        """Whether it has a price that somebody must pay."""
        return bool(self.price_cents)


@dataclass(frozen=True, slots=True)
class Pack:
    """Credits that are bought once. `credits` are millicredits."""

    pack_id: str
    price_cents: int
    credits: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is sold, by our own ids, each in the order of the prices."""

    plans: Mapping[str, Plan]
    packs: Mapping[str, Pack]


class Status(StrEnum):
    """How a subscription stands at its provider."""

    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Reason(StrEnum):
    """What an invoice is for."""

    INITIAL = "initial"
    RENEWAL = "renewal"
    CHANGE = "change"
    PACK = "pack"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class PlanState:
    """The state of a subscription as a provider reports it. An unknown product has no plan.

    `update_time` is by the provider's clock. `ask_time` is by ours: when the call began that this answers; None for what
    the provider reported by itself, which may be arbitrarily late.
    """

    subscription_id: str
    plan_id: str | None
    status: Status
    update_time: datetime
    renew_time: datetime | None = None
    end_time: datetime | None = None
    # The plan that the provider will move it to at the renewal; None from a provider that doesn't do that.
    next_plan_id: str | None = None
    ask_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentSettled:
    """A provider's report that a month of a plan was paid, and how much of that was paid back so far."""

    invoice_id: str
    subscription_id: str
    reason: Reason
    amount_cents: int
    currency: str
    issue_time: datetime
    settle_time: datetime
    refunded_cents: int = 0
    plan_id: str | None = None


@dataclass(frozen=True, slots=True)
class PackPaid:
    """A provider's report that a pack was paid, and how much of that was paid back so far."""

    invoice_id: str
    pack_id: str
    amount_cents: int
    currency: str
    issue_time: datetime
    refunded_cents: int = 0


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """A provider's report that a month of a plan could not be charged."""

    subscription_id: str
    failure_time: datetime


Event = PlanState | PaymentSettled | PackPaid | PaymentFailed


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is known of a subscription. Without a plan, none of its own reports has come yet."""

    subscription_id: str
    plan_id: str | None = None
    status: Status = Status.ACTIVE
    update_time: datetime = _NEVER
    renew_time: datetime | None = None
    end_time: datetime | None = None
    # The first failure since the last payment.
    failure_time: datetime | None = None
    paid_time: datetime | None = None
    next_plan_id: str | None = None
    # When the present state was learnt, by our clock. It was true at the provider then or earlier.
    learn_time: datetime = _NEVER

    @property
    def is_live(self) -> bool:
        """Whether it gives its account anything."""
        return self.plan_id is not None and self.status is not Status.EXPIRED


@dataclass(frozen=True, slots=True)
class Invoice:
    """What is known of a payment. `credits` are the millicredits granted for it, None before that."""

    invoice_id: str
    subscription_id: str | None
    item_id: str | None
    reason: Reason
    amount_cents: int
    currency: str
    issue_time: datetime
    refunded_cents: int = 0
    credits: int | None = None
    # How much of the refund the ledger was told of.
    revoked_cents: int = 0

    @property
    def refunded_credits(self) -> int:
        """The millicredits that go back with what was paid back, rounded down."""
        if not self.amount_cents or not self.credits:
            return 0
        return self.credits * min(self.refunded_cents, self.amount_cents) // self.amount_cents


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one account at one provider."""

    subscriptions: Mapping[str, Subscription] = field(default_factory=lambda: MappingProxyType({}))
    invoices: Mapping[str, Invoice] = field(default_factory=lambda: MappingProxyType({}))

    def with_subscription(self, subscription: Subscription) -> "State":
        """Returns the state with one subscription put in."""
        return replace(self, subscriptions={**self.subscriptions, subscription.subscription_id: subscription})

    def with_invoice(self, invoice: Invoice) -> "State":
        """Returns the state with one invoice put in."""
        return replace(self, invoices={**self.invoices, invoice.invoice_id: invoice})

    def invoices_of(self, subscription_id: str) -> list[Invoice]:
        """Returns the paid months of a subscription, the oldest first."""
        own = (invoice for invoice in self.invoices.values() if invoice.subscription_id == subscription_id)
        return sorted(own, key=lambda invoice: (invoice.issue_time, invoice.invoice_id))


@dataclass(frozen=True, slots=True)
class GrantPlan:
    """Gives a paid month's credits in place of those of the other months of the subscription.

    With `keeps_spending` what was spent of those counts as spent of these. A month that was superseded before it was
    reported is granted and lapses at once, so that each payment has its grant.
    """

    invoice_id: str
    credits: int
    replaces: tuple[str, ...]
    keeps_spending: bool
    is_superseded: bool


@dataclass(frozen=True, slots=True)
class GrantPack:
    """Gives the credits of a pack."""

    invoice_id: str
    credits: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Takes back `credits` in all of what an invoice brought."""

    invoice_id: str
    credits: int


@dataclass(frozen=True, slots=True)
class EndGrants:
    """Lets what is left of the grants of some invoices lapse."""

    invoice_ids: tuple[str, ...]


Effect = GrantPlan | GrantPack | Revoke | EndGrants


def reduce(state: State, event: Event, catalogue: Catalogue, now: datetime) -> tuple[State, tuple[Effect, ...]]:
    """Returns what is known after a report, and what the ledger is to do for it; `now` is by the clock of `ask_time`.

    After all reports, in whatever order and however often they came, the same is known and the same was granted, provided
    that none was doubtful.
    """
    match event:
        case PlanState():
            known = state.subscriptions.get(event.subscription_id) or Subscription(event.subscription_id)
            state = state.with_subscription(_told(known, event, now))
            return _consequences(state, event.subscription_id, catalogue)
        case PaymentFailed():
            known = state.subscriptions.get(event.subscription_id) or Subscription(event.subscription_id)
            return state.with_subscription(_failed(known, event.failure_time)), ()
        case PaymentSettled():
            known = state.subscriptions.get(event.subscription_id) or Subscription(event.subscription_id)
            state = state.with_subscription(_paid(known, event.settle_time)).with_invoice(_settled(state, event))
            return _consequences(state, event.subscription_id, catalogue)
        case PackPaid():
            return _pack_paid(state, event, catalogue)


def is_doubtful(state: State, event: Event) -> bool:
    """Returns whether an event may be older or newer than what is known, so that the provider must be asked.

    That is so for another state of the same second, unless it was asked for after the known one had been learnt, and for
    a report that an expired subscription goes on.
    """
    if not isinstance(event, PlanState):
        return False
    known = state.subscriptions.get(event.subscription_id)
    return known is not None and _is_doubtful(known, event)


def _is_doubtful(known: Subscription, event: PlanState) -> bool:
    if event.update_time < known.update_time or _with_state(known, event) == known:
        return False
    if event.ask_time is not None:
        return event.update_time == known.update_time and event.ask_time < known.learn_time
    return event.update_time == known.update_time or known.status is Status.EXPIRED


def _told(known: Subscription, event: PlanState, now: datetime) -> Subscription:
    told = _with_state(known, event)
    if event.update_time < known.update_time or told == known or _is_doubtful(known, event):
        return known
    told = replace(told, learn_time=now)
    if event.status in (Status.PAST_DUE, Status.UNPAID):
        return _failed(told, event.update_time)
    if event.status is Status.ACTIVE and told.failure_time and told.failure_time <= event.update_time:
        return replace(told, failure_time=None)
    return told


def _with_state(known: Subscription, event: PlanState) -> Subscription:
    """Returns a subscription in the state of an event, whether that is newer or not."""
    plan_id = event.plan_id or known.plan_id
    next_plan_id = event.next_plan_id or known.next_plan_id
    return replace(
        known,
        plan_id=plan_id,
        status=event.status,
        update_time=event.update_time,
        renew_time=event.renew_time,
        end_time=event.end_time,
        next_plan_id=None if next_plan_id == plan_id or event.status is Status.EXPIRED else next_plan_id,
    )


def _failed(known: Subscription, failure_time: datetime) -> Subscription:
    is_paid = known.paid_time is not None and failure_time <= known.paid_time
    is_over = known.status is Status.ACTIVE and failure_time <= known.update_time
    if is_paid or is_over:
        return known
    return replace(known, failure_time=min(known.failure_time or failure_time, failure_time))


def _paid(known: Subscription, settle_time: datetime) -> Subscription:
    paid_time = max(known.paid_time or settle_time, settle_time)
    is_made_good = known.failure_time is not None and known.failure_time <= paid_time
    return replace(known, paid_time=paid_time, failure_time=None if is_made_good else known.failure_time)


def _settled(state: State, event: PaymentSettled) -> Invoice:
    known = state.invoices.get(event.invoice_id)
    if known:
        refunded = max(known.refunded_cents, event.refunded_cents)
        return replace(known, item_id=known.item_id or event.plan_id, refunded_cents=refunded)
    return Invoice(
        invoice_id=event.invoice_id,
        subscription_id=event.subscription_id,
        item_id=event.plan_id,
        reason=event.reason,
        amount_cents=event.amount_cents,
        currency=event.currency,
        issue_time=event.issue_time,
        refunded_cents=event.refunded_cents,
    )


def _consequences(state: State, subscription_id: str, catalogue: Catalogue) -> tuple[State, tuple[Effect, ...]]:
    """Returns the state in which the months of a subscription are granted and their refunds told, and the effects of that."""
    subscription = state.subscriptions[subscription_id]
    months = state.invoices_of(subscription_id)
    has_ended = subscription.status is Status.EXPIRED
    effects: list[Effect] = []
    for month in months:
        plan = catalogue.plans.get(month.item_id or subscription.plan_id or "")
        if plan is None or not plan.credits:
            continue
        if month.credits is None:
            others = tuple(other.invoice_id for other in months if other is not month)
            effects.append(
                GrantPlan(
                    invoice_id=month.invoice_id,
                    credits=plan.credits,
                    replaces=others,
                    keeps_spending=month.reason is Reason.CHANGE,
                    is_superseded=has_ended or month is not months[-1],
                )
            )
            granted = replace(month, item_id=plan.plan_id, credits=plan.credits)
        else:
            granted = month
        granted, revoked = _refund(granted)
        effects += revoked
        state = state.with_invoice(granted)
    if has_ended and months:
        effects.append(EndGrants(tuple(month.invoice_id for month in months)))
    return state, tuple(effects)


def _pack_paid(state: State, event: PackPaid, catalogue: Catalogue) -> tuple[State, tuple[Effect, ...]]:
    known = state.invoices.get(event.invoice_id)
    effects: list[Effect] = []
    if known is None:
        pack = catalogue.packs.get(event.pack_id)
        if pack is None:
            # The first order of a subscription, whose invoice comes by itself.
            return state, ()
        effects.append(GrantPack(event.invoice_id, pack.credits))
        known = Invoice(
            invoice_id=event.invoice_id,
            subscription_id=None,
            item_id=event.pack_id,
            reason=Reason.PACK,
            amount_cents=event.amount_cents,
            currency=event.currency,
            issue_time=event.issue_time,
            credits=pack.credits,
        )
    known = replace(known, refunded_cents=max(known.refunded_cents, event.refunded_cents))
    known, revoked = _refund(known)
    return state.with_invoice(known), (*effects, *revoked)


def _refund(invoice: Invoice) -> tuple[Invoice, tuple[Revoke, ...]]:
    if invoice.refunded_cents <= invoice.revoked_cents:
        return invoice, ()
    revoked = replace(invoice, revoked_cents=invoice.refunded_cents)
    return revoked, (Revoke(invoice.invoice_id, invoice.refunded_credits),)
