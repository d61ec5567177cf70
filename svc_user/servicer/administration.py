"""Serves AccountAdminService: what support and administrators do with the accounts of others.

It works under the tasks role, since the requests role can neither see another account nor change a role or a suspension.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import ledger_service_pb2_grpc
from pingvas.payment.v1.ledger_service_pb2 import BatchGetTiersRequest
from pingvas.user.v1 import account_admin_service_pb2, account_admin_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.account_roles import AccountRole
from svc_common.caller import current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.paging import PageTokens, page_size
from svc_common.revocations import Revocation, Revocations
from svc_common.scopes import role_named
from svc_user.domain import MailKind
from svc_user.domain.administration import check_administrator_remains, sought
from svc_user.domain.audit import AuditKind
from svc_user.messages import managed_user_message
from svc_user.store import accounts, outbox, second_factors
from svc_user.store.models import User
from svc_user.usecases.audit import AuditTrail

_log: Final = structlog.get_logger()

# How many pages of users a search by tier looks through in one call: tiers are svc_payment's to tell.
_PAGES_A_CALL: Final = 10


class AccountAdminServicer(account_admin_service_pb2_grpc.AccountAdminServiceServicer):
    """Implements pingvas.user.v1.AccountAdminService."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        revocations: Revocations,
        audit: AuditTrail,
        announce_mail: Callable[[], None],
        page_tokens: PageTokens,
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the tasks role, who knows the tiers, and what ends access tokens."""
        self._database = tasks_database
        self._ledger = ledger
        self._revocations = revocations
        self._audit = audit
        self._announce_mail = announce_mail
        self._page_tokens = page_tokens
        self._clock = clock

    async def SearchUsers(
        self, request: account_admin_service_pb2.SearchUsersRequest, _context: object
    ) -> account_admin_service_pb2.SearchUsersResponse:
        """Finds users; those of one tier are picked from a few pages of all that match otherwise."""
        size = page_size(request.page_size)
        what = sought(request.query, role_named(request.role) if request.role else None)
        scope = f"users:{request.tier}:{request.role}:{request.query}"
        before = UUID(self._page_tokens.decode(request.page_token, scope)[0]) if request.page_token else None
        answer = account_admin_service_pb2.SearchUsersResponse()
        is_last = False
        for _ in range(_PAGES_A_CALL):
            async with self._database.transaction() as transaction:
                # One more than the page holds tells whether another page follows.
                found = await accounts.search_users(transaction, what, before=before, limit=size + 1)
                with_factor = await second_factors.having_one(transaction, [user.user_id for user in found])
            is_last = len(found) <= size
            for user, tier in zip(found[:size], await self._tiers(found[:size]), strict=True):
                if len(answer.users) == size:
                    is_last = False
                    break
                before = user.user_id
                if request.tier in (tier_pb2.TIER_UNSPECIFIED, tier):
                    answer.users.append(managed_user_message(user, tier, has_factor=user.user_id in with_factor))
            if is_last or len(answer.users) == size:
                break
        answer.next_page_token = "" if is_last else self._page_tokens.encode(scope, str(before))
        return answer

    async def SetAccountRole(
        self, request: account_admin_service_pb2.SetAccountRoleRequest, _context: object
    ) -> account_admin_service_pb2.ManagedUser:
        """Gives a user a role, and ends the access tokens that name another."""
        role = role_named(request.role)
        async with self._database.transaction() as transaction:
            user = await self._locked(transaction, request.user_id)
            was = AccountRole(user.role)
            if role is not was:
                if role is not AccountRole.ADMINISTRATOR:
                    await self._check_administrator_remains(transaction, user)
                user.role = role.value
                user.token_epoch += 1
                await self._audit.add(
                    transaction,
                    AuditKind.ROLE_CHANGED,
                    user.account_id,
                    before={"role": was.value},
                    after={"role": role.value},
                )
        if role is not was:
            await self._revoke(user)
            _log.info("account.role_set", user_id=request.user_id, role=role.value, by=str(current_user()))
        return managed_user_message(user)

    async def SuspendAccount(
        self, request: account_admin_service_pb2.SuspendAccountRequest, _context: object
    ) -> account_admin_service_pb2.ManagedUser:
        """Suspends an account, and ends its sessions and access tokens."""
        now = self._clock()
        async with self._database.transaction() as transaction:
            user = await self._locked(transaction, request.user_id)
            if user.suspend_time is None:
                await self._check_administrator_remains(transaction, user)
                user.suspend_time = now
                user.token_epoch += 1
                await accounts.end_sessions(transaction, user.user_id, now)
            user.suspend_reason = request.reason
            about = {"reason": request.reason}
            await self._audit.add(transaction, AuditKind.ACCOUNT_SUSPENDED, user.account_id, after=about)
        await self._revoke(user)
        _log.info("account.suspended", user_id=request.user_id, by=str(current_user()))
        return managed_user_message(user)

    async def ReinstateAccount(
        self, request: account_admin_service_pb2.ReinstateAccountRequest, _context: object
    ) -> account_admin_service_pb2.ManagedUser:
        """Ends a suspension."""
        async with self._database.transaction() as transaction:
            user = await self._locked(transaction, request.user_id)
            was_suspended = user.suspend_time is not None
            if was_suspended:
                about = {"reason": user.suspend_reason}
                await self._audit.add(transaction, AuditKind.ACCOUNT_REINSTATED, user.account_id, before=about)
                user.suspend_time, user.suspend_reason = None, ""
                # So that what is left of tokens from before says that it expired, and no more that it is suspended.
                user.token_epoch += 1
        if was_suspended:
            await self._revoke(user)
            _log.info("account.reinstated", user_id=request.user_id, by=str(current_user()))
        return managed_user_message(user)

    async def ResetSecondFactor(
        self, request: account_admin_service_pb2.ResetSecondFactorRequest, _context: object
    ) -> account_admin_service_pb2.ManagedUser:
        """Turns a second factor off; its owner is told by mail."""
        async with self._database.transaction() as transaction:
            user = await self._locked(transaction, request.user_id)
            was_on = await second_factors.delete_factor(transaction, user.user_id)
            if was_on:
                user.token_epoch += 1
                await self._audit.add(transaction, AuditKind.SECOND_FACTOR_RESET, user.account_id)
                kind, now = MailKind.SECOND_FACTOR_DISABLED, self._clock()
                await outbox.insert_mail(transaction, new_id(), user.email, kind, now)
        if was_on:
            await self._revoke(user)
            self._announce_mail()
            _log.info("second_factor.reset", user_id=request.user_id, by=str(current_user()))
        return managed_user_message(user)

    async def _locked(self, transaction: AsyncSession, user_id: str) -> User:
        user = await accounts.lock_user(transaction, UUID(user_id))
        if user is None:
            message = "There is no such user; SearchUsers finds those that there are."
            raise ServiceError(Reason.USER_NOT_FOUND, message, metadata={"user_id": user_id})
        return user

    async def _check_administrator_remains(self, transaction: AsyncSession, user: User) -> None:
        # The count's lock lets two administrators who demote each other take turns.
        others = await accounts.count_other_administrators(transaction, user.user_id)
        check_administrator_remains(was=AccountRole(user.role), others_count=others)

    async def _revoke(self, user: User) -> None:
        await self._revocations.note(Revocation(user.user_id, user.token_epoch, user.suspend_time is not None))

    async def _tiers(self, users: Sequence[User]) -> Sequence[int]:
        if not users:
            return ()
        request = BatchGetTiersRequest(account_ids=[str(user.account_id) for user in users])
        return (await self._ledger.BatchGetTiers(request)).tiers
