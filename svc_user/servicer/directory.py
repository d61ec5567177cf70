"""Serves UserDirectoryService: finding users, and making the first administrator, for the platform's operator."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.user.v1 import user_directory_service_pb2, user_directory_service_pb2_grpc, user_pb2

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.revocations import Revocation, Revocations
from svc_user import domain
from svc_user.domain.audit import NOBODY, AuditKind
from svc_user.messages import audit_kind, user_message
from svc_user.servicer.passwords import PasswordHasher
from svc_user.store import accounts, queries
from svc_user.store.models import User
from svc_user.usecases.audit import AuditTrail, Client, by_user

_log: Final = structlog.get_logger()


class UserDirectoryServicer(user_directory_service_pb2_grpc.UserDirectoryServiceServicer):
    """Implements pingvas.user.v1.UserDirectoryService."""

    def __init__(
        self,
        *,
        database: Database,
        tasks_database: Database,
        passwords: PasswordHasher,
        revocations: Revocations,
        audit: AuditTrail,
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under both roles: a look-up needs one user's rows, like a login; a role is given by tasks."""
        self._database = database
        self._tasks_database = tasks_database
        self._passwords = passwords
        self._revocations = revocations
        self._audit = audit
        self._clock = clock

    async def LookupUser(
        self, request: user_directory_service_pb2.LookupUserRequest, _context: object
    ) -> user_pb2.User:
        """Returns the user with an address."""
        email = domain.normalise_email(request.email)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_email(transaction, email)
            user = await queries.find_user_by_email(transaction, email)
        if user is None:
            message = "Nobody registered with this e-mail address; check its spelling."
            raise ServiceError(Reason.USER_NOT_FOUND, message, metadata={"email": email})
        return user_message(user)

    async def EnsureAdministrator(
        self, request: user_directory_service_pb2.EnsureAdministratorRequest, _context: object
    ) -> user_directory_service_pb2.EnsureAdministratorResponse:
        """Makes the first administrator; whoever comes second finds one and changes nothing."""
        response = user_directory_service_pb2.EnsureAdministratorResponse
        email = domain.normalise_email(request.email)
        async with self._tasks_database.transaction() as transaction:
            if await accounts.count_other_administrators(transaction, None):
                return response(is_new=False)
        await self._register(email, request.password)
        async with self._tasks_database.transaction() as transaction:
            user = await accounts.find_user_by_email(transaction, email)
            if user is None or await accounts.count_other_administrators(transaction, None):
                return response(is_new=False)
            before, after = {"role": user.role}, {"role": AccountRole.ADMINISTRATOR.value}
            await self._audit.add(transaction, AuditKind.ROLE_CHANGED, user.account_id, before=before, after=after)
            user.role = AccountRole.ADMINISTRATOR.value
            user.token_epoch += 1
        await self._revocations.note(Revocation(user.user_id, user.token_epoch, is_suspended=False))
        _log.info("account.role_set", user_id=str(user.user_id), role=user.role, by="operator")
        return response(is_new=True)

    async def RecordAdministration(
        self, request: user_directory_service_pb2.RecordAdministrationRequest, _context: object
    ) -> user_directory_service_pb2.RecordAdministrationResponse:
        """Writes down what an administrator is about to do elsewhere."""
        async with self._tasks_database.transaction() as transaction:
            await self._audit.add(
                transaction,
                audit_kind(request.kind),
                UUID(request.account_id) if request.account_id else NOBODY,
                actor=by_user(UUID(request.user_id)),
                client=Client(request.network, domain.clean_user_agent(request.user_agent)),
                after=request.after,
            )
        return user_directory_service_pb2.RecordAdministrationResponse()

    async def _register(self, email: str, password: str) -> None:
        """Registers a user unless somebody has the address."""
        user_id, display_name = new_id(), domain.choose_display_name("", email)
        password_hash = await self._passwords.hash_new(password, field="password", about=(email, display_name))
        user = User(
            user_id=user_id,
            account_id=user_id,
            email=email,
            email_verified=True,
            display_name=display_name,
            password_hash=password_hash,
            create_time=self._clock(),
            locale="en",
        )
        async with self._database.transaction(user_id) as transaction:
            await queries.insert_user(transaction, user)
