"""Serves DeletionService: closes accounts and opens them again. Erasing them is a sweep's."""

from collections.abc import Callable
from datetime import datetime

import structlog
from pingvas.common.v1.tier_pb2 import TIER_FREE
from pingvas.payment.v1 import ledger_service_pb2_grpc
from pingvas.payment.v1.ledger_service_pb2 import GetEntitlementRequest
from pingvas.user.v1 import deletion_service_pb2, deletion_service_pb2_grpc

from svc_common.caller import current_account, current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.tiers import tier_name
from svc_user import domain
from svc_user.domain import MailKind
from svc_user.domain.audit import AuditKind
from svc_user.servicer.proof import OwnerProof
from svc_user.servicer.users import get_caller, user_gone
from svc_user.store import api_keys, outbox, queries
from svc_user.usecases import AuditTrail

_log = structlog.get_logger()


class DeletionServicer(deletion_service_pb2_grpc.DeletionServiceServicer):
    """Implements pingvas.user.v1.DeletionService."""

    def __init__(
        self,
        *,
        database: Database,
        proof: OwnerProof,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        audit: AuditTrail,
        announce_mail: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role, and what to call when a mail was committed."""
        self._database = database
        self._proof = proof
        self._ledger = ledger
        self._audit = audit
        self._announce_mail = announce_mail
        self._clock = clock

    async def DeleteMe(
        self, _request: deletion_service_pb2.DeleteMeRequest, context: object
    ) -> deletion_service_pb2.Deletion:
        """Closes the caller's account and ends everything by which it could be used."""
        account_id, now = current_account(), self._clock()
        async with self._database.transaction(account_id) as transaction:
            user = await get_caller(transaction, current_user())
        await self._proof.require(user, context)
        await self._refuse_with_plan()
        async with self._database.transaction(account_id) as transaction:
            user = await get_caller(transaction, current_user(), is_locked=True)
            if user.erase_time is None:
                user.erase_time = now + domain.CHANGE_OF_MIND
                await queries.revoke_sessions(transaction, user.user_id, now)
                await queries.delete_link_tokens(transaction, user.user_id)
                await api_keys.delete_api_keys(transaction, user.user_id)
                await outbox.insert_mail(transaction, new_id(), user.email, MailKind.ACCOUNT_CLOSED, now)
                after = {"erase_time": user.erase_time.isoformat()}
                await self._audit.add(transaction, AuditKind.ACCOUNT_CLOSED, user.account_id, after=after)
        self._announce_mail()
        _log.info("account.closed", user_id=str(user.user_id))
        return _deletion(user.erase_time)

    async def GetDeletion(
        self, _request: deletion_service_pb2.GetDeletionRequest, _context: object
    ) -> deletion_service_pb2.Deletion:
        """Returns when the caller's account will be erased."""
        async with self._database.transaction(current_account()) as transaction:
            return _deletion((await get_caller(transaction, current_user())).erase_time)

    async def CancelDeletion(
        self, _request: deletion_service_pb2.CancelDeletionRequest, _context: object
    ) -> deletion_service_pb2.Deletion:
        """Opens the caller's account again, unless its time is over."""
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user(), is_locked=True)
            if user.erase_time is not None and user.erase_time <= self._clock():
                raise user_gone(user.user_id)
            if user.erase_time is not None:
                before = {"erase_time": user.erase_time.isoformat()}
                await self._audit.add(transaction, AuditKind.ACCOUNT_REOPENED, user.account_id, before=before)
            user.erase_time = None
        _log.info("account.opened", user_id=str(user.user_id))
        return deletion_service_pb2.Deletion()

    async def _refuse_with_plan(self) -> None:
        entitlement = await self._ledger.GetEntitlement(GetEntitlementRequest(account_id=str(current_account())))
        if entitlement.tier != TIER_FREE:
            # It would be charged again when nobody could cancel it any more.
            raise ServiceError(
                Reason.SUBSCRIPTION_EXISTS,
                "Your account has a plan. Cancel it first, and delete the account when it has ended.",
                metadata={"plan_id": tier_name(entitlement.tier)},
            )


def _deletion(erase_time: datetime | None) -> deletion_service_pb2.Deletion:
    message = deletion_service_pb2.Deletion()
    if erase_time is not None:
        message.erase_time.FromDatetime(erase_time)
    return message
