"""Reports and answers of a provider that overtake each other, and calls made while what is known is late."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pingvas.payment.v1 import subscription_pb2

from studio.payments.deliveries import Faults
from svc_payment.domain.billing import PlanState
from svc_payment.providers.interface import Provider
from tests.factories.shop import Shop, running_shop
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities

ACTIVE = subscription_pb2.SUBSCRIPTION_STATE_ACTIVE
CANCELLED = subscription_pb2.SUBSCRIPTION_STATE_CANCELLED


@pytest.fixture(params=["lemon-squeezy", "polar"])
async def shop(
    request: pytest.FixtureRequest,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    place = await database_for("payment")
    async with running_shop(place, identities, redis_server.url, tmp_path, provider=request.param) as running:
        yield running


class SlowAnswer:
    """A question to the provider whose answer has been given but arrives later."""

    def __init__(self, shop: Shop) -> None:
        self._provider: Provider = shop.billing.providers[shop.provider]
        self._subscription_id = shop.subscription_id
        self._given, self._arrives = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(shop.billing.call(self._provider, self._fetch))

    async def _fetch(self) -> PlanState | None:
        answer = await self._provider.fetch(self._subscription_id)
        self._given.set()
        await self._arrives.wait()
        return answer

    async def given(self) -> None:
        await self._given.wait()

    async def arrive(self) -> None:
        self._arrives.set()
        await self._task


@pytest.mark.parametrize("seconds", [0, 1])
async def test_answer_that_a_report_overtook_does_not_put_the_older_state_back(shop: Shop, seconds: int) -> None:
    shop.book.stop_clock()
    await shop.buy("starter")
    answer = SlowAnswer(shop)
    await answer.given()

    await shop.turn_clock(seconds=seconds)
    shop.book.cancel(shop.bought)
    await shop.settled()
    assert (await shop.current()).state == CANCELLED
    await answer.arrive()

    assert (await shop.current()).state == CANCELLED


async def test_listing_that_a_report_overtook_does_not_put_the_older_state_back(shop: Shop) -> None:
    shop.book.stop_clock()
    await shop.buy("starter")
    provider = shop.billing.providers[shop.provider]
    reports = await shop.billing.listed(provider, shop.bought.created)
    shop.book.cancel(shop.bought)
    await shop.settled()

    for report in reports:
        if isinstance(report.event, PlanState):
            await shop.billing.apply_now(provider, report)

    assert (await shop.current()).state == CANCELLED


async def test_late_reports_of_the_same_second_do_not_undo_what_was_asked_for(shop: Shop) -> None:
    await shop.buy("starter")
    shop.book.stop_clock()
    shop.deliveries.faults = Faults(holds=True)
    assert (await shop.cancel_call()).state == CANCELLED
    assert (await shop.resume_call()).state == ACTIVE
    late = list(shop.deliveries.held)
    assert len(late) == 4

    for order in itertools.permutations(late):
        await shop.payment.ledger.as_admin("DELETE FROM payment.webhook_inbox")
        for report in order:
            await shop.receive(report)
        await shop.settled()
        assert (await shop.current()).state == ACTIVE

    assert (await shop.cancel_call()).state == CANCELLED
    assert shop.bought.status == "cancelled"


async def test_report_of_the_same_second_waits_until_the_provider_can_be_asked(shop: Shop) -> None:
    shop.book.stop_clock()
    await shop.buy("starter")
    shop.book.is_away = True
    shop.book.cancel(shop.bought)
    await shop.settled()
    assert (await shop.current()).state == ACTIVE

    shop.book.is_away = False

    async def is_known() -> bool:
        return bool((await shop.current()).state == CANCELLED)

    await until(is_known, within_seconds=120)


async def test_resuming_undoes_a_cancellation_of_which_nothing_is_known_here(shop: Shop) -> None:
    await shop.buy("starter")
    shop.deliveries.faults = Faults(drops=100)
    shop.book.cancel(shop.bought)

    assert (await shop.resume_call()).state == ACTIVE
    assert shop.bought.status == "active"


async def test_cancelling_undoes_a_resumption_of_which_nothing_is_known_here(shop: Shop) -> None:
    await shop.buy("starter")
    await shop.cancel_call()
    shop.deliveries.faults = Faults(drops=100)
    shop.book.resume(shop.bought)

    assert (await shop.cancel_call()).state == CANCELLED
    assert shop.bought.status == "cancelled"


async def test_repeated_calls_ask_the_provider_for_nothing_that_is_so_already(shop: Shop) -> None:
    await shop.buy("starter")

    for call, state in ((shop.cancel_call, CANCELLED), (shop.resume_call, ACTIVE)):
        assert [(await call()).state for _ in range(2)] == [state, state]


async def test_plan_that_is_smaller_than_one_nobody_knew_of_here_follows_at_the_renewal(shop: Shop) -> None:
    await shop.buy("starter")
    shop.deliveries.faults = Faults(drops=100)
    shop.book.move(shop.bought, shop.book.products[103], charges=True)
    paid = len(shop.book.invoices)

    moved = await shop.change_call("pro")

    assert (moved.plan_id, moved.next_plan_id) == ("studio", "pro")
    assert len(shop.book.invoices) == paid


async def test_move_waits_for_another_month_if_the_renewal_was_faster(shop: Shop) -> None:
    if shop.billing.providers[shop.provider].capabilities.moves_at_renewal:
        pytest.skip("the provider moves by itself")
    await shop.buy("pro")
    await shop.change_call("starter")
    shop.deliveries.faults = Faults(drops=100)
    shop.book.turn_clock(shop.bought.renews - shop.book.now)

    await shop.reconciliation.make_moves()

    assert shop.bought.product.name == "Pro"
