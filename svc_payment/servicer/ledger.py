"""LedgerService: moves credits for other services, and tells what an account may do.

Each movement is one transaction and one call of the store, so an answer is sent only after its commit. Repeats are
recognised by the ids that callers chose.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC
from functools import partial
from typing import Final
from uuid import UUID

from pingvas.payment.v1 import credit_service_pb2, entitlement_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from pingvas.vocabulary import Tier

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.group_commit import GroupCommit
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_common.status import to_status
from svc_payment.domain.ledger import CloseOutcome, Closing, GrantOutcome, Hold, HoldTerms, Reservation, ReserveOutcome
from svc_payment.messages import credits as messages
from svc_payment.messages import refusals
from svc_payment.store import audit, queries
from svc_payment.usecases.entitlement import entitlement

# A batch holds the locks of all its accounts until it commits; 64 items take about 10 ms.
_BATCH_LIMIT: Final = 64
# The contract's limit on what AuditLedger lists.
_BREACH_LIMIT: Final = 1000


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Serves pingvas.payment.v1.LedgerService.

    `tasks_database` sees the rows of all accounts; `announce_entitlement` tells the other services' caches which
    account changed, and must not raise.
    """

    def __init__(
        self,
        *,
        database: Database,
        tasks_database: Database,
        announce_entitlement: Callable[[UUID], Awaitable[None]],
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._tasks_database = tasks_database
        self._announce_entitlement = announce_entitlement
        self._page_tokens = page_tokens
        self._reservations = GroupCommit[HoldTerms, Reservation](
            partial(queries.reserve_credits, database), limit=_BATCH_LIMIT
        )

    async def GrantCredits(
        self, request: ledger_service_pb2.GrantCreditsRequest, _context: object
    ) -> credit_service_pb2.Grant:
        """Gives credits to an account."""
        terms = messages.grant_terms(request)
        async with self._database.transaction(terms.account_id) as session:
            outcome, grant = await queries.grant_credits(session, terms)
        if outcome is GrantOutcome.CONFLICT:
            raise refusals.grant_conflict(terms.request_id)
        return messages.grant_message(grant)

    async def ReserveCredits(
        self, request: ledger_service_pb2.ReserveCreditsRequest, _context: object
    ) -> ledger_service_pb2.Hold:
        """Sets credits aside for a job, in one transaction with whatever else is reserved at that moment."""
        terms = messages.hold_terms(request)
        return _hold_message(terms, await self._reservations.submit(terms))

    async def BatchReserveCredits(
        self, request: ledger_service_pb2.BatchReserveCreditsRequest, _context: object
    ) -> ledger_service_pb2.BatchReserveCreditsResponse:
        """Sets credits aside for many jobs; what is refused is told in its place."""
        terms = [messages.hold_terms(item) for item in request.requests]
        answers = await self._reservations.submit_all(terms)
        return ledger_service_pb2.BatchReserveCreditsResponse(reservations=map(_reservation_message, terms, answers))

    async def SettleCredits(
        self, request: ledger_service_pb2.SettleCreditsRequest, _context: object
    ) -> ledger_service_pb2.Hold:
        """Spends a part of a hold and gives the rest back."""
        return await self._close(request.account_id, request.hold_id, used=request.amount_millicredits)

    async def ReleaseCredits(
        self, request: ledger_service_pb2.ReleaseCreditsRequest, _context: object
    ) -> ledger_service_pb2.Hold:
        """Gives a whole hold back."""
        return await self._close(request.account_id, request.hold_id, used=0)

    async def ListOpenHolds(
        self, request: ledger_service_pb2.ListOpenHoldsRequest, _context: object
    ) -> ledger_service_pb2.ListOpenHoldsResponse:
        """Lists holds that nobody has closed."""
        held_before, size = request.held_before.ToDatetime(tzinfo=UTC), page_size(request.page_size)
        scope = f"open holds:{held_before.isoformat()}"
        after = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        found = await queries.open_holds(self._tasks_database, held_before=held_before, after=after, limit=size + 1)
        page, token = self._page_tokens.cut(
            found, size, scope, lambda hold: (hold.expire_time.isoformat(), str(hold.hold_id))
        )
        return ledger_service_pb2.ListOpenHoldsResponse(holds=map(messages.hold_message, page), next_page_token=token)

    async def GetEntitlement(
        self, request: ledger_service_pb2.GetEntitlementRequest, _context: object
    ) -> entitlement_pb2.Entitlement:
        """Returns what an account may do."""
        account_id = UUID(request.account_id)
        async with self._database.transaction(account_id) as session:
            held = await entitlement(session, account_id)
        return messages.entitlement_message(account_id, held)

    async def BatchGetTiers(
        self, request: ledger_service_pb2.BatchGetTiersRequest, _context: object
    ) -> ledger_service_pb2.BatchGetTiersResponse:
        """Returns the tiers of many accounts."""
        tiers = []
        for account_id in map(UUID, request.account_ids):
            async with self._database.transaction(account_id) as session:
                tiers.append(messages.tier_message((await entitlement(session, account_id)).tier))
        return ledger_service_pb2.BatchGetTiersResponse(tiers=tiers)

    async def SetTier(
        self, request: ledger_service_pb2.SetTierRequest, _context: object
    ) -> entitlement_pb2.Entitlement:
        """Puts an account on a tier, then tells the caches."""
        account_id = UUID(request.account_id)
        async with self._database.transaction(account_id) as session:
            await queries.set_tier(session, account_id, Tier(request.tier))
            held = await entitlement(session, account_id)
        await self._announce_entitlement(account_id)
        return messages.entitlement_message(account_id, held)

    async def AuditLedger(
        self, request: ledger_service_pb2.AuditLedgerRequest, _context: object
    ) -> ledger_service_pb2.AuditLedgerResponse:
        """Checks the whole ledger, or one account, against its invariants."""
        account_ids = [UUID(request.account_id)] if request.account_id else None
        async with self._tasks_database.transaction() as session:
            breaches = await audit.find_breaches(session, account_ids=account_ids, limit=_BREACH_LIMIT)
        return ledger_service_pb2.AuditLedgerResponse(breaches=map(messages.breach_message, breaches))

    async def _close(self, account_id: str, hold_id: str, *, used: int) -> ledger_service_pb2.Hold:
        account, hold = UUID(account_id), UUID(hold_id)
        closing = await queries.close_hold(self._database, account, hold, used=used)
        return messages.hold_message(_closed(closing, hold))


def _closed(closing: Closing, hold_id: UUID) -> Hold:
    if closing.hold is None:
        raise refusals.hold_not_found(hold_id)
    if closing.outcome is CloseOutcome.CONFLICT:
        raise refusals.hold_closed(closing.hold)
    return closing.hold


def _hold_message(terms: HoldTerms, reservation: Reservation) -> ledger_service_pb2.Hold:
    """Returns the hold that was made, or raises the refusal."""
    if reservation.outcome is ReserveOutcome.CONFLICT:
        raise refusals.hold_conflict(terms.hold_id)
    if reservation.hold is None:
        raise refusals.insufficient_credits(balance=reservation.balance, price=terms.minimum)
    return messages.hold_message(reservation.hold)


def _reservation_message(terms: HoldTerms, answer: Reservation | BaseException) -> ledger_service_pb2.Reservation:
    """Returns what became of one item of a batch. Raises what is no refusal, for then the whole call has failed."""
    if isinstance(answer, BaseException):
        raise answer
    try:
        return ledger_service_pb2.Reservation(hold=_hold_message(terms, answer))
    except ServiceError as refusal:
        return ledger_service_pb2.Reservation(refusal=to_status(refusal))
