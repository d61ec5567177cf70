"""Runs a service's real server in the test's own process, with keys and settings made for the session.

As a pytest plugin it offers `keys` (key files of every caller, and tokens signed with them). `settings_for` gives settings
whose listeners take free ports; `serving` runs a composed server; `public_channel` and `internal_channel` reach it.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from svc_common.clients import ServiceChannel, channel
from svc_common.clock import new_id, now
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from svc_common.tokens import AccessTokenIssuer, ServiceCredential, SigningKey, public_jwk

ISSUER = "https://pingvas.studio"
AUDIENCE = "pingvas-api"
CALLERS = (
    "svc_user",
    "svc_payment",
    "svc_generation",
    "svc_gallery",
    "svc_models",
    "gpu_worker",
    "operator",
)

S = TypeVar("S", bound=ServiceSettings)


def new_private_key() -> bytes:
    """Returns a fresh EC P-256 private key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Keys:
    """The key files of a platform: each caller's own, the users' signing key, and both sets of public keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user_signing_key = folder / "user-signing.pem"
        self.user_jwks = folder / "user-jwks.json"
        self.service_jwks = folder / "service-jwks.json"
        user_pem = new_private_key()
        self.user_signing_key.write_bytes(user_pem)
        self.user_jwks.write_text(json.dumps({"keys": [public_jwk(user_pem)]}))
        self.service_jwks.write_text(json.dumps({"keys": [self._make(name) for name in CALLERS]}))

    def _make(self, name: str) -> dict[str, str]:
        pem = new_private_key()
        self.service_key(name).write_bytes(pem)
        return public_jwk(pem, name)

    def service_key(self, name: str) -> Path:
        """Returns the private key file of a caller."""
        return self.folder / f"{name}.pem"

    def credential(self, name: str) -> ServiceCredential:
        """Returns the credential of a caller of internal methods."""
        return ServiceCredential.from_file(name, self.service_key(name))

    def access_token(
        self, account_id: UUID | None = None, *, lifetime: timedelta = timedelta(minutes=10), audience: str = AUDIENCE
    ) -> str:
        """Returns an access token of a user, whose own account it is, as svc_user would mint it."""
        signing_key = SigningKey.from_file(self.user_signing_key)
        user_id = account_id or new_id()
        return AccessTokenIssuer(signing_key, ISSUER, audience, lifetime).issue(user_id, user_id, new_id(), now())

    def as_user(self, account_id: UUID | None = None) -> tuple[tuple[str, str], ...]:
        """Returns the metadata with which a user calls a public method."""
        return (("authorization", f"Bearer {self.access_token(account_id)}"),)


def settings_for(keys: Keys, service: str, cls: type[S], **overrides: Any) -> S:
    """Returns settings of a service for tests; addresses of servers that the test doesn't use lead nowhere."""
    nowhere = "127.0.0.1:1"
    values: dict[str, Any] = {
        "public_address": "127.0.0.1:0",
        "internal_address": "127.0.0.1:0",
        "metrics_port": 0,
        "database_url": "postgresql+asyncpg://nobody@127.0.0.1:1/none",
        "tasks_database_url": "postgresql+asyncpg://nobody@127.0.0.1:1/none",
        "redis_url": "redis://127.0.0.1:1/0",
        "s3_endpoint_url": "http://127.0.0.1:1",
        "s3_access_key": "test-access",
        "s3_secret_key": "test-secret",
        "user_jwks_file": keys.user_jwks,
        "service_key_file": keys.service_key(service),
        "service_jwks_file": keys.service_jwks,
        **{f"{area}_internal_address": nowhere for area in ("user", "payment", "generation", "gallery", "models")},
        "log_format": "console",
        "grace_seconds": 2.0,
    }
    return cls(**(values | overrides))


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Starts a composed server and stops it in order."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def public_channel(server: Server, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """Returns a plain channel to the public listener, as a client of the platform has it."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.public_port}", options=options)


def internal_channel(server: Server, keys: Keys, caller: str) -> ServiceChannel:
    """Returns a channel to the internal listener with the credential of a caller; calls raise ServiceError."""
    return channel(f"127.0.0.1:{server.internal_port}", keys.credential(caller))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))
