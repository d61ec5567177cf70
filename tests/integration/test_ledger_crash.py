"""PostgreSQL is killed while many clients move credits: whatever was answered is there afterwards, and nothing else moved."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.clients import channel
from svc_common.clock import new_id
from svc_common.errors import Code, ServiceError
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.ledger import ledger_in
from tests.harness_postgres import DatabaseFactory, PostgresServer, until
from tests.harness_service import Identities, running, settings_values

CLIENTS = 16
PAIRS = 10
HELD, SETTLED, GRANTED = 1_000, 700, 1_000_000
# A server that was killed replays its log before it answers, on a machine that may be ten times slower.
PATIENCE_SECONDS = 240.0


@dataclass
class Load:
    """What clients have been answered: the amount that was held, or settled, by hold."""

    stub: LedgerServiceStub
    held: dict[UUID, int] = field(default_factory=dict)
    settled: dict[UUID, int] = field(default_factory=dict)
    refusals: int = 0
    # Set when every client has settled one hold on average, long before any has finished.
    is_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, number: int, accounts: Sequence[UUID]) -> None:
        """Reserves and settles holds, going round the accounts; repeats each call until it is answered."""
        for pair in range(PAIRS):
            account = accounts[(number + pair * CLIENTS) % len(accounts)]
            hold = new_id()
            reserve = ledger_service_pb2.ReserveCreditsRequest(
                hold_id=str(hold),
                account_id=str(account),
                amount_millicredits=HELD,
                minimum_millicredits=HELD,
                lifetime=Duration(seconds=3600),
            )
            answer = await self._answer(lambda request=reserve: self.stub.ReserveCredits(request))
            self.held[hold] = answer.amount_millicredits
            settle = ledger_service_pb2.SettleCreditsRequest(
                account_id=str(account), hold_id=str(hold), amount_millicredits=SETTLED
            )
            answer = await self._answer(lambda request=settle: self.stub.SettleCredits(request))
            self.settled[hold] = answer.settled_millicredits
            if len(self.settled) >= CLIENTS:
                self.is_on.set()

    async def _answer(self, call: Callable[[], Awaitable[Any]]) -> Any:
        answers: list[Any] = []

        async def is_answered() -> bool:
            try:
                answers.append(await call())
            except ServiceError as error:
                if error.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                    raise
                self.refusals += 1
            return bool(answers)

        await until(is_answered, within_seconds=PATIENCE_SECONDS)
        return answers[0]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("tenants", [1, 64])
async def test_answered_calls_survive_a_killed_postgresql(
    own_postgres: PostgresServer, identities: Identities, tenants: int
) -> None:
    place = await DatabaseFactory(own_postgres)("payment")
    # The tests' servers don't wait for the log to be written, which is what is shown here.
    await own_postgres.execute(f"ALTER DATABASE {place.name} SET synchronous_commit = on")
    settings = PaymentSettings(**settings_values(identities, SERVICE_NAME, place))
    accounts = [new_id() for _ in range(tenants)]
    async with (
        ledger_in(place) as ledger,
        running(compose(settings)) as service,
        channel(service.internal_address, identities.credential("svc_generation")) as to_payment,
    ):
        for account in accounts:
            await ledger.grant(account, GRANTED)
        load = Load(LedgerServiceStub(to_payment))

        async def is_noticed() -> bool:
            return load.refusals > 0

        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(load.client(number, accounts))
            await load.is_on.wait()
            own_postgres.kill()
            held, settled = dict(load.held), dict(load.settled)
            # Nobody has finished, so somebody must notice.
            await until(is_noticed, within_seconds=PATIENCE_SECONDS)
            await asyncio.to_thread(own_postgres.start)
            rows = await _holds(ledger, held)
            # Answered before the kill, and there after it. What wasn't answered may be there or not.
            assert all(rows[hold][0] == amount for hold, amount in held.items())
            assert all(rows[hold][1] == amount for hold, amount in settled.items())

        assert len(load.settled) == CLIENTS * PAIRS
        assert await ledger.breaches() == []
        left = sum([await ledger.available(account) for account in accounts])
        assert tenants * GRANTED - left == CLIENTS * PAIRS * SETTLED


async def _holds(ledger: Any, wanted: dict[UUID, int]) -> dict[UUID, tuple[int, int]]:
    found = await ledger.as_admin("SELECT hold_id, amount, settled FROM payment.holds")
    rows = {row["hold_id"]: (row["amount"], row["settled"]) for row in found}
    assert wanted.keys() <= rows.keys()
    return rows
