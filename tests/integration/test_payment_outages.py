"""Payment while PostgreSQL is away, and its sweeps."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.clients import channel
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_payment import tasks
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.ledger import SettableClock, hold_terms, ledger_in
from tests.harness_postgres import DatabaseFactory, PostgresServer, until
from tests.harness_service import Identities, running, settings_values


async def test_reserve_answers_unavailable_and_recovers_when_postgresql_restarts(
    own_postgres: PostgresServer, identities: Identities
) -> None:
    place = await DatabaseFactory(own_postgres)("payment")
    # The tests' servers don't wait for the log to be written; what is shown here is that acknowledged commits survive.
    await own_postgres.execute(f"ALTER DATABASE {place.name} SET synchronous_commit = on")
    settings = PaymentSettings(**settings_values(identities, SERVICE_NAME, place))
    account = new_id()
    request = ledger_service_pb2.ReserveCreditsRequest(
        hold_id=str(new_id()),
        account_id=str(account),
        amount_millicredits=1000,
        minimum_millicredits=1000,
        lifetime=Duration(seconds=60),
    )
    async with (
        ledger_in(place) as ledger,
        running(compose(settings)) as service,
        channel(service.internal_address, identities.credential("svc_generation")) as to_payment,
    ):
        await ledger.grant(account, 5000)
        stub = LedgerServiceStub(to_payment)
        first = await stub.ReserveCredits(request)

        async def reason() -> Reason | None:
            try:
                await stub.ReserveCredits(request)
            except ServiceError as error:
                return error.reason
            return None

        async def is_away() -> bool:
            return await reason() is Reason.DEPENDENCY_UNAVAILABLE

        async def is_back() -> bool:
            return await reason() is None

        own_postgres.kill()
        await until(is_away)
        own_postgres.start()
        await until(is_back)
        assert await stub.ReserveCredits(request) == first
        assert await ledger.breaches() == []


@pytest.mark.parametrize("count", [3, 250])
async def test_sweeps_end_every_hold_and_grant_whose_time_is_over(database_for: DatabaseFactory, count: int) -> None:
    async with ledger_in(await database_for("payment")) as ledger:
        clock = SettableClock(ledger)
        await clock.install()
        accounts = [new_id() for _ in range(count)]
        for account in accounts:
            await ledger.grant(account, 5000, expire_time=clock.now + timedelta(hours=2))
        await ledger.reserve(*(hold_terms(account, 1000) for account in accounts))
        release, lapse, _audit = tasks.sweeps(ledger.tasks)
        assert (await release.fn(), await lapse.fn()) == (0, 0)

        await clock.advance(timedelta(hours=1))
        assert (await release.fn(), await lapse.fn()) == (count, 0)
        assert [await ledger.available(account) for account in accounts] == [5000] * count

        await clock.advance(timedelta(hours=1))
        assert (await release.fn(), await lapse.fn()) == (0, count)
        assert [await ledger.available(account) for account in accounts] == [0] * count
        assert await ledger.breaches() == []
