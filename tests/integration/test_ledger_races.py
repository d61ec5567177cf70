"""Many callers at the ledger at once: credits are spent once, holds are opened and closed once, and nobody waits for ever."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from svc_common.clock import new_id
from svc_payment.domain.ledger import CloseOutcome, GrantKind, ReserveOutcome
from tests.factories.ledger import Ledger, hold_terms, ledger_in
from tests.harness_postgres import DatabaseFactory


@pytest.fixture
async def ledger(database_for: DatabaseFactory) -> AsyncIterator[Ledger]:
    async with ledger_in(await database_for("payment")) as opened:
        yield opened


async def test_reserve_accepts_exactly_what_the_balance_covers_for_parallel_calls(ledger: Ledger) -> None:
    account = new_id()
    await ledger.grant(account, 60_000, GrantKind.PLAN)
    await ledger.grant(account, 40_000, GrantKind.PURCHASED)

    answers = await asyncio.gather(*(ledger.reserve(hold_terms(account, 1000)) for _ in range(200)))

    assert Counter(answer.outcome for (answer,) in answers) == {
        ReserveOutcome.HELD: 100,
        ReserveOutcome.INSUFFICIENT: 100,
    }
    assert await ledger.balance(account) == (100_000, [])
    assert await ledger.breaches() == []


async def test_reserve_opens_one_hold_for_the_same_id_in_parallel(ledger: Ledger) -> None:
    account = new_id()
    await ledger.grant(account, 10_000)
    terms = hold_terms(account, 1000)

    answers = await asyncio.gather(*(ledger.reserve(terms) for _ in range(50)))

    assert Counter(answer.outcome for (answer,) in answers) == {ReserveOutcome.HELD: 1, ReserveOutcome.REPLAYED: 49}
    assert {answer.hold for (answer,) in answers} == {answers[0][0].hold}
    assert (await ledger.balance(account))[0] == 1000


async def test_close_happens_once_for_racing_settles_and_releases(ledger: Ledger) -> None:
    account = new_id()
    await ledger.grant(account, 10_000)
    terms = hold_terms(account, 1000)
    await ledger.reserve(terms)

    amounts = [0, 400, 700, 2000] * 25
    closings = await asyncio.gather(*(ledger.close(account, terms.hold_id, used) for used in amounts))

    outcomes = Counter(closing.outcome for closing in closings)
    assert outcomes == {CloseOutcome.CLOSED: 1, CloseOutcome.REPLAYED: 24, CloseOutcome.CONFLICT: 75}
    hold = closings[0].hold
    assert hold is not None
    assert {closing.hold for closing in closings} == {hold}
    assert await ledger.available(account) == 10_000 - hold.settled
    assert await ledger.breaches() == []


async def test_sweep_and_settle_of_an_expired_hold_close_it_once(ledger: Ledger) -> None:
    account = new_id()
    await ledger.grant(account, 100_000)
    terms = [hold_terms(account, 1000, lifetime=timedelta(microseconds=1)) for _ in range(50)]
    await ledger.reserve(*terms)

    settles = asyncio.gather(*(ledger.close(account, item.hold_id, 500) for item in terms))
    (released, _), closings = await asyncio.gather(ledger.sweep(), settles)

    settled = sum(closing.outcome is CloseOutcome.CLOSED for closing in closings)
    assert settled + released == 50
    assert (await ledger.balance(account))[0] == 0
    assert await ledger.available(account) == 100_000 - 500 * settled
    assert await ledger.breaches() == []


async def test_batches_over_the_same_accounts_never_block_each_other_for_any_order(ledger: Ledger) -> None:
    accounts = [new_id() for _ in range(8)]
    for account in accounts:
        await ledger.grant(account, 10**9)
    dice = random.Random(20)

    async def client() -> None:
        for _ in range(10):
            terms = [hold_terms(account, 1000) for account in dice.sample(accounts, len(accounts))]
            for answer in await ledger.reserve(*terms):
                assert answer.outcome is ReserveOutcome.HELD
            await asyncio.gather(*(ledger.close(item.account_id, item.hold_id, 300) for item in terms[:4]))

    # PostgreSQL would end a deadlock by failing one of the two.
    await asyncio.gather(*(client() for _ in range(8)))

    for account in accounts:
        assert len(await ledger.transactions(account)) >= 81
    assert await ledger.breaches() == []


async def test_audit_finds_nothing_while_credits_move(ledger: Ledger) -> None:
    accounts = [new_id() for _ in range(4)]
    stop = asyncio.Event()

    async def client() -> int:
        moves = 0
        while not stop.is_set():
            soon = datetime.now(UTC) + timedelta(milliseconds=5)
            await ledger.grant(accounts[moves % 4], 5000, GrantKind.PROMOTIONAL, expire_time=soon)
            terms = hold_terms(accounts[moves % 3], 3000, 1)
            (answer,) = await ledger.reserve(terms)
            if answer.hold:
                await ledger.close(terms.account_id, terms.hold_id, 1000)
            moves += 1
        return moves

    clients = [asyncio.create_task(client()) for _ in accounts]
    try:
        for _ in range(30):
            assert await ledger.breaches() == []
    finally:
        stop.set()
        moves = await asyncio.gather(*clients)
    assert min(moves) > 0
    assert await ledger.breaches() == []
