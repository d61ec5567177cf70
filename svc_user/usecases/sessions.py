"""Begins sessions and makes their tokens: for passwords, providers and second factors alike."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.user.v1 import auth_service_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.revocations import account_suspended
from svc_common.scopes import RECOVER
from svc_common.tokens import AccessTokenIssuer
from svc_user import domain
from svc_user.domain import PresentedToken
from svc_user.domain import second_factors as factor_rules
from svc_user.domain.audit import AuditKind
from svc_user.store import queries
from svc_user.store.models import RefreshToken, Session, User
from svc_user.usecases.audit import AuditTrail, by_user
from svc_user.usecases.challenges import Challenges
from svc_user.usecases.client import ClientOfCall
from svc_user.usecases.second_factors import SecondFactors

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Holds what tokens are made of, so that tests can replace time and chance."""

    issuer: AccessTokenIssuer
    random_bytes: Callable[[int], bytes]
    clock: Callable[[], datetime]


class Sessions:
    """Begins sessions, in transactions of their owner's account."""

    def __init__(
        self,
        *,
        tokens: TokenSource,
        client: ClientOfCall,
        factors: SecondFactors,
        challenges: Challenges,
        audit: AuditTrail,
    ) -> None:
        """Takes what tokens are made of, and what a second step needs."""
        self._tokens = tokens
        self._client = client
        self._factors = factors
        self._challenges = challenges
        self._audit = audit

    async def begin(self, transaction: AsyncSession, user: User, *, way: str) -> auth_service_pb2.TokenPair:
        """Begins the session of a user who took the first step in some way, or asks for the second one.

        Raises ACCOUNT_SUSPENDED.
        """
        if user.suspend_time is not None:
            raise account_suspended()
        if await self._factors.is_on(transaction, user):
            challenge = auth_service_pb2.SecondFactorChallenge(
                challenge=self._challenges.issue(user, way, self._tokens.clock()),
                expires_in=int(factor_rules.CHALLENGE_LIFETIME.total_seconds()),
            )
            return auth_service_pb2.TokenPair(second_factor=challenge)
        return await self._begin(transaction, user, way, has_second_factor=False)

    async def begin_with_second_factor(
        self, transaction: AsyncSession, user: User, *, way: str
    ) -> auth_service_pb2.TokenPair:
        """Begins the session of a user who took both steps. Raises ACCOUNT_SUSPENDED."""
        if user.suspend_time is not None:
            raise account_suspended()
        return await self._begin(transaction, user, way, has_second_factor=True)

    async def _begin(
        self, transaction: AsyncSession, user: User, way: str, *, has_second_factor: bool
    ) -> auth_service_pb2.TokenPair:
        session = self._new_session(user)
        await queries.insert_session(transaction, session)
        refresh_token = await self.new_refresh_token(transaction, user.account_id, session.session_id, 1)
        about = {"session_id": str(session.session_id), "way": way}
        await self._audit.add(
            transaction, AuditKind.SIGNED_IN, user.account_id, actor=by_user(user.user_id), after=about
        )
        _log.info("session.began", user_id=str(user.user_id), session_id=str(session.session_id))
        return self._pair(
            session,
            AccountRole(user.role),
            user.token_epoch,
            refresh_token,
            has_second_factor=has_second_factor,
            is_closed=user.erase_time is not None,
        )

    async def rotate(self, transaction: AsyncSession, presented: PresentedToken, now: datetime) -> str:
        """Begins the next generation of a session, and returns its first refresh token."""
        expire_time = domain.session_expire_time(presented.create_time, now)
        await queries.begin_generation(
            transaction,
            presented.session_id,
            now,
            expire_time,
            user_agent=self._client.user_agent,
            network=self._client.network,
        )
        return await self.new_refresh_token(
            transaction, presented.account_id, presented.session_id, presented.generation + 1
        )

    async def new_refresh_token(
        self, transaction: AsyncSession, account_id: UUID, session_id: UUID, generation: int
    ) -> str:
        """Returns a refresh token as the client gets it, and stores what recognises it."""
        token = domain.format_refresh_token(self._tokens.random_bytes(domain.REFRESH_SECRET_BYTES))
        row = RefreshToken(
            token_hash=domain.hash_refresh_token(token),
            account_id=account_id,
            session_id=session_id,
            generation=generation,
            create_time=self._tokens.clock(),
        )
        await queries.insert_refresh_token(transaction, row)
        return token

    def renewed(self, presented: PresentedToken, refresh_token: str) -> auth_service_pb2.TokenPair:
        """Returns the tokens of a session that goes on, with the role that its user has now."""
        return self._pair(
            presented,
            AccountRole(presented.role),
            presented.token_epoch,
            refresh_token,
            has_second_factor=presented.has_second_factor,
            is_closed=presented.is_closed,
        )

    def _pair(
        self,
        session: Session | PresentedToken,
        held: AccountRole,
        epoch: int,
        refresh_token: str,
        *,
        has_second_factor: bool,
        is_closed: bool,
    ) -> auth_service_pb2.TokenPair:
        """Returns the tokens of a session. Those of a closed account are good for opening it again only."""
        issuer = self._tokens.issuer
        role, withheld_role = factor_rules.granted_role(
            held, is_required=self._factors.are_required, has_factor=has_second_factor
        )
        access_token = issuer.issue(
            session.user_id,
            session.account_id,
            session.session_id,
            self._tokens.clock(),
            scopes={RECOVER} if is_closed else None,
            role=role,
            withheld_role=withheld_role,
            epoch=epoch,
        )
        return auth_service_pb2.TokenPair(
            access_token=access_token,
            refresh_token=refresh_token,
            token_type="bearer",  # noqa: S106 - the kind of token, not a secret
            expires_in=int(issuer.lifetime.total_seconds()),
        )

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
            user_agent=self._client.user_agent,
            network=self._client.network,
        )
