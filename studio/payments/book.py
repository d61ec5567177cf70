"""What the stand-in knows: products, checkouts, subscriptions, invoices and orders, and how time changes them.

No HTTP and no provider's words: how it is told to others is the business of the faces. Times have whole seconds, as the
real providers' have.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from pydantic import TypeAdapter

MONTH: Final = timedelta(days=30)
# A failed payment is tried again so often, so far apart; then the subscription is unpaid.
_RETRY_AFTER: Final = timedelta(days=3)
_MOST_RETRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Product:
    """Something that is sold, by the number that the provider gives it."""

    number: int
    name: str
    price_cents: int
    is_recurring: bool


@dataclass(slots=True)
class Checkout:
    """A page on which a product can be paid, once."""

    checkout_id: str
    product: Product
    reference: str
    return_url: str
    expires: datetime
    is_paid: bool = False


@dataclass(slots=True)
class Subscription:
    """A product that is paid each month; `renews` is also when a failed payment is tried again."""

    number: int
    product: Product
    reference: str
    created: datetime
    updated: datetime
    renews: datetime
    status: str = "active"
    ends: datetime | None = None
    retries: int = 0
    # What follows at the renewal, at a provider that keeps such a move.
    next_product: Product | None = None


@dataclass(slots=True)
class Invoice:
    """A month of a subscription: `reason` is initial, renewal or updated, `status` pending, paid or refunded."""

    number: int
    subscription: Subscription
    product: Product
    reason: str
    total: int
    created: datetime
    updated: datetime
    status: str = "pending"
    refunded: int = 0


@dataclass(slots=True)
class Order:
    """A purchase: of a product that is bought once, or the first one of a subscription."""

    number: int
    product: Product
    reference: str
    created: datetime
    updated: datetime
    total: int
    refunded: int = 0


Thing = Subscription | Invoice | Order
Announce = Callable[[str, Thing], None]


@dataclass(slots=True)
class Snapshot:
    """What a book keeps from one run to the next."""

    checkouts: dict[str, Checkout]
    subscriptions: dict[int, Subscription]
    invoices: dict[int, Invoice]
    orders: dict[int, Order]
    ahead: timedelta


_SNAPSHOT: Final = TypeAdapter(Snapshot)


@dataclass(slots=True)
class Book:
    """Everything that is sold and was bought; `announce` hears of each thing that happens, by a name of ours."""

    products: dict[int, Product]
    announce: Announce = lambda _name, _thing: None
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    invoices: dict[int, Invoice] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    # Whether cards are refused.
    declines: bool = False
    # Whether the API is out of order.
    is_away: bool = False
    ahead: timedelta = timedelta()
    # When the clock was stopped, so that everything happens in the same second. It can still be turned.
    stopped: datetime | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1001))

    @property
    def now(self) -> datetime:
        """The stand-in's clock, in whole seconds."""
        return (self.stopped or datetime.now(UTC)).replace(microsecond=0) + self.ahead

    def stop_clock(self) -> None:
        """Stops the clock at the present second."""
        self.stopped = datetime.now(UTC)

    def saved(self) -> bytes:
        """Returns what was bought, as JSON."""
        kept = Snapshot(self.checkouts, self.subscriptions, self.invoices, self.orders, self.ahead)
        return _SNAPSHOT.dump_json(kept)

    def restore(self, saved: bytes) -> None:
        """Takes up what was bought in an earlier run."""
        kept = _SNAPSHOT.validate_json(saved)
        self.checkouts, self.subscriptions = kept.checkouts, kept.subscriptions
        self.invoices, self.orders, self.ahead = kept.invoices, kept.orders, kept.ahead
        for invoice in self.invoices.values():
            # JSON has made a copy of it.
            invoice.subscription = self.subscriptions[invoice.subscription.number]
        self._numbers = count(max([1000, *self.subscriptions, *self.invoices, *self.orders]) + 1)

    def pay(self, checkout: Checkout) -> None:
        """Buys what a page offers."""
        checkout.is_paid = True
        now, product = self.now, checkout.product
        order = Order(next(self._numbers), product, checkout.reference, now, now, product.price_cents)
        self.orders[order.number] = order
        if not product.is_recurring:
            self.announce("order_paid", order)
            return
        bought = Subscription(next(self._numbers), product, checkout.reference, now, now, now + MONTH)
        self.subscriptions[bought.number] = bought
        self.announce("subscription_created", bought)
        self.announce("order_paid", order)
        self._bill(bought, "initial", product.price_cents)
        self.announce("subscription_updated", bought)

    def move(self, bought: Subscription, product: Product, *, charges: bool) -> None:
        """Moves a subscription to another product at once, and charges the difference for the rest of the month or nothing."""
        before, bought.product, bought.next_product = bought.product, product, None
        bought.updated = self.now
        self.announce("subscription_updated", bought)
        if charges and product.price_cents > before.price_cents:
            left = max(0.0, (bought.renews - self.now) / MONTH)
            self._bill(bought, "updated", round((product.price_cents - before.price_cents) * left))

    def move_later(self, bought: Subscription, product: Product) -> None:
        """Notes the product that follows at the renewal."""
        bought.next_product = None if product == bought.product else product
        bought.updated = self.now
        self.announce("subscription_updated", bought)

    def cancel(self, bought: Subscription) -> None:
        """Lets a subscription end with the month that is paid."""
        bought.status, bought.ends, bought.updated = "cancelled", bought.renews, self.now
        self.announce("subscription_cancelled", bought)
        self.announce("subscription_updated", bought)

    def resume(self, bought: Subscription) -> None:
        """Takes a cancellation back."""
        bought.status, bought.ends, bought.updated = "active", None, self.now
        self.announce("subscription_resumed", bought)
        self.announce("subscription_updated", bought)

    def pause(self, bought: Subscription) -> None:
        """Stops charging: months pass without an invoice."""
        bought.status, bought.updated = "paused", self.now
        self.announce("subscription_paused", bought)
        self.announce("subscription_updated", bought)

    def unpause(self, bought: Subscription) -> None:
        """Ends a pause."""
        bought.status, bought.updated = "active", self.now
        self.announce("subscription_unpaused", bought)
        self.announce("subscription_updated", bought)

    def refund(self, paid: Invoice | Order, cents: int) -> None:
        """Pays a part back; together with earlier parts at most everything."""
        paid.refunded, paid.updated = min(paid.total, paid.refunded + cents), self.now
        self.announce("invoice_refunded" if isinstance(paid, Invoice) else "order_refunded", paid)

    def turn_clock(self, by: timedelta) -> None:
        """Turns the clock forward, stopping at each moment at which something is due."""
        end = self.now + by
        while (due := self._next_due()) is not None and due[0] <= end:
            self.ahead += max(timedelta(), due[0] - self.now)
            self._become_due(due[1])
        self.ahead += max(timedelta(), end - self.now)

    def catch_up(self) -> None:
        """Does what has become due by itself."""
        self.turn_clock(timedelta())

    def _next_due(self) -> tuple[datetime, Subscription] | None:
        moments = [
            (bought.ends if bought.status == "cancelled" and bought.ends else bought.renews, bought)
            for bought in self.subscriptions.values()
            if bought.status in {"active", "past_due", "cancelled", "paused"}
        ]
        return min(moments, key=lambda moment: (moment[0], moment[1].number), default=None)

    def _become_due(self, bought: Subscription) -> None:
        if bought.status == "cancelled":
            bought.status, bought.updated = "expired", self.now
            self.announce("subscription_expired", bought)
            self.announce("subscription_updated", bought)
        elif bought.status == "paused":
            bought.renews += MONTH
        elif bought.status == "past_due":
            self._collect(self._open_invoice(bought))
        else:
            if bought.next_product is not None:
                bought.product, bought.next_product = bought.next_product, None
            self._bill(bought, "renewal", bought.product.price_cents)

    def _open_invoice(self, bought: Subscription) -> Invoice:
        own = [each for each in self.invoices.values() if each.subscription is bought and each.status == "pending"]
        return own[-1]

    def _bill(self, bought: Subscription, reason: str, total: int) -> None:
        invoice = Invoice(next(self._numbers), bought, bought.product, reason, total, self.now, self.now)
        self.invoices[invoice.number] = invoice
        self._collect(invoice)

    def _collect(self, invoice: Invoice) -> None:
        """Tries to charge an invoice, and moves its subscription on accordingly."""
        bought, now = invoice.subscription, self.now
        invoice.updated = bought.updated = now
        if not self.declines:
            was_late, invoice.status = bought.status == "past_due", "paid"
            if invoice.reason == "renewal":
                bought.renews = now + MONTH
            bought.status, bought.retries = "active", 0
            if was_late:
                self.announce("invoice_recovered", invoice)
            self.announce("invoice_paid", invoice)
        else:
            bought.retries += 1
            bought.status = "past_due" if bought.retries <= _MOST_RETRIES else "unpaid"
            bought.renews = now + _RETRY_AFTER
            self.announce("invoice_failed", invoice)
        if invoice.reason == "renewal":
            self.announce("subscription_updated", bought)
