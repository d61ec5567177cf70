"""A year of a tenant's life, whatever it consists of, at each provider: the ledger stays whole after every step.

`PINGVAS_LIVES` says how many lives are lived, a few by default.
"""

import asyncio
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from studio.payments.book import Invoice, Order, Subscription
from studio.payments.deliveries import Faults
from svc_common.clock import new_id
from svc_common.credits import parse
from svc_common.errors import Reason
from svc_payment.usecases.reconciling import Reconciliation
from tests.factories.shop import PRODUCTS, Shop, running_shop
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_in

LIVES = int(os.environ.get("PINGVAS_LIVES", "3"))
STEPS = 25
YEAR_DAYS = 365
CREDITS = {"Starter": 5_000_000, "Pro": 15_000_000, "Studio": 30_000_000}
PLANS = st.sampled_from(["starter", "pro", "studio"])
PACKS = st.sampled_from(["pack-1000", "pack-5000"])
# What a person may be told who asks for what isn't possible now.
REFUSALS = {
    Reason.SUBSCRIPTION_NOT_FOUND,
    Reason.SUBSCRIPTION_EXISTS,
    Reason.SUBSCRIPTION_NOT_ACTIVE,
    Reason.PAUSE_UNSUPPORTED,
}


class TenantLife(RuleBasedStateMachine):
    """Does what tenants, their banks and the network do, one after another."""

    loop: asyncio.Runner
    shop: Shop

    def __init__(self) -> None:
        super().__init__()
        self.shop.account = new_id()
        self.shop.book.subscriptions, self.shop.book.invoices, self.shop.book.orders = {}, {}, {}
        self.shop.book.declines = False
        self.shop.deliveries.faults = Faults()
        self.holds: list[tuple[UUID, int]] = []
        self.days_left = YEAR_DAYS
        # Whether every report has come here, in order or not.
        self.is_complete = True

    def run(self, work: Any) -> Any:
        return self.loop.run(_awaited(work))

    def settle(self) -> None:
        self.run(self.shop.settled())
        self.is_complete = self.is_complete and self.shop.deliveries.faults == Faults()

    def tried(self, call: Any) -> Any:
        """Does what may be refused; returns the answer, or None."""

        async def outcome() -> Any:
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                if refusal_in(error).reason not in REFUSALS:
                    raise
                return None

        answer = self.loop.run(outcome())
        self.settle()
        return answer

    @property
    def bought(self) -> Subscription | None:
        live = [each for each in self.shop.book.subscriptions.values() if each.status != "expired"]
        return live[-1] if live else None

    def pay(self, item_id: str) -> None:
        """Pays on the provider's page. Its reports arrive: Lemon Squeezy lists nothing that would name the buyer."""
        checkout = self.tried(self.shop.checkout_call(item_id))
        if checkout is None:
            return
        faults, self.shop.deliveries.faults = self.shop.deliveries.faults, Faults(duplicates=1)
        is_declining, self.shop.book.declines = self.shop.book.declines, False
        self.shop.book.pay(self.shop.book.checkouts[checkout.url.rpartition("/")[2]])
        self.run(self.shop.settled())
        self.shop.deliveries.faults, self.shop.book.declines = faults, is_declining

    @precondition(lambda self: self.bought is None)
    @rule(plan=PLANS)
    def subscribe(self, plan: str) -> None:
        self.pay(plan)

    @rule(pack=PACKS)
    def buy(self, pack: str) -> None:
        self.pay(pack)

    @rule(plan=PLANS)
    def change(self, plan: str) -> None:
        self.tried(self.shop.change_call(plan))

    @rule()
    def cancel(self) -> None:
        self.tried(self.shop.cancel_call())

    @rule()
    def pause(self) -> None:
        self.tried(self.shop.pause_call())

    @rule()
    def resume(self) -> None:
        self.tried(self.shop.resume_call())

    @precondition(lambda self: self.bought is not None)
    @rule(plan=PLANS)
    def act_on_the_providers_own_pages(self, plan: str) -> None:
        bought, book = self.bought, self.shop.book
        assert bought is not None
        if bought.status == "cancelled":
            book.resume(bought)
        elif bought.status == "active" and bought.product != PRODUCTS[plan]:
            book.move(bought, PRODUCTS[plan], charges=True)
        elif bought.status == "active":
            book.cancel(bought)
        self.settle()

    @precondition(lambda self: self.days_left > 0)
    @rule(days=st.sampled_from([1, 3, 10, 29, 30, 31]))
    def let_time_pass(self, days: int) -> None:
        self.days_left -= days
        book = self.shop.book
        end = book.now + timedelta(days=days)
        while self.bought is not None and (shortly_before := self.bought.renews - timedelta(minutes=30)) < end:
            if shortly_before < book.now:
                break
            book.turn_clock(shortly_before - book.now)
            self.settle()
            self.run(Reconciliation(self.shop.billing, now=lambda: book.now).make_moves())
            book.turn_clock(timedelta(hours=1))
            self.settle()
        book.turn_clock(max(timedelta(), end - book.now))
        self.settle()

    @rule()
    def lose_or_find_the_card(self) -> None:
        self.shop.book.declines = not self.shop.book.declines

    @rule(share=st.floats(0, 1.2), picks=st.integers(0, 99))
    def refund(self, share: float, picks: int) -> None:
        if paid := self.paid:
            one = paid[picks % len(paid)]
            self.shop.book.refund(one, round(one.total * share))
            self.settle()

    @rule(share=st.floats(0.01, 1))
    def start_a_job(self, share: float) -> None:
        amount = round(self.available * share)
        if amount:
            hold = new_id()
            self.run(self.shop.payment.reserve_call(self.shop.account, amount, hold=hold))
            self.holds.append((hold, amount))

    @precondition(lambda self: self.holds)
    @rule(share=st.floats(0, 1), picks=st.integers(0, 99))
    def end_a_job(self, share: float, picks: int) -> None:
        hold, amount = self.holds.pop(picks % len(self.holds))
        used = round(amount * share)
        payment, account = self.shop.payment, self.shop.account
        self.run(payment.settle_call(account, hold, used) if used else payment.release_call(account, hold))

    @rule(
        faults=st.sampled_from([{}, {"drops": 3}, {"duplicates": 3}, {"reorders": 2}, {"delay_seconds": 90_000}]),
    )
    def spoil_the_network(self, faults: dict[str, int]) -> None:
        self.shop.deliveries.faults = Faults(**faults)
        self.is_complete = False

    @rule()
    def catch_up(self) -> None:
        since = timedelta(days=YEAR_DAYS)
        self.run(Reconciliation(self.shop.billing, now=lambda: self.shop.book.now - since).catch_up())
        self.is_complete = self.shop.deliveries.faults == Faults()

    @invariant()
    def ledger_is_whole(self) -> None:
        """Checks I1 and I9."""
        assert self.run(self.shop.payment.ledger.breaches(self.shop.account)) == []
        balance = self.run(self.shop.payment.balance_call(self.shop.account))
        assert parse(balance.available) >= 0
        assert parse(balance.held) == sum(amount for _, amount in self.holds)

    @invariant()
    def each_payment_has_one_grant(self) -> None:
        """Checks I8 against what the provider was paid."""
        rows = self.run(
            self.shop.payment.ledger.as_admin(
                f"SELECT request_id, kind, remaining FROM payment.grants WHERE account_id = '{self.shop.account}'"  # noqa: S608 - an id of ours
            )
        )
        granted = [int(re.split("[:-]", row["request_id"])[-1]) for row in rows]
        assert len(granted) == len(set(granted))
        paid = {one.number for one in self.paid}
        assert set(granted) <= paid
        if self.is_complete:
            assert set(granted) == paid
        # Moving up and down brings no more than the largest month that was ever paid.
        of_plan = sum(row["remaining"] for row in rows if row["kind"] == "plan")
        assert of_plan <= max((CREDITS[one.product.name] for one in self.paid if isinstance(one, Invoice)), default=0)

    def teardown(self) -> None:
        self.shop.deliveries.faults = Faults()
        self.run(self.shop.settled())
        self.catch_up()
        self.ledger_is_whole()
        self.each_payment_has_one_grant()
        current = self.run(self.shop.current())
        assert current.plan_id == (self.bought.product.name.lower() if self.bought else "free")

    @property
    def paid(self) -> list[Invoice | Order]:
        """What has been paid: months and packs."""
        months = [each for each in self.shop.book.invoices.values() if each.status != "pending"]
        return [*months, *(each for each in self.shop.book.orders.values() if not each.product.is_recurring)]

    @property
    def available(self) -> int:
        return parse(self.run(self.shop.payment.balance_call(self.shop.account)).available)


async def _awaited(work: Any) -> Any:
    return await work


@pytest.fixture
async def place(database_for: DatabaseFactory) -> ServiceDatabase:
    return await database_for("payment")


@pytest.mark.timeout(600 * LIVES)
@pytest.mark.parametrize("provider", ["lemon-squeezy", "polar"])
def test_ledger_is_whole_after_every_step_of_a_year(
    provider: str, place: ServiceDatabase, identities: Identities, redis_server: RedisServer, tmp_path: Path
) -> None:
    with asyncio.Runner() as loop:
        opened = running_shop(place, identities, redis_server.url, tmp_path, provider=provider)
        TenantLife.loop, TenantLife.shop = loop, loop.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                TenantLife,
                settings=settings(
                    max_examples=LIVES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    # Shrinking would repeat the failure hundreds of times for minutes; a life of 25 steps can be read.
                    phases=[Phase.explicit, Phase.reuse, Phase.generate],
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            loop.run(opened.__aexit__(None, None, None))
