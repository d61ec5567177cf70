"""Discord, by OAuth 2: who signed in is what its API says to the token that it gave us."""

from typing import Final

from svc_user.domain.federation import Attempt, Profile, Provider, checked_profile
from svc_user.providers.client import Connection, ProviderClient

DISCORD_URL: Final = "https://discord.com"

_SCOPE: Final = "identify email"


class Discord:
    """Discord at its own address or another."""

    provider = Provider.DISCORD

    def __init__(self, client: ProviderClient, url: str = DISCORD_URL) -> None:
        """Takes the address below which its pages and its API are."""
        self._url = url.rstrip("/")
        self._connection = Connection(self.provider, client)

    async def authorization_url(self, attempt: Attempt, state: str) -> str:
        """Returns where to send the browser."""
        async with self._connection.open() as exchange:
            return exchange.authorization_url(f"{self._url}/oauth2/authorize", attempt, state, scope=_SCOPE)

    async def profile(self, attempt: Attempt, code: str) -> Profile:
        """Exchanges a code and returns what the API says.

        Whoever may set an address without proving it can set anybody's: an address counts when it is `verified`.
        """
        async with self._connection.open() as exchange:
            await exchange.tokens(f"{self._url}/api/oauth2/token", attempt, code)
            user = await exchange.document(f"{self._url}/api/v10/users/@me", as_user=True)
        return checked_profile(
            self.provider,
            subject=user.get("id"),
            email=user.get("email"),
            email_verified=user.get("verified"),
            name=user.get("global_name") or user.get("username"),
        )
