"""Google, by OpenID Connect: who signed in is what the id_token says, once its signature and claims have been checked."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from svc_common.errors import ServiceError
from svc_user.domain.federation import Attempt, Cause, Profile, Provider, checked_profile, sign_in_failed
from svc_user.providers.client import Connection, Exchange, ProviderClient

GOOGLE_ISSUER: Final = "https://accounts.google.com"

# Pinned here, whatever a token or the provider's own document says: `none` is no signature, and with an HMAC whoever
# knows the public key could sign.
_ALGORITHMS: Final = ("RS256", "ES256")
_CLOCK_SKEW: Final = timedelta(seconds=60)
_CONFIGURATION_LIFETIME: Final = timedelta(hours=1)
_SCOPE: Final = "openid email profile"


class Google:
    """Google, or any other OpenID provider at an issuer's address."""

    provider = Provider.GOOGLE

    def __init__(
        self,
        client: ProviderClient,
        issuer: str = GOOGLE_ISSUER,
        *,
        now: Callable[[], datetime],
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the clock by which an id_token expires, and one that never goes back for what is kept of the provider."""
        self._client = client
        self._issuer = issuer.rstrip("/")
        # Google's tokens may leave the scheme out, as its documentation of OpenID Connect says.
        self._issuers = (issuer, issuer.removeprefix("https://")) if issuer == GOOGLE_ISSUER else (self._issuer,)
        self._now = now
        self._monotonic_seconds = monotonic_seconds
        self._connection = Connection(self.provider, client)
        self._configuration: dict[str, Any] = {}
        self._configured_until = 0.0
        self._keys = KeySet([])

    async def authorization_url(self, attempt: Attempt, state: str) -> str:
        """Returns where to send the browser; raises DEPENDENCY_UNAVAILABLE when the provider doesn't say it in time."""
        async with self._connection.open() as exchange:
            endpoint = await self._endpoint(exchange, "authorization_endpoint")
            return exchange.authorization_url(endpoint, attempt, state, scope=_SCOPE, nonce=attempt.nonce)

    async def profile(self, attempt: Attempt, code: str) -> Profile:
        """Exchanges a code and returns what its id_token says."""
        async with self._connection.open() as exchange:
            tokens = await exchange.tokens(await self._endpoint(exchange, "token_endpoint"), attempt, code)
            claims = await self._claims(exchange, tokens, attempt)
        return checked_profile(
            self.provider,
            subject=claims.get("sub"),
            email=claims.get("email"),
            email_verified=claims.get("email_verified"),
            name=claims.get("name"),
        )

    async def _endpoint(self, exchange: Exchange, name: str) -> str:
        """Returns an address of the provider's configuration, which is kept for an hour."""
        if self._monotonic_seconds() >= self._configured_until:
            address = f"{self._issuer}/.well-known/openid-configuration"
            configuration = await exchange.document(address)
            # OpenID Connect Discovery, section 4.3.
            if configuration.get("issuer") != self._issuer:
                raise self._untrusted("it calls itself by another name")
            self._configuration = configuration
            self._configured_until = self._monotonic_seconds() + _CONFIGURATION_LIFETIME.total_seconds()
        endpoint = self._configuration.get(name)
        if not isinstance(endpoint, str):
            raise self._untrusted(f"it names no {name}")
        return endpoint

    async def _claims(self, exchange: Exchange, tokens: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise self._untrusted("it sent no id_token")
        try:
            decoded = await self._verified(exchange, token)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "values": list(self._issuers)},
                    "aud": {"essential": True, "value": self._client.client_id},
                },
                params={"nonce": attempt.nonce, "client_id": self._client.client_id},
            )
            claims.validate(int(self._now().timestamp()), int(_CLOCK_SKEW.total_seconds()))
        except ExpiredTokenError as error:
            raise self._untrusted("its statement has expired") from error
        except ClaimError as error:
            raise self._untrusted(f"the claim {error.claim} is wrong") from error
        except (JoseError, ValueError) as error:
            raise self._untrusted("its signature is wrong") from error
        return dict(claims)

    async def _verified(self, exchange: Exchange, token: str) -> jwt.Token:
        """Returns a token whose signature is good.

        Keys are rotated, so a token that names an unknown one has them fetched again. Only who holds a code that the
        provider accepted gets here: nobody can make us fetch at will.
        """
        if self._keys:
            with suppress(InvalidKeyIdError):
                return jwt.decode(token, self._keys, algorithms=_ALGORITHMS)
        document = await exchange.document(await self._endpoint(exchange, "jwks_uri"))
        keys = document.get("keys")
        if not isinstance(keys, list):
            raise self._untrusted("it publishes no keys")
        self._keys = KeySet.import_key_set({"keys": keys})
        return jwt.decode(token, self._keys, algorithms=_ALGORITHMS)

    def _untrusted(self, detail: str) -> ServiceError:
        return sign_in_failed(self.provider, Cause.IDENTITY, detail=detail)
