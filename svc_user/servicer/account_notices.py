"""Serves AccountNoticeService: mails and audit events about what other services did."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from pingvas.user.v1 import account_notice_service_pb2, account_notice_service_pb2_grpc

from svc_common.db import Database
from svc_user.domain import MailKind
from svc_user.domain.audit import AuditKind
from svc_user.store import audit, outbox
from svc_user.store.models import AuditEvent


class AccountNoticeServicer(account_notice_service_pb2_grpc.AccountNoticeServiceServicer):
    """Implements pingvas.user.v1.AccountNoticeService."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        announce_mail: Callable[[], None],
        clock: Callable[[], datetime],
        sales_email: str,
    ) -> None:
        """Takes the database under the tasks role, what to call when a mail was committed, and our sales team's address."""
        self._tasks_database = tasks_database
        self._announce_mail = announce_mail
        self._clock = clock
        self._sales_email = sales_email

    async def SendAccountMail(
        self, request: account_notice_service_pb2.SendAccountMailRequest, _context: object
    ) -> account_notice_service_pb2.SendAccountMailResponse:
        """Puts a mail to the account's owner into the outbox."""
        kind = MailKind(request.letter.WhichOneof("content") or "")
        return await self._mail(
            request.request_id, request.account_id, kind, request.letter.SerializeToString(), to_sales=False
        )

    async def SendSalesMail(
        self, request: account_notice_service_pb2.SendSalesMailRequest, _context: object
    ) -> account_notice_service_pb2.SendAccountMailResponse:
        """Puts a mail about a lead to our sales team into the outbox."""
        content = request.lead.SerializeToString()
        return await self._mail(
            request.request_id, request.lead.account_id, MailKind.ENTERPRISE_LEAD, content, to_sales=True
        )

    async def RecordActivation(
        self, request: account_notice_service_pb2.RecordActivationRequest, _context: object
    ) -> account_notice_service_pb2.RecordActivationResponse:
        """Adds the activation of a contract to the audit log."""
        event = AuditEvent(
            event_id=UUID(request.request_id),
            account_id=UUID(request.account_id),
            actor=request.actor,
            kind=AuditKind.ENTERPRISE_ACTIVATED.value,
            create_time=request.create_time.ToDatetime(tzinfo=UTC),
            network="",
            user_agent="",
            before={},
            after={"reference": request.reference},
        )
        async with self._tasks_database.transaction() as transaction:
            if not await audit.has_event(transaction, event.event_id):
                await audit.insert_event(transaction, event)
        return account_notice_service_pb2.RecordActivationResponse()

    async def _mail(
        self, mail_id: str, account_id: str, kind: MailKind, content: bytes, *, to_sales: bool
    ) -> account_notice_service_pb2.SendAccountMailResponse:
        async with self._tasks_database.transaction() as transaction:
            owner = await outbox.find_owner(transaction, UUID(account_id))
            if owner is None or (to_sales and not self._sales_email):
                return account_notice_service_pb2.SendAccountMailResponse(is_accepted=False)
            user_id, email = owner
            await outbox.insert_mail(
                transaction,
                UUID(mail_id),
                self._sales_email if to_sales else email,
                kind,
                self._clock(),
                about=user_id,
                content=content,
            )
        self._announce_mail()
        return account_notice_service_pb2.SendAccountMailResponse(is_accepted=True)
