"""What a process remembers of entitlements, and what it assumes of allowances while svc_payment is away."""

import asyncio
from uuid import UUID

import pytest
from pingvas.payment.v1.entitlement_pb2 import Entitlement, TierLimits

from svc_common.clock import new_id
from svc_common.entitlements import Entitlements
from svc_common.errors import ServiceError, dependency_unavailable
from svc_common.limits.allowances import UNKNOWN, Allowance, Allowances
from svc_common.limits.buckets import Rate

FREE, PRO = Allowance(Rate(5, 25), 1), Allowance(Rate(50, 250), 100)


def entitlement_of(allowance: Allowance) -> Entitlement:
    calls = allowance.calls
    limits = TierLimits(
        requests_per_second=calls.per_second, request_burst=calls.burst, storage_bytes=allowance.storage_bytes
    )
    return Entitlement(limits=limits)


class Payment:
    """Answers what it is told to, when it is told to, and keeps the time for both sides."""

    def __init__(self) -> None:
        self.answer: Allowance | None = FREE
        self.questions = 0
        self.seconds = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def fetch(self, _: UUID) -> Entitlement:
        self.questions += 1
        self.asked.set()
        answer = self.answer
        await self.open.wait()
        if answer is None:
            raise dependency_unavailable("svc_payment", "It is away.")
        return entitlement_of(answer)

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def payment() -> Payment:
    return Payment()


@pytest.fixture
def entitlements(payment: Payment) -> Entitlements:
    return Entitlements(payment.fetch, monotonic_seconds=payment.clock)


@pytest.fixture
def allowances(entitlements: Entitlements) -> Allowances:
    return Allowances(entitlements)


async def test_answer_is_remembered_for_a_minute(payment: Payment, allowances: Allowances) -> None:
    account_id = new_id()
    for payment.seconds in (0, 30, 59):
        assert await allowances.of(account_id) == FREE
    assert payment.questions == 1
    payment.answer, payment.seconds = PRO, 61

    assert await allowances.of(account_id) == PRO


async def test_announced_change_is_asked_for(
    payment: Payment, entitlements: Entitlements, allowances: Allowances
) -> None:
    account_id, other = new_id(), new_id()
    await allowances.of(account_id)
    await allowances.of(other)
    payment.answer = PRO

    entitlements.expire(account_id)
    assert (await allowances.of(account_id), await allowances.of(other)) == (PRO, FREE)
    entitlements.expire_all()
    assert await allowances.of(other) == PRO


async def test_change_while_the_question_is_on_its_way_is_not_missed(
    payment: Payment, entitlements: Entitlements, allowances: Allowances
) -> None:
    account_id = new_id()
    payment.open.clear()
    question = asyncio.create_task(allowances.exactly(account_id))
    await payment.asked.wait()
    payment.answer = PRO
    entitlements.expire(account_id)
    payment.asked.clear()
    after_it = asyncio.create_task(allowances.exactly(account_id))
    await payment.asked.wait()
    payment.open.set()

    assert (await question, await after_it) == (FREE, PRO)
    assert await allowances.exactly(account_id) == PRO


async def test_what_was_known_goes_on_while_payment_is_away(payment: Payment, allowances: Allowances) -> None:
    known, unknown = new_id(), new_id()
    await allowances.of(known)
    payment.answer, payment.seconds = None, 100

    assert (await allowances.of(known), await allowances.of(unknown)) == (FREE, UNKNOWN)
    # The second question would have been in vain as well, so it wasn't asked.
    assert payment.questions == 2
    payment.answer, payment.seconds = PRO, 102
    assert (await allowances.of(known), await allowances.of(unknown)) == (PRO, PRO)


async def test_what_must_be_exact_is_not_assumed(payment: Payment, allowances: Allowances) -> None:
    payment.answer = None

    with pytest.raises(ServiceError, match="away"):
        await allowances.exactly(new_id())


async def test_calls_at_the_same_time_share_one_question(payment: Payment, allowances: Allowances) -> None:
    account_id = new_id()
    assert await asyncio.gather(*(allowances.exactly(account_id) for _ in range(3))) == [FREE] * 3
    assert payment.questions == 1


async def test_each_caller_says_how_old_an_answer_may_be(payment: Payment, entitlements: Entitlements) -> None:
    account_id = new_id()
    await entitlements.of(account_id)
    payment.answer, payment.seconds = PRO, 5

    assert await entitlements.of(account_id, at_most_seconds=6) == entitlement_of(FREE)
    assert await entitlements.of(account_id, at_most_seconds=5) == entitlement_of(PRO)
