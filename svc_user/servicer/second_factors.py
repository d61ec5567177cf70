"""Serves SecondFactorService: the caller's authenticator and recovery codes."""

from collections.abc import Callable
from datetime import datetime

import structlog
from pingvas.user.v1 import second_factor_service_pb2, second_factor_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.account_roles import AccountRole
from svc_common.caller import current_account, current_caller, current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.revocations import Revocation, Revocations
from svc_user.domain import MailKind
from svc_user.domain import second_factors as rules
from svc_user.domain.audit import AuditKind
from svc_user.servicer.throttle import Throttle
from svc_user.servicer.users import get_caller
from svc_user.store import outbox, queries
from svc_user.store import second_factors as store
from svc_user.store.models import User
from svc_user.usecases.audit import AuditTrail
from svc_user.usecases.second_factors import SecondFactors

_log = structlog.get_logger()


class SecondFactorServicer(second_factor_service_pb2_grpc.SecondFactorServiceServicer):
    """Implements pingvas.user.v1.SecondFactorService."""

    def __init__(
        self,
        *,
        database: Database,
        factors: SecondFactors,
        throttle: Throttle,
        audit: AuditTrail,
        revocations: Revocations,
        announce_mail: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role, and what to call when a mail was committed."""
        self._database = database
        self._factors = factors
        self._throttle = throttle
        self._audit = audit
        self._revocations = revocations
        self._announce_mail = announce_mail
        self._clock = clock

    async def GetSecondFactor(
        self, _request: second_factor_service_pb2.GetSecondFactorRequest, _context: object
    ) -> second_factor_service_pb2.SecondFactor:
        """Tells whether the caller has one."""
        async with self._database.transaction(current_account()) as transaction:
            return await self._message(transaction, await get_caller(transaction, current_user()))

    async def BeginSecondFactor(
        self, _request: second_factor_service_pb2.BeginSecondFactorRequest, _context: object
    ) -> second_factor_service_pb2.SecondFactorSetup:
        """Draws a secret."""
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user())
            secret = await self._factors.begin(transaction, user)
        return second_factor_service_pb2.SecondFactorSetup(
            secret=secret, otpauth_url=self._factors.address(user, secret)
        )

    async def ConfirmSecondFactor(
        self, request: second_factor_service_pb2.ConfirmSecondFactorRequest, context: object
    ) -> second_factor_service_pb2.RecoveryCodes:
        """Turns the factor on, and ends the sessions that began without it."""
        user = await self._caller()
        async with (
            self._throttle.second_factor(user.email, context),
            self._database.transaction(user.account_id) as transaction,
        ):
            codes = await self._factors.confirm(transaction, user, request.code)
            if codes is None:
                raise rules.failed("code")
            spared = current_caller().session_id
            await queries.revoke_sessions(transaction, user.user_id, self._clock(), spared=spared)
            epoch = await self._changed(
                transaction, user, AuditKind.SECOND_FACTOR_ENABLED, MailKind.SECOND_FACTOR_ENABLED
            )
        await self._told(user, epoch)
        return second_factor_service_pb2.RecoveryCodes(codes=codes)

    async def DisableSecondFactor(
        self, request: second_factor_service_pb2.DisableSecondFactorRequest, context: object
    ) -> second_factor_service_pb2.SecondFactor:
        """Turns the factor off."""
        user = await self._caller()
        async with (
            self._throttle.second_factor(user.email, context),
            self._database.transaction(user.account_id) as transaction,
        ):
            if not await self._factors.is_on(transaction, user):
                return await self._message(transaction, user)
            if not await self._factors.use(transaction, user, request.code):
                raise rules.failed("code")
            await store.delete_factor(transaction, user.user_id)
            epoch = await self._changed(
                transaction, user, AuditKind.SECOND_FACTOR_DISABLED, MailKind.SECOND_FACTOR_DISABLED
            )
            message = await self._message(transaction, user)
        await self._told(user, epoch)
        return message

    async def ReplaceRecoveryCodes(
        self, request: second_factor_service_pb2.ReplaceRecoveryCodesRequest, context: object
    ) -> second_factor_service_pb2.RecoveryCodes:
        """Draws new recovery codes."""
        user = await self._caller()
        async with (
            self._throttle.second_factor(user.email, context),
            self._database.transaction(user.account_id) as transaction,
        ):
            if not await self._factors.is_on(transaction, user):
                raise rules.failed("off")
            if not await self._factors.use(transaction, user, request.code):
                raise rules.failed("code")
            codes = await self._factors.replace_recovery_codes(transaction, user)
            await self._audit.add(transaction, AuditKind.RECOVERY_CODES_REPLACED, user.account_id)
        return second_factor_service_pb2.RecoveryCodes(codes=codes)

    async def _caller(self) -> User:
        async with self._database.transaction(current_account()) as transaction:
            return await get_caller(transaction, current_user())

    async def _changed(self, transaction: AsyncSession, user: User, kind: AuditKind, mail: MailKind) -> int:
        """Writes down and mails what was changed, and returns the epoch with which all access tokens end."""
        await self._audit.add(transaction, kind, user.account_id)
        await outbox.insert_mail(transaction, new_id(), user.email, mail, self._clock())
        return await queries.begin_epoch(transaction, user.user_id)

    async def _told(self, user: User, epoch: int) -> None:
        # Tokens may name a role that counts with a factor only, or withhold one: clients get new ones.
        await self._revocations.note(Revocation(user.user_id, epoch, is_suspended=False))
        self._announce_mail()

    async def _message(self, transaction: AsyncSession, user: User) -> second_factor_service_pb2.SecondFactor:
        factor = await store.find_factor(transaction, user.user_id)
        is_administrator = AccountRole(user.role) is AccountRole.ADMINISTRATOR
        message = second_factor_service_pb2.SecondFactor(is_required=is_administrator and self._factors.are_required)
        if factor is not None and factor.confirm_time is not None:
            message.is_on = True
            message.confirm_time.FromDatetime(factor.confirm_time)
            message.recovery_code_count = await store.count_recovery_codes(transaction, user.user_id)
        return message
