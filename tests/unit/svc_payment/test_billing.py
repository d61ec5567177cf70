"""What a payment does: the reducer, in every order of reports, and how a subscription stands."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingvas.vocabulary import Tier

from svc_payment.domain.billing import (
    Catalogue,
    Effect,
    EndGrants,
    Event,
    GrantPack,
    GrantPlan,
    Invoice,
    Pack,
    PackPaid,
    PaymentFailed,
    PaymentSettled,
    Plan,
    PlanState,
    Reason,
    Revoke,
    State,
    Status,
    Subscription,
    reduce,
)
from svc_payment.domain.standing import Standing, current, grace_end_time, standing

CATALOGUE = Catalogue(
    {
        "free": Plan("free", Tier.FREE, 0, 0),
        "starter": Plan("starter", Tier.STARTER, 2_500, 5_000_000),
        "pro": Plan("pro", Tier.PRO, 7_500, 15_000_000),
    },
    {"pack-1000": Pack("pack-1000", 600, 1_000_000)},
)
START = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2027, 6, 1, tzinfo=UTC)


def at(days: float) -> datetime:
    """Returns a moment of the story."""
    return START + timedelta(days=days)


def told(status: Status, days: float, plan_id: str = "starter", **fields: object) -> PlanState:
    """Returns a report on the subscription."""
    return replace(PlanState("7", plan_id, status, at(days), renew_time=at(days + 30)), **fields)  # type: ignore[arg-type]


def settled(number: int, days: float, reason: Reason = Reason.RENEWAL, *, paid: float | None = None) -> PaymentSettled:
    """Returns a report of a paid month."""
    return PaymentSettled(
        invoice_id=f"inv:{number}",
        subscription_id="7",
        reason=reason,
        amount_cents=2_500,
        currency="USD",
        issue_time=at(days),
        settle_time=at(days if paid is None else paid),
    )


def run(events: Iterable[Event], state: State | None = None) -> tuple[State, list[Effect]]:
    """Reduces reports one after another."""
    known, done = state or State(), []
    for event in events:
        known, effects = reduce(known, event, CATALOGUE, NOW)
        done += effects
    return known, done


FIRST_MONTH = (told(Status.ACTIVE, 0), settled(1, 0, Reason.INITIAL), told(Status.ACTIVE, 0))
RECOVERY = (
    PaymentFailed("7", at(30)),
    told(Status.PAST_DUE, 30),
    settled(2, 30, paid=33),
    told(Status.ACTIVE, 33),
)
REFUND = replace(settled(1, 0, Reason.INITIAL), refunded_cents=1_000)
ENDING = (told(Status.CANCELLED, 40, end_time=at(63)), told(Status.EXPIRED, 63, end_time=at(63)))


@pytest.mark.parametrize(
    "events",
    [
        FIRST_MONTH,
        (*FIRST_MONTH, REFUND),
        RECOVERY,
        (*RECOVERY, settled(1, 0, Reason.INITIAL)),
        (*ENDING, *FIRST_MONTH),
    ],
)
def test_every_order_ends_in_the_same_state(events: tuple[Event, ...]) -> None:
    expected, _ = run(events)

    for order in itertools.permutations(events):
        known, effects = run(order)
        assert known == expected, order
        keys = [effect.invoice_id for effect in effects if isinstance(effect, GrantPlan)]
        assert sorted(keys) == sorted(set(keys)) == sorted(known.invoices)


@given(st.lists(st.sampled_from([*FIRST_MONTH, *RECOVERY, REFUND, *ENDING]), max_size=30))
def test_repetitions_change_nothing(events: list[Event]) -> None:
    known, _ = run(events)

    again, effects = run(reversed(events), run(events, known)[0])

    assert {each.invoice_id: each.credits for each in again.invoices.values()} == {
        each.invoice_id: each.credits for each in known.invoices.values()
    }
    assert all(isinstance(effect, EndGrants) for effect in effects)


def live_grants(effects: Iterable[Effect]) -> set[str]:
    """Returns the invoices whose grants haven't lapsed, as the ledger would have them."""
    live: set[str] = set()
    for effect in effects:
        match effect:
            case GrantPlan(is_superseded=False):
                live = (live - set(effect.replaces)) | {effect.invoice_id}
            case EndGrants():
                live -= set(effect.invoice_ids)
    return live


@given(st.permutations([*FIRST_MONTH, *RECOVERY]))
def test_credits_are_those_of_the_newest_month(events: list[Event]) -> None:
    assert live_grants(run(events)[1]) == {"inv:2"}


@given(st.permutations([*FIRST_MONTH, *RECOVERY, *ENDING]))
def test_no_credits_are_left_of_an_expired_subscription(events: list[Event]) -> None:
    assert live_grants(run(events)[1]) == set()


def test_month_of_a_larger_plan_keeps_what_was_spent() -> None:
    known, _ = run(FIRST_MONTH)

    _, (grant,) = reduce(known, replace(settled(3, 10, Reason.CHANGE), plan_id="pro"), CATALOGUE, NOW)

    assert grant == GrantPlan("inv:3", 15_000_000, ("inv:1",), keeps_spending=True, is_superseded=False)


def test_switch_without_a_payment_brings_nothing() -> None:
    known, _ = run(FIRST_MONTH)

    for days in range(1, 6):
        known, effects = reduce(known, told(Status.ACTIVE, days, "pro" if days % 2 else "starter"), CATALOGUE, NOW)
        assert effects == ()


@pytest.mark.parametrize(
    ("cents", "refunded"), [(1, 1_666), (600, 1_000_000), (700, 1_000_000), (599, 998_333), (300, 500_000)]
)
def test_refund_takes_back_its_share_rounded_down(cents: int, refunded: int) -> None:
    invoice = Invoice("order:1", None, "pack-1000", Reason.PACK, 600, "USD", START, cents, credits=1_000_000)

    assert invoice.refunded_credits == refunded


def test_partial_refunds_are_told_in_all() -> None:
    paid = PackPaid("order:1", "pack-1000", 600, "USD", START)

    _, effects = run([paid, replace(paid, refunded_cents=60), replace(paid, refunded_cents=600), paid])

    assert effects == [GrantPack("order:1", 1_000_000), Revoke("order:1", 100_000), Revoke("order:1", 1_000_000)]


def test_order_that_is_no_pack_brings_nothing() -> None:
    assert run([PackPaid("order:1", "pro", 7_500, "USD", START)]) == (State(), [])


def test_free_invoice_is_granted_by_its_plan() -> None:
    _, effects = run([told(Status.ACTIVE, 0), replace(settled(1, 0, Reason.INITIAL), amount_cents=0)])

    assert [effect.credits for effect in effects if isinstance(effect, GrantPlan)] == [5_000_000]


def test_late_report_does_not_bring_an_expired_subscription_back() -> None:
    expired, _ = run([told(Status.EXPIRED, 63)])

    still, _ = run([told(Status.ACTIVE, 64)], expired)
    fetched, _ = run([told(Status.ACTIVE, 64, ask_time=NOW)], expired)

    assert still.subscriptions["7"].status is Status.EXPIRED
    assert fetched.subscriptions["7"].status is Status.ACTIVE


def test_second_failure_has_a_grace_of_its_own() -> None:
    known, _ = run(
        [*FIRST_MONTH, *RECOVERY, told(Status.PAST_DUE, 63), PaymentFailed("7", at(63)), PaymentFailed("7", at(66))]
    )

    assert known.subscriptions["7"].failure_time == at(63)
    assert grace_end_time(known.subscriptions["7"]) == at(66)


@pytest.mark.parametrize(
    ("status", "hours", "expected"),
    [
        (Status.ACTIVE, 0, Standing.GOOD),
        (Status.CANCELLED, 0, Standing.GOOD),
        (Status.PAST_DUE, 0, Standing.GRACE),
        (Status.PAST_DUE, 71.99, Standing.GRACE),
        (Status.PAST_DUE, 72, Standing.SUSPENDED),
        (Status.UNPAID, 1, Standing.SUSPENDED),
        (Status.PAUSED, 1, Standing.SUSPENDED),
    ],
)
def test_standing_follows_from_the_first_failure(status: Status, hours: float, expected: Standing) -> None:
    subscription = Subscription("7", "pro", status, START, failure_time=START)

    assert standing(subscription, START + timedelta(hours=hours)) is expected


def test_largest_plan_that_has_not_ended_decides() -> None:
    starter = Subscription("1", "starter", Status.ACTIVE, START)
    pro = Subscription("2", "pro", Status.CANCELLED, START, end_time=at(10))
    expired = Subscription("3", "pro", Status.EXPIRED, START)
    unknown = Subscription("4")

    assert current([starter, pro, expired, unknown], CATALOGUE.plans, at(9)) == pro
    assert current([starter, pro, expired, unknown], CATALOGUE.plans, at(10)) == starter
    assert current([expired, unknown], CATALOGUE.plans, at(0)) is None
