"""CreditService: shows a person what their account can spend and what moved it, and what they hear of it. Moves nothing."""

import hashlib
from collections.abc import Sequence
from typing import Final

from pingvas.payment.v1 import credit_service_pb2, credit_service_pb2_grpc, statement_pb2

from svc_common.caller import current_account
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.paging import PageTokens, page_size
from svc_payment.domain.notices import NoticeChoice, parse_threshold
from svc_payment.domain.statement import Month, Movement
from svc_payment.messages import credits as messages
from svc_payment.messages.notices import statement_message
from svc_payment.servicer import csv_pages
from svc_payment.store import notices, queries, statement
from svc_payment.usecases.entitlement import entitlement

# Of a page of CSV, which is read by machines.
_LINES: Final = 1000

_PagedRequest = credit_service_pb2.ListTransactionsRequest | credit_service_pb2.ExportTransactionsRequest


class CreditServicer(credit_service_pb2_grpc.CreditServiceServicer):
    """Serves pingvas.payment.v1.CreditService."""

    def __init__(self, *, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def GetBalance(
        self, _request: credit_service_pb2.GetBalanceRequest, _context: object
    ) -> credit_service_pb2.Balance:
        """Returns what the caller can spend and what running jobs hold."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            held, grants = await queries.balance(session, account_id)
            tier = (await entitlement(session, account_id)).tier
        return credit_service_pb2.Balance(
            available=format_credits(sum(grant.remaining for grant in grants)),
            held=format_credits(held),
            grants=map(messages.grant_message, grants),
            tier=messages.tier_message(tier),
        )

    async def ListTransactions(
        self, request: credit_service_pb2.ListTransactionsRequest, _context: object
    ) -> credit_service_pb2.ListTransactionsResponse:
        """Lists what moved the caller's credits, newest first."""
        page, token = await self._page(request, page_size(request.page_size))
        return credit_service_pb2.ListTransactionsResponse(
            transactions=map(messages.transaction_message, page), next_page_token=token
        )

    async def ExportTransactions(
        self, request: credit_service_pb2.ExportTransactionsRequest, _context: object
    ) -> credit_service_pb2.CsvPage:
        """Writes what moved the caller's credits as CSV."""
        page, token = await self._page(request, request.page_size or _LINES)
        lines = csv_pages.movement_lines(page, has_names=not request.page_token)
        return credit_service_pb2.CsvPage(csv=lines, next_page_token=token)

    async def ExportBalance(
        self, _request: credit_service_pb2.ExportBalanceRequest, _context: object
    ) -> credit_service_pb2.CsvPage:
        """Writes the parts of the caller's balance as CSV."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            held, grants = await queries.balance(session, account_id)
        return credit_service_pb2.CsvPage(csv=csv_pages.part_lines(grants, held))

    async def GetStatement(
        self, request: credit_service_pb2.GetStatementRequest, _context: object
    ) -> statement_pb2.Statement:
        """Returns what a month did to the caller's credits."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            found = await statement.statement(session, account_id, Month.parse(request.month))
        return statement_message(found)

    async def GetCreditNotices(
        self, _request: credit_service_pb2.GetCreditNoticesRequest, _context: object
    ) -> credit_service_pb2.CreditNotices:
        """Returns what the caller is notified of."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            chosen = await notices.choice(session, account_id)
        return messages.notices_message(chosen)

    async def SetCreditNotices(
        self, request: credit_service_pb2.SetCreditNoticesRequest, _context: object
    ) -> credit_service_pb2.CreditNotices:
        """Chooses what the caller is notified of."""
        account_id = current_account()
        chosen = NoticeChoice(parse_threshold(request.low_balance), request.mails_statements)
        async with self._database.transaction(account_id) as session:
            await notices.choose(session, account_id, chosen)
        return messages.notices_message(chosen)

    async def _page(self, request: _PagedRequest, size: int) -> tuple[Sequence[Movement], str]:
        account_id = current_account()
        selected = request.filter.SerializeToString(deterministic=True)
        scope = f"transactions:{account_id}:{hashlib.sha256(selected).hexdigest()}"
        before = int(self._page_tokens.decode(request.page_token, scope)[0]) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            found = await statement.movements(
                session, account_id, messages.movement_filter(request.filter), before=before, limit=size + 1
            )
        return self._page_tokens.cut(found, size, scope, lambda movement: [str(movement.sequence)])
