"""PaymentAdminService: what administrators may do with credits and tiers, done as LedgerService does it for services."""

from typing import Final

import structlog
from pingvas.payment.v1 import (
    credit_service_pb2,
    entitlement_pb2,
    ledger_service_pb2,
    payment_admin_service_pb2,
    payment_admin_service_pb2_grpc,
)
from pingvas.user.v1.audit_event_pb2 import AuditEventKind

from svc_common.administration import AdministrationLog
from svc_common.caller import current_user
from svc_common.credits import format_credits
from svc_common.tiers import tier_name
from svc_payment.servicer.ledger import LedgerServicer

# Its file has the rules of the methods and no messages, so that the generated stubs don't import it.
CONTRACT: Final = payment_admin_service_pb2.DESCRIPTOR
_log: Final = structlog.get_logger("payment")


class PaymentAdminServicer(payment_admin_service_pb2_grpc.PaymentAdminServiceServicer):
    """Serves pingvas.payment.v1.PaymentAdminService."""

    def __init__(self, *, ledger: LedgerServicer, log: AdministrationLog) -> None:
        """Takes what serves the same to other parts of the platform, and what writes into the audit log."""
        self._ledger = ledger
        self._administration = log

    async def GrantCredits(
        self, request: ledger_service_pb2.GrantCreditsRequest, context: object
    ) -> credit_service_pb2.Grant:
        """Gives credits to an account. Nothing is given that the audit log couldn't be told of."""
        about = {
            "request_id": request.request_id,
            "credits": format_credits(request.amount_millicredits),
            "kind": credit_service_pb2.GrantKind.Name(request.kind).removeprefix("GRANT_KIND_").lower(),
        }
        kind = AuditEventKind.AUDIT_EVENT_KIND_CREDITS_GRANTED
        await self._administration.record(kind, about, account_id=request.account_id)
        grant = await self._ledger.GrantCredits(request, context)
        _log.info("credits.granted", account_id=request.account_id, amount=grant.amount, by=str(current_user()))
        return grant

    async def SetTier(self, request: ledger_service_pb2.SetTierRequest, context: object) -> entitlement_pb2.Entitlement:
        """Puts an account on a tier. It stays where it is if the audit log couldn't be told."""
        about = {"tier": tier_name(request.tier)}
        kind = AuditEventKind.AUDIT_EVENT_KIND_TIER_SET
        await self._administration.record(kind, about, account_id=request.account_id)
        entitlement = await self._ledger.SetTier(request, context)
        _log.info("tier.set", account_id=request.account_id, tier=request.tier, by=str(current_user()))
        return entitlement

    async def AuditLedger(
        self, request: ledger_service_pb2.AuditLedgerRequest, context: object
    ) -> ledger_service_pb2.AuditLedgerResponse:
        """Checks the whole ledger, or one account."""
        return await self._ledger.AuditLedger(request, context)
