"""Slows down guessing and flooding at the methods that anybody may call; the policy is the domain's.

Everything here happens before a password is hashed or a row is read.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from svc_common.caller import current_headers
from svc_common.client_address import ClientAddresses
from svc_common.errors import Reason, ServiceError
from svc_common.limits.attempts import Attempt, Budget, Origin, SharedAttempts
from svc_common.limits.buckets import Rate, SharedBuckets
from svc_user.domain.attempts import KNOWN_ORIGIN_MEMORY, AttemptPolicy, Backoff, OriginKeys, origin_keys

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """Holds the policy of failed log-ins, and what one network may call at all, however it ends."""

    attempts: AttemptPolicy
    logins: Rate
    registrations: Rate
    refreshes: Rate
    mail_requests: Rate
    """Methods that mail something, from one network."""
    mails: Rate
    """Mails to one address, whoever asks for them and whether it is anybody's."""
    links: Rate
    """Uses of mailed links from one network."""
    api_keys: Rate
    """API keys that one account makes."""
    exchanges: Rate
    """Exchanges of API keys for tokens from one network."""


class Throttle:
    """Admits calls of the methods that anybody may call, or refuses them with RATE_LIMITED and the time to wait."""

    def __init__(
        self,
        *,
        attempts: SharedAttempts,
        buckets: SharedBuckets,
        addresses: ClientAddresses,
        limits: ThrottleLimits,
        secret: bytes,
    ) -> None:
        """Takes where to count, and a secret of the service that hides addresses in the names of counts."""
        self._attempts = attempts
        self._buckets = buckets
        self._addresses = addresses
        self._limits = limits
        self._secret = secret

    def login(self, email: str, context: Any) -> AbstractAsyncContextManager[None]:
        """Lets a log-in be tried: one that ends without an error makes its origin known, LOGIN_FAILED is a failure.

        Any other end that this service decides on told the caller nothing about the password, and costs nothing. A call
        that is cancelled stays charged: who hangs up in time may have learnt what it wanted.
        """
        return self._attempt(email, context, Reason.LOGIN_FAILED)

    def second_factor(self, email: str, context: Any) -> AbstractAsyncContextManager[None]:
        """Lets a code be tried, as `login` lets a password be; its failures are SECOND_FACTOR_FAILED.

        They are counted apart, or a right password would forgive wrong codes.
        """
        return self._attempt(f"second factor of {email}", context, Reason.SECOND_FACTOR_FAILED)

    @asynccontextmanager
    async def _attempt(self, who: str, context: Any, failure: Reason) -> AsyncIterator[None]:
        keys = self._keys(who, context)
        await self._take("login", keys.network, self._limits.logins)
        attempt = await self._attempts.begin(self._origin(keys))
        if attempt.wait:
            _log.info("login.throttled", own_origin=not attempt.charged, wait_seconds=attempt.wait.total_seconds())
            raise _rate_limited("login", attempt.wait)
        try:
            yield
        except ServiceError as error:
            if error.reason is not failure:
                await self._attempts.void(attempt)
            raise
        await self._succeeded(attempt)

    async def register(self, email: str, context: Any, *, sends_mail: bool) -> OriginKeys:
        """Admits a registration, and returns what `registered` wants."""
        keys = self._keys(email, context)
        await self._take("registration", keys.network, self._limits.registrations)
        if sends_mail:
            await self._take("mail", keys.account, self._limits.mails)
        return keys

    async def registered(self, keys: OriginKeys) -> None:
        """Makes the origin of a new user known."""
        await self._attempts.know(keys.marker, KNOWN_ORIGIN_MEMORY)

    async def provider_sign_in(self, context: Any) -> None:
        """Admits a step of signing in at a provider, which shares the rate of log-ins."""
        await self._take("login", self._keys("", context).network, self._limits.logins)

    async def refresh(self, context: Any) -> None:
        """Admits a refresh."""
        await self._take("refresh", self._keys("", context).network, self._limits.refreshes)

    async def mail(self, email: str, context: Any) -> None:
        """Admits a request for a mail to an address."""
        keys = self._keys(email, context)
        await self._take("mail", keys.network, self._limits.mail_requests)
        await self._take("mail", keys.account, self._limits.mails)

    async def link(self, context: Any) -> None:
        """Admits a use of a mailed link."""
        await self._take("link", self._keys("", context).network, self._limits.links)

    async def api_key(self, account_id: UUID) -> None:
        """Admits the making of an API key."""
        await self._take("api_key", str(account_id), self._limits.api_keys)

    async def exchange(self, context: Any) -> None:
        """Admits an exchange of an API key for a token."""
        await self._take("exchange", self._keys("", context).network, self._limits.exchanges)

    def network(self, context: Any) -> str:
        """Returns the network that a call comes from."""
        return self._addresses.of(current_headers(), context.peer())

    async def _take(self, scope: str, network: str, rate: Rate) -> None:
        grant = await self._buckets.take(f"{scope}:{network}", rate)
        if not grant.tokens:
            raise _rate_limited(scope, grant.wait)

    async def _succeeded(self, attempt: Attempt) -> None:
        own, strange, *_ = (attempt.origin.own, *attempt.origin.shared)
        await self._attempts.succeeded(attempt, cleared=(own, strange), memory=KNOWN_ORIGIN_MEMORY)

    def _keys(self, email: str, context: Any) -> OriginKeys:
        return origin_keys(self._secret, email, self.network(context))

    def _origin(self, keys: OriginKeys) -> Origin:
        policy = self._limits.attempts

        def budget(key: str, backoff: Backoff) -> Budget:
            return Budget(key, backoff.delays, policy.memory)

        shared: Sequence[Budget] = (
            budget(keys.strange_origin, policy.strange_origin),
            budget(keys.account, policy.strangers_of_account),
            budget(keys.network, policy.strangers_of_network),
        )
        return Origin(keys.marker, budget(keys.known_origin, policy.known_origin), shared)


def _rate_limited(scope: str, wait: timedelta) -> ServiceError:
    return ServiceError(
        Reason.RATE_LIMITED,
        "Too many attempts were made. Wait for the delay in RetryInfo, then call again.",
        metadata={"scope": scope},
        retry_after=wait,
    )
