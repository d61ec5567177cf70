"""Logging in at a provider: a browser goes there and comes back to a port of this machine with a one-time code (RFC 8252).

The code works once, and only together with the verifier that never leaves this process (RFC 7636).
"""

import hashlib
import secrets
import time
import webbrowser
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import click
from pingvas.user.v1.identity_pb2 import PROVIDER_DISCORD, PROVIDER_GOOGLE
from pingvas.user.v1.identity_service_pb2 import ExchangeSignInCodeRequest, GetProvidersRequest
from pingvas.user.v1.identity_service_pb2_grpc import IdentityServiceStub

from studio.cli.client import Client
from studio.cli.credentials import Session
from studio.cli.failures import CommandError, ExitCode

PROVIDERS: Final = ("google", "discord")

_VALUES: Final = {"google": PROVIDER_GOOGLE, "discord": PROVIDER_DISCORD}
_SECRET_BYTES: Final = 32
# As long as an attempt lasts.
_PATIENCE_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.5
_OK: Final = 200
_NOT_FOUND: Final = 404
# The empty icon keeps browsers from asking for one.
_PAGE: Final = (
    b'<!doctype html><title>Pingvas Studio</title><link rel="icon" href="data:,">'
    b"<p>Go back to your terminal. You can close this page."
)
_WORDS: Final = {
    "EMAIL_TAKEN": (
        "an account with the e-mail address of your account there exists",
        "Log in with its password, then link the provider in the studio.",
    ),
    "IDENTITY_EMAIL_UNVERIFIED": (
        "the provider hasn't verified your e-mail address",
        "Verify it there, then run the command again.",
    ),
    "DEPENDENCY_UNAVAILABLE": ("the provider doesn't answer", "Try again in a moment, or log in with a password."),
}


def login_at_provider(client: Client, provider: str) -> Session:
    """Logs in and keeps the session; raises CommandError when that doesn't succeed."""
    identities = IdentityServiceStub(client.channel)
    offered = client.call_anonymously(identities.GetProviders, GetProvidersRequest())
    if _VALUES[provider] not in offered.providers:
        raise CommandError(
            f"{client.endpoint} doesn't offer logging in with {provider.capitalize()}",
            advice="Log in with a password: `pingvas login EMAIL`.",
        )
    verifier = secrets.token_urlsafe(_SECRET_BYTES)
    with Waiting() as waiting:
        parameters = {"port": waiting.port, "state": waiting.state, "code_challenge": _challenge(verifier)}
        address = f"{offered.studio_url}/api/v1/auth/{provider}?{urlencode(parameters)}"
        click.echo(f"Open this address in a browser on this machine, if none opens by itself:\n{address}", err=True)
        webbrowser.open(address)
        answer = waiting.answer()
    if "code" not in answer:
        raise _refused(answer.get("error", ""))
    request = ExchangeSignInCodeRequest(code=answer["code"], code_verifier=verifier)
    return client.begin(client.call_anonymously(identities.ExchangeSignInCode, request))


class Waiting(HTTPServer):
    """Listens on a free port of this machine for a browser that comes back; only one that shows the state is heard."""

    def __init__(self) -> None:
        """Binds the port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.state = secrets.token_urlsafe(_SECRET_BYTES)
        self.timeout = _POLL_SECONDS
        self.heard: dict[str, str] = {}

    def answer(self) -> dict[str, str]:
        """Waits for the browser and returns what it brought; raises CommandError when it doesn't come."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.heard:
            if time.monotonic() > deadline:
                raise CommandError("nobody signed in within ten minutes", advice="Run the command again.")
            self.handle_request()
        return self.heard


class _Handler(BaseHTTPRequestHandler):
    server: Waiting
    # A connection that says nothing must not keep others waiting: browsers open some in advance.
    timeout = 2.0

    def do_GET(self) -> None:
        """Takes what the browser brings."""
        address = urlsplit(self.path)
        brought = dict(parse_qsl(address.query))
        is_ours = address.path == "/" and secrets.compare_digest(
            brought.get("state", "").encode(), self.server.state.encode()
        )
        self.send_response(_OK if is_ours else _NOT_FOUND)
        self.send_header("content-type", "text/html")
        self.send_header("cache-control", "no-store")
        self.send_header("referrer-policy", "no-referrer")
        self.end_headers()
        if is_ours:
            self.wfile.write(_PAGE)
            self.server.heard = brought

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing: the address holds the code."""


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _refused(reason: str) -> CommandError:
    happened, advice = _WORDS.get(reason, ("signing in at the provider didn't succeed", "Run the command again."))
    return CommandError(happened, advice=advice, exit_code=ExitCode.REFUSED)
