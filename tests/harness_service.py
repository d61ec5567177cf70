"""Owns what a test needs to run a service in its own process and to call it as anybody: keys, settings, tokens, channels.

As a pytest plugin it offers `identities`, the keys of a made-up platform, one set a session.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.rpc import status_pb2

from svc_common.account_roles import AccountRole
from svc_common.api_keys import KeyLimits
from svc_common.clock import new_id, now
from svc_common.errors import ServiceError
from svc_common.registry import AREAS, CALLERS
from svc_common.server import Server
from svc_common.status import STATUS_DETAILS_KEY, from_status
from svc_common.tokens import AccessTokenIssuer, ServiceCredential, SigningKey, public_jwk
from tests.harness_postgres import ServiceDatabase
from tests.harness_s3 import S3Server

ISSUER = "https://pingvas.studio"
AUDIENCE = "pingvas-api"

Metadata = Sequence[tuple[str, str]]

# Nobody listens there: for settings of parts that a test does without.
_NOWHERE = "127.0.0.1:1"


class Identities:
    """The keys of all services and of users' tokens, as files in a folder, and the tokens that they sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._write_keys()
        self._issuer = AccessTokenIssuer(
            SigningKey.from_file(self.user_key_file), ISSUER, AUDIENCE, lifetime=timedelta(minutes=10)
        )
        self._credentials = {name: ServiceCredential.from_file(name, self.key_file(name)) for name in CALLERS}

    @property
    def user_key_file(self) -> Path:
        """The private key that signs users' tokens."""
        return self.key_file("users")

    def key_file(self, name: str) -> Path:
        """Returns the private key of a service."""
        return self.folder / f"{name}.pem"

    def credential(self, service: str) -> ServiceCredential:
        """Returns the credential of a service, for `svc_common.clients.channel`."""
        return self._credentials[service]

    def as_user(
        self, account_id: UUID, user_id: UUID | None = None, *, role: AccountRole = AccountRole.USER
    ) -> Metadata:
        """Returns the metadata of a call by a user; the id of a person's own account is the user's."""
        token = self._issuer.issue(user_id or account_id, account_id, new_id(), now(), role=role)
        return (("authorization", f"Bearer {token}"),)

    def as_api_key(self, account_id: UUID, *scopes: str, key: KeyLimits | None = None) -> Metadata:
        """Returns the metadata of a call by an API key of a person, as the edge passes it on."""
        token = self._issuer.issue(account_id, account_id, new_id(), now(), scopes=scopes, key=key)
        return (("authorization", f"Bearer {token}"),)

    def as_service(self, name: str) -> Metadata:
        """Returns the metadata of a call by a service."""
        return (("authorization", f"Bearer {self._credentials[name].token()}"),)

    def _write_keys(self) -> None:
        pems = {name: _new_key() for name in (*CALLERS, "users")}
        for name, pem in pems.items():
            self.key_file(name).write_bytes(pem)
        services = {"keys": [public_jwk(pems[name], kid=name) for name in CALLERS]}
        (self.folder / "services.jwks").write_text(json.dumps(services))
        (self.folder / "users.jwks").write_text(json.dumps({"keys": [public_jwk(pems["users"])]}))


def settings_values(
    identities: Identities, name: str, database: ServiceDatabase, *, s3: S3Server | None = None, **own: Any
) -> dict[str, Any]:
    """Returns the values for a settings class of the service `name`, on free ports; `own` adds to them and wins."""
    neighbours = {f"{area}_internal_address": _NOWHERE for area in AREAS}
    return {
        "public_address": "127.0.0.1:0",
        "internal_address": "127.0.0.1:0",
        "metrics_port": 0,
        "database_url": database.requests_url,
        "tasks_database_url": database.tasks_url,
        # One process has the server for itself.
        "database_connections": 32,
        # A crowd of calls waits its turn on a slow machine as well; what OVERLOADED means has tests of its own.
        "database_wait_seconds": 60.0,
        "redis_url": f"redis://{_NOWHERE}/0",
        "s3_endpoint_url": s3.url if s3 else f"http://{_NOWHERE}",
        "s3_access_key": S3Server.access_key,
        "s3_secret_key": S3Server.secret_key,
        "s3_bucket": S3Server.bucket,
        "user_jwks_file": identities.folder / "users.jwks",
        "service_jwks_file": identities.folder / "services.jwks",
        "service_key_file": identities.key_file(name),
        "grace_seconds": 1.0,
        # Most tests call as fast as they can, and start neither Redis nor svc_payment for it.
        "account_limit_factor": 0.0,
        **neighbours,
        **own,
    }


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that serves, and an open channel to each of its listeners."""

    server: Server
    public: grpc.aio.Channel
    internal: grpc.aio.Channel

    @property
    def internal_address(self) -> str:
        """Where other services find it."""
        return f"127.0.0.1:{self.server.internal_port}"


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[RunningService]:
    """Serves in this process until the block ends."""
    await server.start()
    try:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{server.public_port}") as public,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.internal_port}") as internal,
        ):
            yield RunningService(server, public, internal)
    finally:
        await server.stop()


async def refusal_of(call: Awaitable[object]) -> ServiceError:
    """Awaits a call that must be refused and returns the refusal as its caller reads it."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refusal_in(refused.value)


def refusal_in(error: grpc.aio.AioRpcError) -> ServiceError:
    """Returns the refusal that an error is, as its caller reads it."""
    details = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)
    assert details is not None, f"refused without a reason: {error}"
    refusal = from_status(status_pb2.Status.FromString(details))
    assert refusal is not None, f"not a refusal of this platform: {error}"
    assert error.code().value[0] == refusal.code
    return refusal


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """The keys of a made-up platform."""
    return Identities(tmp_path_factory.mktemp("keys"))
