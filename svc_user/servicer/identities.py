"""Serves IdentityService: signing in at a provider, and the identities that are linked to an account.

An identity is a provider and the provider's own id of an account there. An e-mail address never leads from one to a user:
whoever holds it at the provider needn't be who registered it here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.user.v1 import auth_service_pb2, identity_pb2, identity_service_pb2, identity_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user, request_header
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_common.tickets import Tickets
from svc_user.domain import MailKind, choose_locale, federation
from svc_user.domain.audit import AuditKind
from svc_user.domain.federation import Attempt, Cause, Loopback, Profile, Provider
from svc_user.messages import PROVIDERS, identity_message, provider_value
from svc_user.providers import OAuthProvider, unavailable
from svc_user.servicer.throttle import Throttle
from svc_user.servicer.users import get_caller
from svc_user.store import outbox, queries
from svc_user.store.models import Identity, User
from svc_user.usecases import WelcomeCredits
from svc_user.usecases.audit import AuditTrail, by_user
from svc_user.usecases.sessions import Sessions

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignInParts:
    """Holds what signing in at a provider is made of, so that tests can replace time and chance."""

    providers: Mapping[Provider, OAuthProvider]
    studio_url: str
    attempts: Tickets
    codes: Tickets
    sessions: Sessions
    audit: AuditTrail
    announce_mail: Callable[[], None]
    welcome: WelcomeCredits
    random_bytes: Callable[[int], bytes]
    clock: Callable[[], datetime]

    def secret(self) -> str:
        """Returns a new secret."""
        return federation.format_secret(self.random_bytes(federation.SECRET_BYTES))

    def provider(self, provider: Provider) -> OAuthProvider:
        """Returns a provider; raises PROVIDER_NOT_CONFIGURED."""
        if provider not in self.providers:
            raise federation.not_configured(provider)
        return self.providers[provider]


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Implements pingvas.user.v1.IdentityService."""

    def __init__(self, database: Database, parts: SignInParts, throttle: Throttle, page_tokens: PageTokens) -> None:
        """Takes the database under the requests role."""
        self._database = database
        self._parts = parts
        self._throttle = throttle
        self._page_tokens = page_tokens

    async def GetProviders(
        self, _request: identity_service_pb2.GetProvidersRequest, _context: object
    ) -> identity_service_pb2.ProviderSet:
        """Returns the providers that are configured."""
        providers = map(provider_value, self._parts.providers)
        studio_url = self._parts.studio_url if self._parts.providers else ""
        return identity_service_pb2.ProviderSet(providers=providers, studio_url=studio_url)

    async def BeginSignIn(
        self, request: identity_service_pb2.BeginSignInRequest, context: object
    ) -> identity_service_pb2.SignInAttempt:
        """Begins an attempt to sign in, of a browser or of a command line."""
        await self._throttle.provider_sign_in(context)
        asked = request.loopback
        loopback = Loopback(asked.port, asked.code_challenge, asked.state) if request.HasField("loopback") else None
        return await self._begin(PROVIDERS[request.provider], loopback=loopback)

    async def LinkIdentity(
        self, request: identity_service_pb2.LinkIdentityRequest, _context: object
    ) -> identity_service_pb2.SignInAttempt:
        """Begins an attempt that links whoever signs in at the provider to the caller."""
        provider = PROVIDERS[request.provider]
        return await self._begin(provider, user_id=current_user(), account_id=current_account())

    async def CompleteSignIn(
        self, request: identity_service_pb2.CompleteSignInRequest, context: object
    ) -> identity_service_pb2.CompleteSignInResponse:
        """Completes an attempt; a command line that waits is told of a refusal too."""
        await self._throttle.provider_sign_in(context)
        provider = PROVIDERS[request.provider]
        attempt = await self._taken_attempt(provider, request)
        try:
            return await self._completed(attempt, request, context)
        except ServiceError as error:
            _log.info("sign_in.refused", provider=provider.value, refusal=str(error))
            if attempt.loopback is None:
                raise
            refusal = federation.loopback_url(attempt.loopback, "error", error.reason.value)
            return identity_service_pb2.CompleteSignInResponse(loopback_url=refusal)

    async def ExchangeSignInCode(
        self, request: identity_service_pb2.ExchangeSignInCodeRequest, context: object
    ) -> auth_service_pb2.TokenPair:
        """Begins the session of a command line that shows the verifier of its challenge."""
        await self._throttle.provider_sign_in(context)
        ticket = await self._parts.codes.take(request.code)
        if ticket is None or not federation.check_verifier(request.code_verifier, ticket["code_challenge"]):
            raise federation.sign_in_failed(None, Cause.CODE)
        async with self._database.transaction(UUID(ticket["account_id"])) as transaction:
            user = await queries.get_user(transaction, UUID(ticket["user_id"]))
            if user is None:
                raise federation.sign_in_failed(None, Cause.CODE)
            return await self._parts.sessions.begin(transaction, user, way=ticket["way"])

    async def ListIdentities(
        self, request: identity_service_pb2.ListIdentitiesRequest, _context: object
    ) -> identity_service_pb2.ListIdentitiesResponse:
        """Lists the caller's identities."""
        user_id, size = current_user(), page_size(request.page_size)
        scope = f"identities:{user_id}"
        after = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, user_id)
            found = await queries.list_identities(transaction, user_id, after=after, limit=size + 1)
        page, next_page_token = self._page_tokens.cut(found, size, scope, _place)
        return identity_service_pb2.ListIdentitiesResponse(
            identities=map(identity_message, page),
            next_page_token=next_page_token,
            has_password=user.password_hash is not None,
        )

    async def UnlinkIdentity(
        self, request: identity_service_pb2.UnlinkIdentityRequest, _context: object
    ) -> identity_service_pb2.UnlinkIdentityResponse:
        """Removes an identity unless it is the last way in; the user's row is locked, so that two calls take turns."""
        user_id, identity_id = current_user(), UUID(request.identity_id)
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, user_id, is_locked=True)
            if await queries.delete_identity(transaction, user_id, identity_id):
                left = await queries.list_identities(transaction, user_id, after=None, limit=1)
                # Raising undoes the deletion.
                federation.check_way_in(has_password=user.password_hash is not None, identity_count=len(left))
                about = {"identity_id": str(identity_id)}
                await self._parts.audit.add(transaction, AuditKind.IDENTITY_UNLINKED, user.account_id, before=about)
                await self._mail(transaction, user, MailKind.IDENTITY_UNLINKED)
                _log.info("identity.unlinked", user_id=str(user_id), identity_id=str(identity_id))
        self._parts.announce_mail()
        return identity_service_pb2.UnlinkIdentityResponse()

    async def _begin(
        self,
        provider: Provider,
        *,
        loopback: Loopback | None = None,
        user_id: UUID | None = None,
        account_id: UUID | None = None,
    ) -> identity_service_pb2.SignInAttempt:
        oauth_provider = self._parts.provider(provider)
        state, browser_secret = self._parts.secret(), self._parts.secret()
        attempt = Attempt(
            provider=provider,
            browser_hash=federation.hash_secret(browser_secret),
            nonce=self._parts.secret(),
            code_verifier=self._parts.secret(),
            loopback=loopback,
            linked_user_id=user_id,
            linked_account_id=account_id,
        )
        authorization_url = await oauth_provider.authorization_url(attempt, state)
        await self._parts.attempts.put(state, attempt.to_document(), federation.ATTEMPT_LIFETIME)
        return identity_service_pb2.SignInAttempt(authorization_url=authorization_url, browser_secret=browser_secret)

    async def _taken_attempt(self, provider: Provider, request: identity_service_pb2.CompleteSignInRequest) -> Attempt:
        """Returns the attempt that a state belongs to, which is used up by that."""
        self._parts.provider(provider)
        document = await self._parts.attempts.take(request.state)
        if document is None:
            raise federation.sign_in_failed(provider, Cause.STATE)
        attempt = Attempt.from_document(document)
        attempt.check(provider, request.browser_secret)
        return attempt

    async def _completed(
        self, attempt: Attempt, request: identity_service_pb2.CompleteSignInRequest, context: object
    ) -> identity_service_pb2.CompleteSignInResponse:
        if request.error in federation.UNAVAILABLE_ERRORS:
            raise unavailable(attempt.provider)
        if request.error or not request.code:
            raise federation.sign_in_failed(attempt.provider, federation.cause_of_error(request.error))
        profile = await self._parts.provider(attempt.provider).profile(attempt, request.code)
        if attempt.linked_user_id and attempt.linked_account_id:
            linked = await self._link(attempt.provider, profile, attempt.linked_user_id, attempt.linked_account_id)
            return identity_service_pb2.CompleteSignInResponse(linked=linked)
        user = await self._user_of(attempt.provider, profile, context)
        if attempt.loopback:
            address = await self._code_address(attempt, attempt.loopback, user)
            return identity_service_pb2.CompleteSignInResponse(loopback_url=address)
        async with self._database.transaction(user.account_id) as transaction:
            tokens = await self._parts.sessions.begin(transaction, user, way=attempt.provider.value)
        return identity_service_pb2.CompleteSignInResponse(tokens=tokens)

    async def _code_address(self, attempt: Attempt, loopback: Loopback, user: User) -> str:
        code = self._parts.secret()
        ticket = {
            "user_id": str(user.user_id),
            "account_id": str(user.account_id),
            "code_challenge": loopback.code_challenge,
            "way": attempt.provider.value,
        }
        await self._parts.codes.put(code, ticket, federation.CODE_LIFETIME)
        return federation.loopback_url(loopback, "code", code)

    async def _link(
        self, provider: Provider, profile: Profile, user_id: UUID, account_id: UUID
    ) -> identity_pb2.Identity:
        """Links an identity; one that is linked to the same user already stays as it is."""
        identity = self._new_identity(provider, profile, user_id, account_id)
        async with self._database.transaction(account_id) as transaction:
            user = await get_caller(transaction, user_id)
            is_new = await queries.insert_identity(transaction, identity)
            if is_new:
                about = {"identity_id": str(identity.identity_id), "provider": provider.value}
                actor = by_user(user_id)
                await self._parts.audit.add(
                    transaction, AuditKind.IDENTITY_LINKED, account_id, actor=actor, after=about
                )
                await self._mail(transaction, user, MailKind.IDENTITY_LINKED)
            else:
                owner = await queries.find_identity(transaction, provider.value, profile.subject)
                if owner is None or owner.user_id != user_id:
                    raise federation.identity_taken(provider)
                identity = owner
        if is_new:
            self._parts.announce_mail()
            _log.info("identity.linked", user_id=str(user_id), provider=provider.value)
        return identity_message(identity)

    async def _user_of(self, provider: Provider, profile: Profile, context: object) -> User:
        """Returns the user whom an identity signs in, who is made at the first time."""
        user = await self._find_user(provider, profile)
        if user is None:
            await self._register(provider, profile, context)
            # With what the database adds to a new row; or a racing call registered the same person first.
            user = await self._find_user(provider, profile)
        if user is None:
            raise federation.email_taken(provider)
        return user

    async def _find_user(self, provider: Provider, profile: Profile) -> User | None:
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_identity(transaction, provider.value, profile.subject)
            return await queries.find_user_by_identity(transaction, provider.value, profile.subject)

    async def _register(self, provider: Provider, profile: Profile, context: object) -> None:
        """Registers a user without a password, unless the address is taken."""
        email = federation.require_verified_email(provider, profile)
        origin = await self._throttle.register(email, context, sends_mail=False)
        user_id = new_id()
        user = User(
            user_id=user_id,
            account_id=user_id,
            email=email,
            email_verified=True,
            display_name=federation.display_name_of(profile),
            password_hash=None,
            create_time=self._parts.clock(),
            locale=choose_locale("", request_header("accept-language") or ""),
        )
        identity = self._new_identity(provider, profile, user_id, user_id)
        async with self._database.transaction(user_id) as transaction:
            if not await queries.insert_user(transaction, user):
                return
            if not await queries.insert_identity(transaction, identity):
                # Linked to somebody else since we looked.
                raise federation.identity_taken(provider)
            about = {"identity_id": str(identity.identity_id), "provider": provider.value}
            await self._parts.audit.add(transaction, AuditKind.REGISTERED, user_id, actor=by_user(user_id), after=about)
            # The provider vouches for the address, as a mailed link would.
            earns_welcome = await self._parts.welcome.enter(transaction, email, user_id)
        await self._throttle.registered(origin)
        if earns_welcome:
            await self._parts.welcome.grant_at_once(email, user_id)
        _log.info("user.registered", user_id=str(user_id), provider=provider.value)

    async def _mail(self, transaction: AsyncSession, user: User, kind: MailKind) -> None:
        await outbox.insert_mail(transaction, new_id(), user.email, kind, self._parts.clock())

    def _new_identity(self, provider: Provider, profile: Profile, user_id: UUID, account_id: UUID) -> Identity:
        return Identity(
            identity_id=new_id(),
            account_id=account_id,
            user_id=user_id,
            provider=provider.value,
            subject=profile.subject,
            email=profile.email,
            create_time=self._parts.clock(),
        )


def _place(identity: Identity) -> tuple[str, str]:
    return identity.create_time.isoformat(), str(identity.identity_id)
