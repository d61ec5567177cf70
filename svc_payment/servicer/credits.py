"""CreditService: shows a person what their account can spend and what moved it. Moves nothing."""

from pingvas.payment.v1 import credit_service_pb2, credit_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_common.paging import PageTokens, page_size
from svc_payment.domain import Tier
from svc_payment.servicer import messages
from svc_payment.store import queries


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
            limits = await queries.tier_limits(session, account_id)
        return credit_service_pb2.Balance(
            available=format_credits(sum(grant.remaining for grant in grants)),
            held=format_credits(held),
            grants=map(messages.grant_message, grants),
            tier=messages.TIERS[Tier(limits.tier)],
        )

    async def ListTransactions(
        self, request: credit_service_pb2.ListTransactionsRequest, _context: object
    ) -> credit_service_pb2.ListTransactionsResponse:
        """Lists what moved the caller's credits, newest first."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"transactions:{account_id}"
        before = int(self._page_tokens.decode(request.page_token, scope)[0]) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            found = await queries.transactions(session, account_id, before=before, limit=size + 1)
        page, token = self._page_tokens.cut(found, size, scope, lambda transaction: [str(transaction.sequence)])
        return credit_service_pb2.ListTransactionsResponse(
            transactions=map(messages.transaction_message, page), next_page_token=token
        )
