"""Serves PaymentDataService: what svc_payment has of an account, for the copy that its owner asks for."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from pingvas.payment.v1 import payment_data_service_pb2, payment_data_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.account_data import AccountPager, Collection, Document, Place, rows_of, single
from svc_common.db import Database
from svc_common.paging import PageTokens
from svc_payment.domain.statement import MovementFilter
from svc_payment.messages import credits as messages
from svc_payment.messages.notices import lead_message
from svc_payment.messages.subscriptions import invoice_message, subscription_message
from svc_payment.store import notices, statement
from svc_payment.store.models import EnterpriseLead, Grant, Invoice
from svc_payment.usecases.entitlement import entitlement

# The method's rules are there once its module is; the stubs import messages only.
_SERVICE: Final = payment_data_service_pb2.DESCRIPTOR


class PaymentDataServicer(payment_data_service_pb2_grpc.PaymentDataServiceServicer):
    """Implements pingvas.payment.v1.PaymentDataService."""

    def __init__(self, *, database: Database, page_tokens: PageTokens) -> None:
        """Takes the database under the requests role."""
        collections = (
            Collection("transactions", _transactions),
            rows_of("grants", Grant, (Grant.grant_id,), messages.grant_message),
            single("subscription", _subscription),
            rows_of("invoices", Invoice, (Invoice.provider, Invoice.invoice_id), invoice_message),
            single("credit_notices", _notices),
            rows_of("enterprise_leads", EnterpriseLead, (EnterpriseLead.lead_id,), lead_message),
        )
        self._pager = AccountPager(database=database, page_tokens=page_tokens, collections=collections)

    async def ExportAccount(self, request: ExportAccountRequest, _context: object) -> AccountPage:
        """Returns a page of what there is of an account."""
        return await self._pager.page(request)


async def _transactions(
    session: AsyncSession, account_id: UUID, after: Place | None, limit: int
) -> Sequence[tuple[Place, Document]]:
    before = None if after is None else int(after[0])
    found = await statement.movements(session, account_id, MovementFilter(), before=before, limit=limit)
    return [((str(movement.sequence),), messages.transaction_message(movement)) for movement in found]


async def _subscription(session: AsyncSession, account_id: UUID) -> Document:
    return subscription_message(await entitlement(session, account_id), can_pause=False)


async def _notices(session: AsyncSession, account_id: UUID) -> Document:
    return messages.notices_message(await notices.choice(session, account_id))
