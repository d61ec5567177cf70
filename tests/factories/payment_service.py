"""Runs the real svc_payment on free ports over a fresh database, with its stubs and short ways to call them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_payment.main import SERVICE_NAME, PaymentSettings, compose
from tests.factories.ledger import HOUR, Ledger, ledger_in
from tests.harness_postgres import ServiceDatabase
from tests.harness_service import Identities, Metadata, RunningService, running, settings_values


@dataclass(frozen=True, slots=True)
class Payment:
    """A running svc_payment, its stubs, and its ledger seen from behind."""

    identities: Identities
    public: grpc.aio.Channel
    credits: CreditServiceStub
    ledger_service: LedgerServiceStub
    ledger: Ledger

    @classmethod
    def over(cls, identities: Identities, service: RunningService, ledger: Ledger) -> Self:
        """Returns the stubs of a service that runs."""
        return cls(
            identities, service.public, CreditServiceStub(service.public), LedgerServiceStub(service.internal), ledger
        )

    @property
    def as_generation(self) -> Metadata:
        return self.identities.as_service("svc_generation")

    @property
    def as_operator(self) -> Metadata:
        return self.identities.as_service("operator")

    def grant_call(self, account: UUID, amount: int, **fields: Any) -> Any:
        terms = {"request_id": str(new_id()), "kind": credit_service_pb2.GRANT_KIND_PURCHASED, **fields}
        request = ledger_service_pb2.GrantCreditsRequest(account_id=str(account), amount_millicredits=amount, **terms)
        return self.ledger_service.GrantCredits(request, metadata=self.as_operator)

    def reserve_call(
        self,
        account: UUID,
        amount: int,
        minimum: int | None = None,
        *,
        hold: UUID | None = None,
        lifetime: timedelta = HOUR,
    ) -> Any:
        duration = Duration()
        duration.FromTimedelta(lifetime)
        request = ledger_service_pb2.ReserveCreditsRequest(
            hold_id=str(hold or new_id()),
            account_id=str(account),
            amount_millicredits=amount,
            minimum_millicredits=minimum or amount,
            lifetime=duration,
        )
        return self.ledger_service.ReserveCredits(request, metadata=self.as_generation)

    def settle_call(self, account: UUID, hold: UUID, amount: int) -> Any:
        request = ledger_service_pb2.SettleCreditsRequest(
            account_id=str(account), hold_id=str(hold), amount_millicredits=amount
        )
        return self.ledger_service.SettleCredits(request, metadata=self.as_generation)

    def release_call(self, account: UUID, hold: UUID) -> Any:
        request = ledger_service_pb2.ReleaseCreditsRequest(account_id=str(account), hold_id=str(hold))
        return self.ledger_service.ReleaseCredits(request, metadata=self.as_generation)

    def entitlement_call(self, account: UUID) -> Any:
        request = ledger_service_pb2.GetEntitlementRequest(account_id=str(account))
        return self.ledger_service.GetEntitlement(request, metadata=self.as_generation)

    def set_tier_call(self, account: UUID, tier: tier_pb2.Tier.ValueType) -> Any:
        request = ledger_service_pb2.SetTierRequest(account_id=str(account), tier=tier)
        return self.ledger_service.SetTier(request, metadata=self.as_operator)

    def balance_call(self, account: UUID) -> Any:
        return self.credits.GetBalance(
            credit_service_pb2.GetBalanceRequest(), metadata=self.identities.as_user(account)
        )

    def transactions_call(self, account: UUID, *, size: int = 0, token: str = "") -> Any:
        request = credit_service_pb2.ListTransactionsRequest(page_size=size, page_token=token)
        return self.credits.ListTransactions(request, metadata=self.identities.as_user(account))


@asynccontextmanager
async def payment_service(
    place: ServiceDatabase, identities: Identities, redis_url: str, **own_settings: Any
) -> AsyncIterator[Payment]:
    """Serves until the block ends."""
    settings = PaymentSettings(**settings_values(identities, SERVICE_NAME, place, redis_url=redis_url, **own_settings))
    async with running(compose(settings)) as service, ledger_in(place) as ledger:
        yield Payment.over(identities, service, ledger)


def violations(error: ServiceError) -> list[str]:
    """Returns the fields that a refusal names."""
    assert error.reason is Reason.INVALID_FIELD
    return [violation.field for violation in error.violations]


def soon(**amount: float) -> Timestamp:
    """Returns a time from now, given as the arguments of timedelta."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(**amount))
    return moment
