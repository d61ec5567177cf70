"""Providers at which people sign in, as small real servers on loopback: an OpenID provider and a stand-in for Discord.

Each knows one client, asks for consent on a page, and is as strict as the specifications want: the redirect address must be
the registered one, a code works once, and the verifier must fit the challenge. What may go wrong is set as a `Fault`.
"""

import abc
import asyncio
import base64
import enum
import hashlib
import hmac
import html
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

CLIENT_ID = "pingvas-for-tests"
CLIENT_SECRET = "a secret of tests"
_START_SECONDS = 20.0


class Fault(enum.StrEnum):
    """What a provider does wrong, until it is reset."""

    STATE = "another state"
    NONCE = "another nonce"
    NO_NONCE = "no nonce"
    AUDIENCE = "another audience"
    SECOND_AUDIENCE = "a second audience, with another authorized party"
    ISSUER = "another issuer"
    EXPIRED = "an expired id_token"
    FROM_THE_FUTURE = "an id_token of tomorrow"
    NO_SUBJECT = "no subject"
    ALG_NONE = "an unsigned id_token"
    HS256 = "HS256 with the public key"
    UNKNOWN_KEY = "a key that isn't published"
    NO_ID_TOKEN = "no id_token"
    CODE = "a code that it refuses"
    CLIENT = "it refuses the client"
    DISCOVERY = "a configuration of another issuer"
    GIBBERISH = "no JSON"
    REDIRECT = "a redirect in place of an answer"
    BROKEN = "status 500"
    SLOW = "no answer"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody's account at a provider."""

    subject: str
    email: str | None
    name: str = ""
    email_verified: object = True


@dataclass(slots=True)
class Grant:
    """What a code stands for."""

    account: Account
    code_challenge: str
    nonce: str


@dataclass
class StandIn(abc.ABC):
    """What both providers have in common."""

    url: str = ""
    redirect_uri: str = ""
    accounts: list[Account] = field(default_factory=list)
    fault: Fault | None = None
    codes: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, Account] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)

    @abc.abstractmethod
    def app(self) -> FastAPI:
        """Returns the server's application."""

    def reset(self) -> None:
        """Makes it faultless."""
        self.fault = None

    async def consent_page(self, request: Request) -> Response:
        """Asks whose account it is, and whether they consent."""
        query = request.query_params
        expected = {"client_id": CLIENT_ID, "response_type": "code", "code_challenge_method": "S256"}
        expected["redirect_uri"] = self.redirect_uri
        wrong = [name for name, value in expected.items() if query.get(name) != value]
        wrong += [name for name in ("state", "code_challenge", "scope") if not query.get(name)]
        if wrong:
            return HTMLResponse(f"wrong: {', '.join(wrong)}", 400)
        self.scopes.append(query["scope"])
        buttons = "".join(
            f'<button name="account" value="{html.escape(account.subject)}">{html.escape(account.name)}</button>'
            for account in self.accounts
        )
        action = html.escape(str(request.url.include_query_params()))
        return HTMLResponse(
            '<!doctype html><title>Stand-in</title><link rel="icon" href="data:,"><h1>Who are you?</h1>'
            f'<form method="post" action="{action}">{buttons}<button name="account" value="">Cancel</button></form>'
        )

    async def consent(self, request: Request) -> Response:
        """Sends the browser back with a code, or with access_denied."""
        query, form = request.query_params, await _form(request)
        answer = {"state": "not the one" if self.fault is Fault.STATE else query["state"]}
        account = next((each for each in self.accounts if each.subject == form["account"]), None)
        if account is None:
            answer["error"] = "access_denied"
        else:
            answer["code"] = secrets.token_urlsafe(24)
            self.codes[answer["code"]] = Grant(account, query["code_challenge"], query.get("nonce", ""))
        return RedirectResponse(f"{self.redirect_uri}?{urlencode(answer)}", 302)

    async def token(self, request: Request) -> Response:
        """Exchanges a code."""
        if faulty := await self.faulty_answer():
            return faulty
        form = await _form(request)
        grant = self.codes.pop(form.get("code", ""), None)
        if _basic(request) != (CLIENT_ID, CLIENT_SECRET) or self.fault is Fault.CLIENT:
            return JSONResponse({"error": "invalid_client"}, 401)
        verifier = form.get("code_verifier", "")
        fits = grant is not None and _s256(verifier) == grant.code_challenge
        if grant is None or not fits or form.get("redirect_uri") != self.redirect_uri or self.fault is Fault.CODE:
            return JSONResponse({"error": "invalid_grant", "error_description": "the code is unknown or used"}, 400)
        access_token = secrets.token_urlsafe(24)
        self.tokens[access_token] = grant.account
        answer = {"access_token": access_token, "token_type": "Bearer", "expires_in": 600}
        return JSONResponse(answer | self.more_tokens(grant, access_token))

    def more_tokens(self, grant: Grant, access_token: str) -> dict[str, str]:  # noqa: ARG002 - for OpenIdProvider
        """Returns what the token endpoint answers beside an access token."""
        return {}

    async def faulty_answer(self) -> Response | None:
        """Returns an answer that is none, if that is the fault."""
        match self.fault:
            case Fault.BROKEN:
                return HTMLResponse("<h1>Oops</h1>", 500)
            case Fault.GIBBERISH:
                return HTMLResponse("<h1>Welcome</h1>")
            case Fault.REDIRECT:
                return RedirectResponse(f"{self.url}/elsewhere", 302)
            case Fault.SLOW:
                await asyncio.Event().wait()
        return None

    def owner_of(self, request: Request) -> Account | None:
        """Returns whose access token a request shows."""
        return self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))


class OpenIdProvider(StandIn):
    """An OpenID provider, as Google is one."""

    def __init__(self) -> None:
        super().__init__()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id = "first"
        # In seconds since the epoch; that of a service whose clock the tests set.
        self.clock: Callable[[], float] = time.time

    def rotate_key(self) -> None:
        """Signs with a new key from now on, and publishes that one only."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id = f"{self.key_id}-next"

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/.well-known/openid-configuration", self.configuration)
        app.add_api_route("/authorize", self.consent_page)
        app.add_api_route("/authorize", self.consent, methods=["POST"])
        app.add_api_route("/token", self.token, methods=["POST"])
        app.add_api_route("/jwks", self.jwks)
        app.add_api_route("/userinfo", self.userinfo)
        return app

    async def configuration(self) -> Response:
        """Tells where everything is (OpenID Connect Discovery)."""
        if faulty := await self.faulty_answer():
            return faulty
        return JSONResponse(
            {
                "issuer": "https://issuer.example" if self.fault is Fault.DISCOVERY else self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            }
        )

    async def jwks(self) -> Response:
        """Publishes the key."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return JSONResponse({"keys": [public | {"kid": self.key_id, "use": "sig", "alg": "RS256"}]})

    async def userinfo(self, request: Request) -> Response:
        """Tells about the owner of an access token."""
        account = self.owner_of(request)
        return JSONResponse(
            {"sub": account.subject, "email": account.email} if account else {}, 200 if account else 401
        )

    def more_tokens(self, grant: Grant, access_token: str) -> dict[str, str]:
        if self.fault is Fault.NO_ID_TOKEN:
            return {}
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        return {"id_token": self._signed(self._claims(grant) | {"at_hash": _base64url(half)})}

    def _claims(self, grant: Grant) -> dict[str, Any]:
        now, account = int(self.clock()), grant.account
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "azp": CLIENT_ID,
            "sub": account.subject,
            "iat": now,
            "exp": now + 3600,
            "nonce": grant.nonce,
            "email": account.email,
            "email_verified": account.email_verified,
            "name": account.name,
        }
        changes: dict[Fault | None, dict[str, Any]] = {
            Fault.NONCE: {"nonce": "another"},
            Fault.AUDIENCE: {"aud": "another-client"},
            Fault.SECOND_AUDIENCE: {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
            Fault.ISSUER: {"iss": "https://issuer.example"},
            Fault.EXPIRED: {"iat": now - 7200, "exp": now - 3600},
            Fault.FROM_THE_FUTURE: {"iat": now + 86_400, "exp": now + 90_000},
        }
        claims |= changes.get(self.fault, {})
        for fault, name in ((Fault.NO_NONCE, "nonce"), (Fault.NO_SUBJECT, "sub")):
            if self.fault is fault:
                del claims[name]
        return claims

    def _signed(self, claims: dict[str, Any]) -> str:
        match self.fault:
            case Fault.ALG_NONE:
                return jwt.encode(claims, None, algorithm="none", headers={"kid": self.key_id})
            case Fault.HS256:
                return self._signed_with_public_key(claims)
            case Fault.UNKNOWN_KEY:
                return jwt.encode(claims, self._other_key, algorithm="RS256", headers={"kid": self.key_id})
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self.key_id})

    def _signed_with_public_key(self, claims: dict[str, Any]) -> str:
        """By hand: no library lets a public key be the secret of an HMAC."""
        public_key = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        header = {"alg": "HS256", "kid": self.key_id, "typ": "JWT"}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_base64url(hmac.digest(public_key, signed.encode(), 'sha256'))}"


class DiscordStandIn(StandIn):
    """What Discord is for whoever signs people in there."""

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/oauth2/authorize", self.consent_page)
        app.add_api_route("/oauth2/authorize", self.consent, methods=["POST"])
        app.add_api_route("/api/oauth2/token", self.token, methods=["POST"])
        app.add_api_route("/api/v10/users/@me", self.me)
        return app

    async def me(self, request: Request) -> Response:
        """Tells about the owner of an access token."""
        account = self.owner_of(request)
        if account is None:
            return JSONResponse({"message": "401: Unauthorized", "code": 0}, 401)
        user = {
            "id": account.subject,
            "username": account.name.lower(),
            "global_name": account.name or None,
            "email": account.email,
            "verified": account.email_verified,
        }
        if self.fault is Fault.NO_SUBJECT:
            del user["id"]
        return JSONResponse(user)


@contextmanager
def serving(stand_in: StandIn) -> Iterator[None]:
    """Serves a provider in a thread of its own until the block ends, and tells it its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            stand_in.app(), log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        _wait_for_start(server)
        yield
        server.should_exit = True
        thread.join()


def _wait_for_start(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        assert time.monotonic() < deadline, "the stand-in of a provider didn't start"
        time.sleep(0.01)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme != "Basic":
        return "", ""
    name, _, secret = base64.b64decode(encoded).decode().partition(":")
    return name, secret


def _s256(verifier: str) -> str:
    return _base64url(hashlib.sha256(verifier.encode()).digest())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def main() -> None:
    """Serves both providers for a local stack until Ctrl-C, and prints the settings that it needs."""
    studio_url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    accounts = [
        Account("100000000000000001", "ada@example.com", "Ada"),
        Account("100000000000000002", "max@example.com", "Max"),
    ]
    google, discord = OpenIdProvider(), DiscordStandIn()
    for stand_in, name in ((google, "google"), (discord, "discord")):
        stand_in.accounts = accounts
        stand_in.redirect_uri = f"{studio_url}/api/v1/auth/{name}/callback"
    with TemporaryDirectory() as folder, serving(google), serving(discord):
        secret_file = Path(folder) / "client-secret"
        secret_file.write_text(CLIENT_SECRET)
        print(f"Two providers for the studio at {studio_url}, until Ctrl-C. Start the studio with:\n")  # noqa: T201
        for name in ("GOOGLE", "DISCORD"):
            print(f"export {name}_CLIENT_ID={CLIENT_ID} {name}_CLIENT_SECRET_FILE={secret_file}")  # noqa: T201
        print(f"export GOOGLE_ISSUER={google.url} DISCORD_URL={discord.url}")  # noqa: T201
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
