"""What all providers have in common: a client of ours, requests that end in time, and failures in our own words."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from svc_common.errors import ServiceError, dependency_unavailable
from svc_user.domain.federation import Attempt, Cause, Profile, Provider, sign_in_failed

_log: Final = structlog.get_logger()

_SERVER_ERROR: Final = 500
_OK: Final = 200
# RFC 6749, section 5.2: what says that the deployment is at fault, not whoever signs in.
_OUR_FAULTS: Final = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"})


@dataclass(frozen=True, slots=True)
class ProviderClient:
    """Our registration at a provider, and how long its answers may take altogether."""

    client_id: str
    client_secret: str
    redirect_uri: str
    timeout: timedelta


class OAuthProvider(Protocol):
    """One provider; Google and Discord are such."""

    provider: Provider

    async def authorization_url(self, attempt: Attempt, state: str) -> str:
        """Returns where to send the browser."""

    async def profile(self, attempt: Attempt, code: str) -> Profile:
        """Exchanges a code and returns what the provider says about whoever signed in.

        Raises PROVIDER_SIGN_IN_FAILED, or DEPENDENCY_UNAVAILABLE when the provider doesn't answer in time.
        """


class Connection:
    """Opens connections to one provider. The settings of TLS, which take long to load, are loaded once."""

    def __init__(self, provider: Provider, client: ProviderClient) -> None:
        """Takes which provider it is, for errors and logs."""
        self._provider = provider
        self._client = client
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Exchange"]:
        """Opens one connection; all that happens within the block must end in the provider's time."""
        try:
            async with (
                asyncio.timeout(self._client.timeout.total_seconds()),
                AsyncOAuth2Client(
                    client_id=self._client.client_id,
                    client_secret=self._client.client_secret,
                    redirect_uri=self._client.redirect_uri,
                    code_challenge_method="S256",
                    # A provider that leads elsewhere isn't the one that was configured.
                    follow_redirects=False,
                    verify=self._tls,
                    timeout=self._client.timeout.total_seconds(),
                ) as session,
            ):
                yield Exchange(self._provider, session)
        except (httpx2.HTTPError, TimeoutError) as error:
            _log.warning("provider.unavailable", provider=self._provider.value, error=repr(error))
            raise unavailable(self._provider) from error


class Exchange:
    """The requests of one sign-in to a provider."""

    def __init__(self, provider: Provider, session: Any) -> None:
        """Takes an open client of Authlib's."""
        self._provider = provider
        self._session = session

    def authorization_url(self, endpoint: str, attempt: Attempt, state: str, **parameters: str) -> str:
        """Returns the provider's page with the parameters of an attempt."""
        address, _ = self._session.create_authorization_url(
            endpoint, state=state, code_verifier=attempt.code_verifier, **parameters
        )
        return str(address)

    async def tokens(self, endpoint: str, attempt: Attempt, code: str) -> dict[str, Any]:
        """Exchanges a code for the provider's tokens, which are never kept."""
        try:
            answer: dict[str, Any] = await self._session.fetch_token(
                endpoint, grant_type="authorization_code", code=code, code_verifier=attempt.code_verifier
            )
        except OAuthError as error:
            _log.warning("provider.refused", provider=self._provider.value, error=str(error.error)[:100])
            raise sign_in_failed(self._provider, _cause_of(error)) from error
        except ValueError as error:
            raise self._unreadable() from error
        return answer

    async def document(self, address: str, *, as_user: bool = False) -> dict[str, Any]:
        """Returns a JSON object of the provider's; `as_user` shows the token that was just fetched."""
        try:
            answer = await self._session.request("GET", address, withhold_token=not as_user)
        except OAuthError as error:  # the token that was fetched can't be sent
            raise self._unreadable() from error
        if answer.status_code >= _SERVER_ERROR:
            answer.raise_for_status()
        try:
            document = answer.json() if answer.status_code == _OK else None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            _log.warning("provider.unreadable", provider=self._provider.value, status=answer.status_code)
            raise self._unreadable()
        return document

    def _unreadable(self) -> ServiceError:
        return sign_in_failed(self._provider, Cause.IDENTITY, detail="its answer can't be read")


def unavailable(provider: Provider) -> ServiceError:
    """Returns DEPENDENCY_UNAVAILABLE for a provider."""
    return dependency_unavailable(
        provider.value, f"{provider.label} doesn't answer. Try again in a moment, or sign in another way."
    )


def _cause_of(error: OAuthError) -> Cause:
    return Cause.CLIENT if error.error in _OUR_FAULTS else Cause.CODE
