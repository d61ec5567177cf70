"""PaymentAdminService: what administrators may do with credits and tiers, done as LedgerService does it for services."""

from collections.abc import Mapping
from typing import Final

import structlog
from pingvas.payment.v1 import (
    credit_service_pb2,
    entitlement_pb2,
    ledger_service_pb2,
    payment_admin_service_pb2,
    payment_admin_service_pb2_grpc,
)
from pingvas.user.v1 import user_directory_service_pb2_grpc
from pingvas.user.v1.audit_event_pb2 import AuditEventKind
from pingvas.user.v1.user_directory_service_pb2 import RecordAdministrationRequest

from svc_common.caller import current_headers, current_peer, current_user
from svc_common.client_address import ClientAddresses, user_agent_of_call
from svc_common.credits import format_credits
from svc_common.tiers import tier_name
from svc_payment.servicer.ledger import LedgerServicer

# Its file has the rules of the methods and no messages, so that the generated stubs don't import it.
CONTRACT: Final = payment_admin_service_pb2.DESCRIPTOR
_log: Final = structlog.get_logger("payment")


class PaymentAdminServicer(payment_admin_service_pb2_grpc.PaymentAdminServiceServicer):
    """Serves pingvas.payment.v1.PaymentAdminService."""

    def __init__(
        self,
        *,
        ledger: LedgerServicer,
        directory: "user_directory_service_pb2_grpc.UserDirectoryServiceAsyncStub",
        addresses: ClientAddresses,
    ) -> None:
        """Takes what serves the same to other parts of the platform, and who keeps the audit log."""
        self._ledger = ledger
        self._directory = directory
        self._addresses = addresses

    async def GrantCredits(
        self, request: ledger_service_pb2.GrantCreditsRequest, context: object
    ) -> credit_service_pb2.Grant:
        """Gives credits to an account. Nothing is given that the audit log couldn't be told of."""
        about = {
            "request_id": request.request_id,
            "credits": format_credits(request.amount_millicredits),
            "kind": credit_service_pb2.GrantKind.Name(request.kind).removeprefix("GRANT_KIND_").lower(),
        }
        await self._record(request.account_id, AuditEventKind.AUDIT_EVENT_KIND_CREDITS_GRANTED, about)
        grant = await self._ledger.GrantCredits(request, context)
        _log.info("credits.granted", account_id=request.account_id, amount=grant.amount, by=str(current_user()))
        return grant

    async def SetTier(self, request: ledger_service_pb2.SetTierRequest, context: object) -> entitlement_pb2.Entitlement:
        """Puts an account on a tier. It stays where it is if the audit log couldn't be told."""
        about = {"tier": tier_name(request.tier)}
        await self._record(request.account_id, AuditEventKind.AUDIT_EVENT_KIND_TIER_SET, about)
        entitlement = await self._ledger.SetTier(request, context)
        _log.info("tier.set", account_id=request.account_id, tier=request.tier, by=str(current_user()))
        return entitlement

    async def AuditLedger(
        self, request: ledger_service_pb2.AuditLedgerRequest, context: object
    ) -> ledger_service_pb2.AuditLedgerResponse:
        """Checks the whole ledger, or one account."""
        return await self._ledger.AuditLedger(request, context)

    async def _record(self, account_id: str, kind: AuditEventKind.ValueType, after: Mapping[str, str]) -> None:
        record = RecordAdministrationRequest(
            account_id=account_id,
            user_id=str(current_user()),
            kind=kind,
            after=after,
            network=self._addresses.of(current_headers(), current_peer()),
            user_agent=user_agent_of_call(),
        )
        await self._directory.RecordAdministration(record)
