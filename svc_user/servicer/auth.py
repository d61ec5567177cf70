"""Serves AuthService: registration, sessions, passwords and the keys that verify access tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog
from pingvas.user.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_caller, current_user, request_header
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.revocations import Revocation, Revocations, account_suspended
from svc_user import domain
from svc_user.domain import LinkPurpose, MailKind, PresentedToken, RefreshOutcome
from svc_user.domain import second_factors as factor_rules
from svc_user.domain.audit import NOBODY, AuditKind
from svc_user.messages import jwk_set_message, user_message
from svc_user.servicer.passwords import PasswordCheck, PasswordHasher
from svc_user.servicer.throttle import Throttle
from svc_user.servicer.users import get_caller
from svc_user.store import api_keys, outbox, queries
from svc_user.store.models import User
from svc_user.usecases import WelcomeCredits
from svc_user.usecases.audit import AuditTrail, by_user
from svc_user.usecases.challenges import Challenges
from svc_user.usecases.second_factors import SecondFactors
from svc_user.usecases.sessions import Sessions, TokenSource

_log = structlog.get_logger()

_PASSWORD: Final = "password"  # noqa: S105 - the name of a way to sign in


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Implements pingvas.user.v1.AuthService."""

    def __init__(
        self,
        *,
        database: Database,
        passwords: PasswordHasher,
        tokens: TokenSource,
        published_keys: Callable[[], Sequence[Mapping[str, str]]],
        sessions: Sessions,
        factors: SecondFactors,
        challenges: Challenges,
        audit: AuditTrail,
        revocations: Revocations,
        throttle: Throttle,
        announce_mail: Callable[[], None],
        welcome: WelcomeCredits,
        wants_verified_email: bool,
    ) -> None:
        """Takes the database under the requests role, and what to call when a mail was committed."""
        self._database = database
        self._announce_mail = announce_mail
        self._welcome = welcome
        self._wants_verified_email = wants_verified_email
        self._passwords = passwords
        self._tokens = tokens
        self._published_keys = published_keys
        self._sessions = sessions
        self._factors = factors
        self._challenges = challenges
        self._audit = audit
        self._revocations = revocations
        self._throttle = throttle

    async def Register(self, request: auth_service_pb2.RegisterRequest, context: object) -> user_pb2.User:
        """Registers a user, or tells the owner of the address by mail; the answer doesn't say which."""
        email = domain.normalise_email(request.email)
        display_name = domain.choose_display_name(request.display_name, email)
        origin = await self._throttle.register(email, context, sends_mail=True)
        about = (email, display_name)
        password_hash = await self._passwords.hash_new(request.password, field="password", about=about)
        user_id = new_id()
        user = User(
            user_id=user_id,
            account_id=user_id,
            email=email,
            email_verified=False,
            display_name=display_name,
            password_hash=password_hash,
            create_time=self._tokens.clock(),
            locale=domain.choose_locale(request.locale, request_header("accept-language") or ""),
        )
        async with self._database.transaction(user.account_id) as transaction:
            is_new = await queries.insert_user(transaction, user)
            await self._put_mail(transaction, email, MailKind.VERIFY_EMAIL if is_new else MailKind.EMAIL_IN_USE)
            # Written in either case, as all that happens here: nobody's account when somebody has the address.
            await self._audit.add(transaction, AuditKind.REGISTERED, user_id)
        self._announce_mail()
        if is_new:
            await self._throttle.registered(origin)
            _log.info("user.registered", user_id=str(user_id))
        return user_message(user)

    async def Login(self, request: auth_service_pb2.LoginRequest, context: object) -> auth_service_pb2.TokenPair:
        """Checks a password outside of any transaction, so that no connection waits for it, then begins a session."""
        email, password = domain.normalise_email(request.email), domain.normalise_password(request.password)
        async with self._throttle.login(email, context):
            user, check = await self._verified(email, password)
        async with self._database.transaction(user.account_id) as transaction:
            if check.new_hash:
                await queries.replace_password_hash(transaction, user, check.new_hash)
            return await self._sessions.begin(transaction, user, way=_PASSWORD)

    async def VerifySecondFactor(
        self, request: auth_service_pb2.VerifySecondFactorRequest, context: object
    ) -> auth_service_pb2.TokenPair:
        """Begins the session of somebody who took the first step, with a code that is used up by that."""
        challenged = self._challenges.read(request.challenge, self._tokens.clock())
        async with self._database.transaction(challenged.account_id) as transaction:
            user = await queries.get_user(transaction, challenged.user_id)
        if user is None or user.token_epoch != challenged.epoch:
            raise factor_rules.failed("challenge")
        async with self._throttle.second_factor(user.email, context):
            async with self._database.transaction(user.account_id) as transaction:
                if await self._factors.use(transaction, user, request.code):
                    return await self._sessions.begin_with_second_factor(transaction, user, way=challenged.way)
            await self._note_failure(AuditKind.SECOND_FACTOR_FAILED, user.account_id)
            raise factor_rules.failed("code")

    async def Refresh(self, request: auth_service_pb2.RefreshRequest, context: object) -> auth_service_pb2.TokenPair:
        """Exchanges a refresh token for a pair of the session's newest generation, or revokes the session."""
        await self._throttle.refresh(context)
        token_hash = domain.hash_refresh_token(request.refresh_token)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_refresh_token(transaction, token_hash)
            presented = await queries.find_presented_token(transaction, token_hash)
            if presented is None:
                raise _refresh_token_invalid()
            if presented.suspend_time is not None:
                raise account_suspended()
            refresh_token = await self._exchange(transaction, presented)
        # Raised only here, after the commit: an exception inside the block would undo the revocation.
        if refresh_token is None:
            self._announce_mail()
            _log.warning("session.revoked", user_id=str(presented.user_id), session_id=str(presented.session_id))
            raise _refresh_token_reused()
        return self._sessions.renewed(presented, refresh_token)

    async def Logout(
        self, request: auth_service_pb2.LogoutRequest, _context: object
    ) -> auth_service_pb2.LogoutResponse:
        """Revokes the session of a refresh token, used or not; of an unknown one there is nothing to revoke."""
        token_hash = domain.hash_refresh_token(request.refresh_token)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_refresh_token(transaction, token_hash)
            presented = await queries.find_presented_token(transaction, token_hash)
            if presented is not None and presented.revoke_time is None:
                await queries.revoke_session(transaction, presented.session_id, self._tokens.clock())
                await self._audit.add(
                    transaction,
                    AuditKind.SIGNED_OUT,
                    presented.account_id,
                    actor=by_user(presented.user_id),
                    before={"session_id": str(presented.session_id)},
                )
        return auth_service_pb2.LogoutResponse()

    async def VerifyEmail(
        self, request: auth_service_pb2.VerifyEmailRequest, context: object
    ) -> auth_service_pb2.VerifyEmailResponse:
        """Confirms the address to which the token was mailed."""
        await self._throttle.link(context)
        token_hash = domain.hash_link_token(request.token)
        async with self._database.transaction() as transaction:
            user = await self._user_of_link(transaction, token_hash, LinkPurpose.VERIFY_EMAIL)
            await queries.use_link_token(transaction, token_hash)
            earns_welcome = await self._confirm(transaction, user)
            actor = by_user(user.user_id)
            await self._audit.add(transaction, AuditKind.EMAIL_VERIFIED, user.account_id, actor=actor)
        if earns_welcome:
            await self._welcome.grant_at_once(user.email, user.account_id)
        _log.info("user.verified", user_id=str(user.user_id))
        return auth_service_pb2.VerifyEmailResponse(email=user.email)

    async def ResendVerification(
        self, request: auth_service_pb2.ResendVerificationRequest, context: object
    ) -> auth_service_pb2.ResendVerificationResponse:
        """Asks for a mail with another link; whether anybody needs it is found out when it is sent."""
        await self._ask_for_mail(request.email, MailKind.VERIFY_EMAIL, context)
        return auth_service_pb2.ResendVerificationResponse()

    async def ForgotPassword(
        self, request: auth_service_pb2.ForgotPasswordRequest, context: object
    ) -> auth_service_pb2.ForgotPasswordResponse:
        """Asks for a mail with a link; whether anybody has the address is found out when it is sent."""
        await self._ask_for_mail(request.email, MailKind.RESET_PASSWORD, context)
        return auth_service_pb2.ForgotPasswordResponse()

    async def ResetPassword(
        self, request: auth_service_pb2.ResetPasswordRequest, context: object
    ) -> auth_service_pb2.ResetPasswordResponse:
        """Sets a password by a mailed token and ends every session; hashes outside of any transaction."""
        await self._throttle.link(context)
        token_hash = domain.hash_link_token(request.token)
        async with self._database.transaction() as transaction:
            user = await self._user_of_link(transaction, token_hash, LinkPurpose.RESET_PASSWORD)
        new_hash = await self._new_password_hash(user, request.new_password)
        async with self._database.transaction(user.account_id) as transaction:
            if not await queries.use_link_token(transaction, token_hash):
                raise _link_invalid()
            earns_welcome = await self._confirm(transaction, user)
            # Whoever the owner locks out by this may have made some.
            await api_keys.delete_api_keys(transaction, user.user_id)
            if not user.email_verified:
                # Nobody had shown yet that the address is theirs: whoever linked an identity needn't be its owner.
                await queries.delete_identities(transaction, user.user_id)
            await self._replace_password(transaction, user, new_hash, spared_session=None)
            actor = by_user(user.user_id)
            await self._audit.add(transaction, AuditKind.PASSWORD_RESET, user.account_id, actor=actor)
            epoch = await queries.begin_epoch(transaction, user.user_id)
        await self._revocations.note(Revocation(user.user_id, epoch, user.suspend_time is not None))
        self._announce_mail()
        if earns_welcome:
            await self._welcome.grant_at_once(user.email, user.account_id)
        _log.info("password.reset", user_id=str(user.user_id))
        return auth_service_pb2.ResetPasswordResponse(email=user.email)

    async def ChangePassword(
        self, request: auth_service_pb2.ChangePasswordRequest, context: object
    ) -> auth_service_pb2.ChangePasswordResponse:
        """Replaces the caller's password and ends their other sessions."""
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user())
        if user.password_hash is None:
            raise ServiceError(
                Reason.LOGIN_FAILED, "You have no password yet. Ask for a mail to set one, by ForgotPassword."
            )
        async with self._throttle.login(user.email, context):
            current_password = domain.normalise_password(request.current_password)
            if not (await self._passwords.check(user.password_hash, current_password)).matches:
                raise ServiceError(Reason.LOGIN_FAILED, "The current password is wrong.")
        new_hash = await self._new_password_hash(user, request.new_password)
        async with self._database.transaction(user.account_id) as transaction:
            await self._replace_password(transaction, user, new_hash, spared_session=current_caller().session_id)
            await self._audit.add(transaction, AuditKind.PASSWORD_CHANGED, user.account_id)
        self._announce_mail()
        _log.info("password.changed", user_id=str(user.user_id))
        return auth_service_pb2.ChangePasswordResponse()

    async def GetJwks(self, _request: auth_service_pb2.GetJwksRequest, _context: object) -> auth_service_pb2.JwkSet:
        """Publishes the keys that verify access tokens at the moment."""
        return jwk_set_message(self._published_keys())

    async def _verified(self, email: str, password: bytes) -> tuple[User, PasswordCheck]:
        user = await self._find_user(email)
        check = await self._passwords.check(user.password_hash if user else None, password)
        if user is None or not check.matches or (self._wants_verified_email and not user.email_verified):
            # For an address that nobody has as well, or the time would tell.
            await self._note_failure(AuditKind.SIGN_IN_FAILED, user.account_id if user else NOBODY)
            raise self._login_failed()
        return user, check

    async def _note_failure(self, kind: AuditKind, account_id: UUID) -> None:
        async with self._database.transaction(account_id) as transaction:
            await self._audit.add(transaction, kind, account_id)

    def _login_failed(self) -> ServiceError:
        # One text for every cause: who registered an address learns from none whether somebody had it before.
        message = "The e-mail address and the password don't belong together"
        if self._wants_verified_email:
            message += ", or the address isn't confirmed yet: open the link that was mailed to it"
        return ServiceError(Reason.LOGIN_FAILED, f"{message}.")

    async def _find_user(self, email: str) -> User | None:
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_email(transaction, email)
            return await queries.find_user_by_email(transaction, email)

    async def _put_mail(self, transaction: AsyncSession, email: str, kind: MailKind) -> None:
        await outbox.insert_mail(transaction, new_id(), email, kind, self._tokens.clock())

    async def _ask_for_mail(self, address: str, kind: MailKind, context: object) -> None:
        email = domain.normalise_email(address)
        await self._throttle.mail(email, context)
        async with self._database.transaction() as transaction:
            await self._put_mail(transaction, email, kind)
        self._announce_mail()

    async def _user_of_link(self, transaction: AsyncSession, token_hash: bytes, purpose: LinkPurpose) -> User:
        """Returns the user of a token that is good for a purpose, and makes their account the transaction's."""
        await queries.enter_account_by_link_token(transaction, token_hash)
        user = await queries.find_user_of_link(transaction, token_hash, purpose, self._tokens.clock())
        if user is None:
            raise _link_invalid()
        return user

    async def _confirm(self, transaction: AsyncSession, user: User) -> bool:
        """Marks an address as confirmed and tells whether its owner earned the credits that a person gets once."""
        is_new = await queries.mark_email_verified(transaction, user.user_id)
        return is_new and await self._welcome.enter(transaction, user.email, user.account_id)

    async def _new_password_hash(self, user: User, password: str) -> str:
        about = (user.email, user.display_name)
        return await self._passwords.hash_new(password, field="new_password", about=about)

    async def _replace_password(
        self, transaction: AsyncSession, user: User, new_hash: str, *, spared_session: UUID | None
    ) -> None:
        """Stores a new password and ends what the old one allowed; the owner is told by mail."""
        await queries.set_password(transaction, user.user_id, new_hash)
        await queries.delete_link_tokens(transaction, user.user_id)
        await queries.revoke_sessions(transaction, user.user_id, self._tokens.clock(), spared=spared_session)
        await self._put_mail(transaction, user.email, MailKind.PASSWORD_CHANGED)

    async def _exchange(self, transaction: AsyncSession, presented: PresentedToken) -> str | None:
        """Returns a new refresh token, or None when the session was revoked; its row is locked by the caller."""
        # Read after the lock was waited for: a rotation that was ahead of us must not lie in our future.
        now = self._tokens.clock()
        match domain.decide_refresh(presented, now):
            case RefreshOutcome.REFUSED:
                raise _refresh_token_invalid()
            case RefreshOutcome.REUSED:
                await queries.revoke_session(transaction, presented.session_id, now)
                if (user := await queries.get_user(transaction, presented.user_id)) is not None:
                    await self._put_mail(transaction, user.email, MailKind.SESSION_REVOKED)
                about = {"session_id": str(presented.session_id)}
                await self._audit.add(transaction, AuditKind.REFRESH_TOKEN_REUSED, presented.account_id, before=about)
                return None
            case RefreshOutcome.ROTATE:
                return await self._sessions.rotate(transaction, presented, now)
            case RefreshOutcome.REISSUE:
                return await self._sessions.new_refresh_token(
                    transaction, presented.account_id, presented.session_id, presented.generation
                )


def _link_invalid() -> ServiceError:
    return ServiceError(Reason.LINK_INVALID, "The link is unknown, used or expired. Ask for another one.")


def _refresh_token_invalid() -> ServiceError:
    return ServiceError(Reason.REFRESH_TOKEN_INVALID, "The refresh token is unknown, expired or revoked; log in again.")


def _refresh_token_reused() -> ServiceError:
    return ServiceError(
        Reason.REFRESH_TOKEN_REUSED,
        "The refresh token was used before, so a copy may be in other hands; the session is revoked, log in again.",
    )
