"""Browsers that sign in at a provider: a svc_user with two stand-ins as its providers, behind a bridge."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from pingvas.user.v1 import identity_service_pb2, user_pb2, user_service_pb2
from pingvas.user.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.factories.user_service import UserService, bearer, running_user_service
from tests.fakes.providers import CLIENT_ID, CLIENT_SECRET, Account, DiscordStandIn, OpenIdProvider, StandIn, serving
from tests.harness_bridge import running_bridge
from tests.harness_postgres import ServiceDatabase

# Where the studio is for browsers, as the providers know it. Nobody listens there: a browser of the tests goes to the bridge.
STUDIO = "http://127.0.0.1:1"
AREAS = ("payment", "generation", "gallery", "models")
_PAGE = {"accept": "text/html,application/xhtml+xml"}


@dataclass(frozen=True, slots=True)
class StandIns:
    """The providers of the tests."""

    google: OpenIdProvider
    discord: DiscordStandIn

    def named(self, name: str) -> StandIn:
        """Returns a provider."""
        return self.google if name == "google" else self.discord

    def settings(self, folder: Path) -> dict[str, Any]:
        """Returns the settings of svc_user that name them; the secret is written into a folder."""
        secret_file = folder / "client-secret"
        secret_file.write_text(f"{CLIENT_SECRET}\n")
        return {
            "google_client_id": CLIENT_ID,
            "google_client_secret_file": secret_file,
            "google_issuer": self.google.url,
            "discord_client_id": CLIENT_ID,
            "discord_client_secret_file": secret_file,
            "discord_url": self.discord.url,
        }

    def register_studio(self, url: str) -> None:
        """Tells them which redirect addresses are ours."""
        self.google.redirect_uri = f"{url}/api/v1/auth/google/callback"
        self.discord.redirect_uri = f"{url}/api/v1/auth/discord/callback"


@contextmanager
def serving_stand_ins() -> Iterator[StandIns]:
    """Serves both until the block ends."""
    google, discord = OpenIdProvider(), DiscordStandIn()
    with serving(google), serving(discord):
        yield StandIns(google, discord)


@dataclass(frozen=True, slots=True)
class Studio:
    """A running svc_user behind a running bridge, with the providers."""

    service: UserService
    identities: IdentityServiceStub
    stand_ins: StandIns
    url: str

    @asynccontextmanager
    async def browser(self) -> AsyncIterator["Browser"]:
        """Opens a browser without cookies."""
        async with httpx.AsyncClient(base_url=self.url, headers=_PAGE, timeout=20) as http:
            yield Browser(self, http)

    async def me(self, access_token: str) -> user_pb2.User:
        """Returns whose token it is."""
        return await self.service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(access_token))

    async def linked(self, access_token: str) -> identity_service_pb2.ListIdentitiesResponse:
        """Returns the identities of whose token it is."""
        request = identity_service_pb2.ListIdentitiesRequest()
        return await self.identities.ListIdentities(request, metadata=bearer(access_token))

    async def unlink(self, access_token: str, identity_id: str) -> None:
        """Removes an identity."""
        request = identity_service_pb2.UnlinkIdentityRequest(identity_id=identity_id)
        await self.identities.UnlinkIdentity(request, metadata=bearer(access_token))


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser with its own cookies, which follows no redirect by itself."""

    studio: Studio
    http: httpx.AsyncClient

    async def leave(self, provider: str, **parameters: str) -> str:
        """Follows the button of a provider and returns where it leads."""
        answer = await self.http.get(f"/api/v1/auth/{provider}", params=parameters)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def consent(self, address: str, account: Account | None) -> str:
        """Consents on the provider's page, or cancels there, and returns where that leads."""
        async with httpx.AsyncClient() as http:
            page = await http.get(address)
            assert page.status_code == 200, page.text
            answer = await http.post(address, data={"account": account.subject if account else ""})
        assert answer.status_code == 302
        return answer.headers["location"]

    async def come_back(self, address: str) -> httpx.Response:
        """Opens the address that a provider sent the browser to."""
        return await self.http.get(address.removeprefix(STUDIO))

    async def try_to_sign_in(self, provider: str, account: Account | None) -> httpx.Response:
        """Goes the whole way and returns the studio's last answer."""
        return await self.come_back(await self.consent(await self.leave(provider), account))

    async def sign_in(self, provider: str, account: Account) -> str:
        """Goes the whole way and returns the access token that the page gets then."""
        answer = await self.try_to_sign_in(provider, account)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        return await self.access_token()

    async def access_token(self) -> str:
        """Returns what the page gets for the cookie."""
        answer = await self.http.post("/session/refresh")
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    async def begin_linking(self, provider: str, access_token: str) -> str:
        """Begins to link a provider and returns where that leads."""
        body, headers = {"provider": f"PROVIDER_{provider.upper()}"}, dict(bearer(access_token))
        answer = await self.http.post("/session/identities", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"authorization_url"}
        return answer.json()["authorization_url"]

    async def link(self, provider: str, account: Account | None, access_token: str) -> httpx.Response:
        """Links a provider and returns the studio's last answer."""
        address = await self.begin_linking(provider, access_token)
        return await self.come_back(await self.consent(address, account))


@asynccontextmanager
async def running_studio(
    database: ServiceDatabase, folder: Path, redis_url: str, stand_ins: StandIns, **changed_settings: Any
) -> AsyncIterator[Studio]:
    """Starts the service and the bridge before it."""
    stand_ins.register_studio(STUDIO)
    settings = {"redis_url": redis_url, "studio_url": STUDIO, **stand_ins.settings(folder), **changed_settings}
    async with running_user_service(database, folder, **settings) as service:
        # The service's clock stands still, and it believes nobody who is more than a minute ahead.
        stand_ins.google.clock = lambda: service.clock().timestamp()
        addresses = {"user": service.public_address, **dict.fromkeys(AREAS, "127.0.0.1:1")}
        async with running_bridge(addresses, is_secure=False) as port:
            yield Studio(service, IdentityServiceStub(service.public), stand_ins, f"http://127.0.0.1:{port}")


def failure_of(answer: httpx.Response) -> tuple[str, dict[str, str]]:
    """Returns the place of the page that an answer leads to, and what it says of the failure."""
    assert answer.status_code == 303, answer.text
    assert "pingvas-refresh" not in answer.headers.get("set-cookie", "")
    parts = urlsplit(answer.headers["location"])
    assert (parts.scheme, parts.netloc) == ("", "")
    return parts.path, {name: value for name, (value,) in parse_qs(parts.query).items()}
