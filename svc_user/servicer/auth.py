"""Serves AuthService: registration, sessions and the keys that verify access tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from pingvas.user.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.tokens import AccessTokenIssuer
from svc_user import domain
from svc_user.domain import PresentedToken, RefreshOutcome
from svc_user.servicer.messages import user_message
from svc_user.servicer.passwords import PasswordCheck, PasswordHasher
from svc_user.servicer.throttle import Throttle
from svc_user.store import queries
from svc_user.store.models import RefreshToken, Session, User

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Holds what tokens are made of, so that tests can replace time and chance."""

    issuer: AccessTokenIssuer
    jwk_set: auth_service_pb2.JwkSet
    random_bytes: Callable[[int], bytes]
    clock: Callable[[], datetime]


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Implements pingvas.user.v1.AuthService."""

    def __init__(self, database: Database, passwords: PasswordHasher, tokens: TokenSource, throttle: Throttle) -> None:
        """Takes the database under the requests role."""
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._throttle = throttle

    async def Register(self, request: auth_service_pb2.RegisterRequest, context: object) -> user_pb2.User:
        """Registers a user; the address stays unverified and nothing is granted."""
        email = domain.normalise_email(request.email)
        display_name = domain.choose_display_name(request.display_name, email)
        origin = await self._throttle.register(email, context)
        password_hash = await self._passwords.hash(domain.normalise_password(request.password))
        user_id = new_id()
        user = User(
            user_id=user_id,
            account_id=user_id,
            email=email,
            email_verified=False,
            display_name=display_name,
            password_hash=password_hash,
            create_time=self._tokens.clock(),
        )
        async with self._database.transaction(user.account_id) as transaction:
            is_new = await queries.insert_user(transaction, user)
        if not is_new:
            raise ServiceError(Reason.EMAIL_TAKEN, "An account with this e-mail address exists; log in instead.")
        await self._throttle.registered(origin)
        _log.info("user.registered", user_id=str(user_id))
        return user_message(user)

    async def Login(self, request: auth_service_pb2.LoginRequest, context: object) -> auth_service_pb2.TokenPair:
        """Checks a password outside of any transaction, so that no connection waits for it, then begins a session."""
        email, password = domain.normalise_email(request.email), domain.normalise_password(request.password)
        async with self._throttle.login(email, context):
            user, check = await self._verified(email, password)
        session = self._new_session(user)
        refresh_token, row = self._new_token(session.account_id, session.session_id, session.generation)
        async with self._database.transaction(user.account_id) as transaction:
            if check.new_hash:
                await queries.replace_password_hash(transaction, user, check.new_hash)
            await queries.insert_session(transaction, session)
            await queries.insert_refresh_token(transaction, row)
        _log.info("session.began", user_id=str(user.user_id), session_id=str(session.session_id))
        return self._pair(user.user_id, user.account_id, session.session_id, refresh_token)

    async def Refresh(self, request: auth_service_pb2.RefreshRequest, context: object) -> auth_service_pb2.TokenPair:
        """Exchanges a refresh token for a pair of the session's newest generation, or revokes the session."""
        await self._throttle.refresh(context)
        token_hash = domain.hash_refresh_token(request.refresh_token)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_refresh_token(transaction, token_hash)
            presented = await queries.find_presented_token(transaction, token_hash)
            if presented is None:
                raise _refresh_token_invalid()
            refresh_token = await self._exchange(transaction, presented)
        # Raised only here, after the commit: an exception inside the block would undo the revocation.
        if refresh_token is None:
            _log.warning("session.revoked", user_id=str(presented.user_id), session_id=str(presented.session_id))
            raise _refresh_token_reused()
        return self._pair(presented.user_id, presented.account_id, presented.session_id, refresh_token)

    async def Logout(
        self, request: auth_service_pb2.LogoutRequest, _context: object
    ) -> auth_service_pb2.LogoutResponse:
        """Revokes the session of a refresh token, used or not; of an unknown one there is nothing to revoke."""
        token_hash = domain.hash_refresh_token(request.refresh_token)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_refresh_token(transaction, token_hash)
            presented = await queries.find_presented_token(transaction, token_hash)
            if presented is not None:
                await queries.revoke_session(transaction, presented.session_id, self._tokens.clock())
        return auth_service_pb2.LogoutResponse()

    async def GetJwks(self, _request: auth_service_pb2.GetJwksRequest, _context: object) -> auth_service_pb2.JwkSet:
        """Publishes the keys that this process was started with."""
        return self._tokens.jwk_set

    async def _verified(self, email: str, password: bytes) -> tuple[User, PasswordCheck]:
        user = await self._find_user(email)
        check = await self._passwords.check(user.password_hash if user else None, password)
        if user is None or not check.matches:
            raise ServiceError(Reason.LOGIN_FAILED, "The e-mail address and the password don't belong together.")
        return user, check

    async def _find_user(self, email: str) -> User | None:
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_email(transaction, email)
            return await queries.find_user_by_email(transaction, email)

    async def _exchange(self, transaction: AsyncSession, presented: PresentedToken) -> str | None:
        """Returns a new refresh token, or None when the session was revoked; its row is locked by the caller."""
        # Read after the lock was waited for: a rotation that was ahead of us must not lie in our future.
        now = self._tokens.clock()
        generation = presented.generation
        match domain.decide_refresh(presented, now):
            case RefreshOutcome.REFUSED:
                raise _refresh_token_invalid()
            case RefreshOutcome.REUSED:
                await queries.revoke_session(transaction, presented.session_id, now)
                return None
            case RefreshOutcome.ROTATE:
                generation += 1
                expire_time = domain.session_expire_time(presented.create_time, now)
                await queries.begin_generation(transaction, presented.session_id, now, expire_time)
            case RefreshOutcome.REISSUE:
                pass
        refresh_token, row = self._new_token(presented.account_id, presented.session_id, generation)
        await queries.insert_refresh_token(transaction, row)
        return refresh_token

    def _new_session(self, user: User) -> Session:
        now = self._tokens.clock()
        return Session(
            session_id=new_id(),
            account_id=user.account_id,
            user_id=user.user_id,
            generation=1,
            rotate_time=now,
            create_time=now,
            expire_time=domain.session_expire_time(now, now),
            revoke_time=None,
        )

    def _new_token(self, account_id: UUID, session_id: UUID, generation: int) -> tuple[str, RefreshToken]:
        """Returns a refresh token as the client gets it, and the row that recognises it."""
        token = domain.format_refresh_token(self._tokens.random_bytes(domain.REFRESH_SECRET_BYTES))
        row = RefreshToken(
            token_hash=domain.hash_refresh_token(token),
            account_id=account_id,
            session_id=session_id,
            generation=generation,
            create_time=self._tokens.clock(),
        )
        return token, row

    def _pair(
        self, user_id: UUID, account_id: UUID, session_id: UUID, refresh_token: str
    ) -> auth_service_pb2.TokenPair:
        issuer = self._tokens.issuer
        return auth_service_pb2.TokenPair(
            access_token=issuer.issue(user_id, account_id, session_id, self._tokens.clock()),
            refresh_token=refresh_token,
            token_type="bearer",  # noqa: S106 - the kind of token, not a secret
            expires_in=int(issuer.lifetime.total_seconds()),
        )


def _refresh_token_invalid() -> ServiceError:
    return ServiceError(Reason.REFRESH_TOKEN_INVALID, "The refresh token is unknown, expired or revoked; log in again.")


def _refresh_token_reused() -> ServiceError:
    return ServiceError(
        Reason.REFRESH_TOKEN_REUSED,
        "The refresh token was used before, so a copy may be in other hands; the session is revoked, log in again.",
    )
