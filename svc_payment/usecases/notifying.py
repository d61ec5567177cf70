"""Tells people what happened in payment: by mail and the audit log of svc_user, and by webhooks of svc_generation.

A notice is a row that is written with what it is about. It is delivered at least once, under an id by which both services
know a repetition, and nothing that moves credits waits for it.
"""

import structlog
from pingvas.generation.v1 import account_event_service_pb2, account_event_service_pb2_grpc
from pingvas.user.v1 import account_notice_service_pb2, account_notice_service_pb2_grpc

from svc_common.clients import CallError
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_payment.domain.notices import KEPT_FOR, MONTH_SETTLES_WITHIN, Channel, NoticeKind
from svc_payment.domain.statement import Month
from svc_payment.messages.notices import lead_message, low_balance_event, low_balance_letter, statement_message
from svc_payment.store import notices, queries
from svc_payment.store.models import EnterpriseLead, Notice
from svc_payment.store.statement import statement

_log = structlog.get_logger("payment")

_AT_ONCE = 50
_ACCOUNTS_AT_ONCE = 200


class Notifying:
    """Fills the outbox with what is due by the calendar, and empties it."""

    def __init__(
        self,
        *,
        database: Database,
        people: "account_notice_service_pb2_grpc.AccountNoticeServiceAsyncStub",
        events: "account_event_service_pb2_grpc.AccountEventServiceAsyncStub",
    ) -> None:
        """Takes the database of the role for tasks."""
        self._database = database
        self._people = people
        self._events = events

    async def deliver_due(self) -> int:
        """Delivers what is due until nothing is left or something couldn't be delivered; returns how many were."""
        delivered = 0
        while True:
            async with self._database.transaction() as session:
                found = await notices.due(session, limit=_AT_ONCE)
            outcomes = [await self._attempt(notice) for notice in found]
            delivered += sum(outcomes)
            # What failed is put off, and what comes behind it would fail for the same reason more often than not.
            if len(found) < _AT_ONCE or not all(outcomes):
                return delivered

    async def note_statements(self) -> int:
        """Notes the statements of the month that has ended; returns how many accounts were looked at."""
        async with self._database.transaction() as session:
            now = await queries.ledger_now(session)
        month, looked_at = Month.of(now - MONTH_SETTLES_WITHIN).before, 0
        while batch := await self._note_some(month):
            looked_at += batch
        return looked_at

    async def forget(self) -> int:
        """Deletes notices that were delivered long ago."""
        async with self._database.transaction() as session:
            return await notices.forget(session, age=KEPT_FOR, limit=1000)

    async def _note_some(self, month: Month) -> int:
        async with self._database.transaction() as session:
            return await notices.note_statements(session, month, limit=_ACCOUNTS_AT_ONCE)

    async def _attempt(self, notice: Notice) -> bool:
        try:
            await self._deliver(notice)
        except (ServiceError, CallError) as error:
            _log.warning("notice.postponed", notice_id=str(notice.notice_id), kind=notice.kind, error=str(error))
            async with self._database.transaction() as session:
                await notices.put_off(session, notice)
            return False
        async with self._database.transaction() as session:
            await notices.close(session, notice)
        return True

    async def _deliver(self, notice: Notice) -> None:
        match Channel(notice.channel):
            case Channel.EVENT:
                await self._events.PublishAccountEvent(
                    account_event_service_pb2.PublishAccountEventRequest(
                        request_id=str(notice.notice_id),
                        account_id=str(notice.account_id),
                        low_balance=low_balance_event(notice),
                    )
                )
            case Channel.MAIL:
                await self._people.SendAccountMail(
                    account_notice_service_pb2.SendAccountMailRequest(
                        request_id=str(notice.notice_id),
                        account_id=str(notice.account_id),
                        letter=await self._letter(notice),
                    )
                )
            case Channel.SALES:
                async with self._database.transaction() as session:
                    lead = await session.get_one(EnterpriseLead, notice.notice_id)
                await self._people.SendSalesMail(
                    account_notice_service_pb2.SendSalesMailRequest(
                        request_id=str(notice.notice_id), lead=lead_message(lead)
                    )
                )
            case Channel.AUDIT:
                request = account_notice_service_pb2.RecordActivationRequest(
                    request_id=str(notice.notice_id), account_id=str(notice.account_id), **notice.content
                )
                request.create_time.FromDatetime(notice.create_time)
                await self._people.RecordActivation(request)

    async def _letter(self, notice: Notice) -> account_notice_service_pb2.AccountLetter:
        if NoticeKind(notice.kind) is NoticeKind.LOW_BALANCE:
            return account_notice_service_pb2.AccountLetter(low_balance=low_balance_letter(notice))
        month = Month.parse(notice.content["month"])
        async with self._database.transaction() as session:
            found = await statement(session, notice.account_id, month)
        return account_notice_service_pb2.AccountLetter(statement=statement_message(found))
