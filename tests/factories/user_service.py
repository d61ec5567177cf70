"""Runs the real svc_user on free ports over a fresh database, with cheap passwords, a clock to set, and stubs to call it."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.rpc import status_pb2
from pingvas.user.v1 import auth_service_pb2, user_pb2
from pingvas.user.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from pingvas.user.v1.email_service_pb2_grpc import EmailServiceStub
from pingvas.user.v1.second_factor_service_pb2_grpc import SecondFactorServiceStub
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub

from svc_common import clock
from svc_common.clients import channel as service_channel
from svc_common.errors import ServiceError
from svc_common.registry import AREAS
from svc_common.status import STATUS_DETAILS_KEY, from_status
from svc_common.tokens import ServiceCredential, SigningKey, public_jwk
from svc_user.main import UserSettings, compose
from tests.harness_postgres import ServiceDatabase
from tests.harness_s3 import S3Server

PASSWORD = "correct horse battery"
LOOKUP_CALLERS = ("operator", "svc_gallery", "svc_user")

_numbers = itertools.count(1)


class SettableClock:
    """The service's clock: the real moment of the start, moved on by hand."""

    def __init__(self) -> None:
        self._now = clock.now()

    def __call__(self) -> datetime:
        return self._now

    def advance(self, **amount: float) -> None:
        """Moves on by an amount, given as the arguments of timedelta."""
        self._now += timedelta(**amount)


@dataclass(frozen=True, slots=True)
class Keys:
    """The key files of a platform in a folder."""

    folder: Path

    def path(self, name: str) -> Path:
        """Returns the file of a private key."""
        return self.folder / f"{name}.pem"

    def credential(self, name: str) -> ServiceCredential:
        """Returns the identity of a service."""
        return ServiceCredential.from_file(name, self.path(name))


@dataclass(frozen=True, slots=True)
class UserService:
    """A running svc_user and the stubs for both of its listeners."""

    database: ServiceDatabase
    clock: SettableClock
    keys: Keys
    public: grpc.aio.Channel
    public_address: str
    internal_address: str
    auth: AuthServiceStub
    users: UserServiceStub
    api_keys: ApiKeyServiceStub
    second_factors: SecondFactorServiceStub
    emails: EmailServiceStub

    @asynccontextmanager
    async def directory(self, caller: str) -> AsyncIterator[UserDirectoryServiceStub]:
        """Opens the internal service as a caller."""
        async with service_channel(self.internal_address, self.keys.credential(caller)) as channel:
            yield UserDirectoryServiceStub(channel)

    async def audit_events(self, account_id: UUID) -> list[asyncpg.Record]:
        """Returns what the audit log has of an account."""
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            return list(await connection.fetch("SELECT * FROM users.audit_events WHERE account_id = $1", account_id))
        finally:
            await connection.close()

    async def register(self, **fields: str) -> user_pb2.User:
        """Registers a user, by default with an address of its own and PASSWORD."""
        request = {"email": f"user{next(_numbers)}@example.com", "password": PASSWORD} | fields
        return await self.auth.Register(auth_service_pb2.RegisterRequest(**request))

    async def login(self, email: str, password: str = PASSWORD) -> auth_service_pb2.TokenPair:
        """Begins a session."""
        return await self.auth.Login(auth_service_pb2.LoginRequest(email=email, password=password))

    async def session(self) -> auth_service_pb2.TokenPair:
        """Begins a session of a new user."""
        return await self.login((await self.register()).email)

    async def refresh(self, refresh_token: str) -> auth_service_pb2.TokenPair:
        """Exchanges a refresh token."""
        return await self.auth.Refresh(auth_service_pb2.RefreshRequest(refresh_token=refresh_token))

    async def logout(self, refresh_token: str) -> None:
        """Ends a session."""
        await self.auth.Logout(auth_service_pb2.LogoutRequest(refresh_token=refresh_token))


@asynccontextmanager
async def running_user_service(
    database: ServiceDatabase, folder: Path, **changed_settings: Any
) -> AsyncIterator[UserService]:
    """Starts the service with cheap password hashes and stops it at the end."""
    keys = write_keys(folder)
    settable_clock = SettableClock()
    server = compose(user_settings(database, keys, **changed_settings), settable_clock)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.public_port}") as public:
            yield UserService(
                database=database,
                clock=settable_clock,
                keys=keys,
                public=public,
                public_address=f"127.0.0.1:{server.public_port}",
                internal_address=f"127.0.0.1:{server.internal_port}",
                auth=AuthServiceStub(public),
                users=UserServiceStub(public),
                api_keys=ApiKeyServiceStub(public),
                second_factors=SecondFactorServiceStub(public),
                emails=EmailServiceStub(public),
            )
    finally:
        await server.stop()


def user_settings(database: ServiceDatabase, keys: Keys, **changed: Any) -> UserSettings:
    """Returns settings for free ports and cheap hashes; the parts that svc_user doesn't use are made up."""
    unused = "127.0.0.1:1"
    values: dict[str, Any] = {
        "public_address": "127.0.0.1:0",
        "internal_address": "127.0.0.1:0",
        "metrics_port": 0,
        "database_url": database.requests_url,
        "tasks_database_url": database.tasks_url,
        "redis_url": "redis://127.0.0.1:1",
        "database_connections": 32,
        # A crowd of calls waits its turn on a slow machine as well; what OVERLOADED means has tests of its own.
        "database_wait_seconds": 60.0,
        "user_jwks_file": keys.folder / "users.jwks",
        "service_jwks_file": keys.folder / "services.jwks",
        "service_key_file": keys.path("svc_user"),
        "user_signing_key_file": keys.path("users"),
        "smtp_url": "smtp://127.0.0.1:1",
        "s3_endpoint_url": "http://127.0.0.1:1",
        "s3_access_key": S3Server.access_key,
        "s3_secret_key": S3Server.secret_key,
        "s3_bucket": S3Server.bucket,
        "studio_url": "http://studio.example.com",
        "login_requires_verified_email": False,
        "administrators_need_second_factor": False,
        "mail_burst": 1000,
        "argon2_memory_kib": 64,
        "argon2_time_cost": 1,
        "grace_seconds": 1.0,
        "account_limit_factor": 0.0,
    }
    addresses = {f"{area}_internal_address": unused for area in AREAS}
    return UserSettings(**(values | addresses | changed))


def write_keys(folder: Path) -> Keys:
    """Writes new keys for users' tokens and for services into a folder, unless it has them already."""
    keys = Keys(folder)
    if not (folder / "users.jwks").exists():
        _write_key_set(keys, "services", {name: name for name in LOOKUP_CALLERS})
        _write_key_set(keys, "users", {"users": None})
    return keys


def _write_key_set(keys: Keys, name: str, kids: dict[str, str | None]) -> None:
    jwks = []
    for owner, kid in kids.items():
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        keys.path(owner).write_bytes(pem)
        jwks.append(public_jwk(pem, kid))
    (keys.folder / f"{name}.jwks").write_text(json.dumps({"keys": jwks}))


async def refusal(call: Awaitable[object]) -> ServiceError:
    """Awaits a call that must be refused and returns the error that came over the wire."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return _carried_error(error)
    except ServiceError as error:
        return error
    raise AssertionError(f"the call was answered: {answer}")


def bearer(access_token: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call with an access token."""
    return (("authorization", f"Bearer {access_token}"),)


def signing_key(service: UserService) -> SigningKey:
    """Returns the key that signs access tokens."""
    return SigningKey.from_file(service.keys.path("users"))


def _carried_error(error: grpc.aio.AioRpcError) -> ServiceError:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            carried = from_status(status_pb2.Status.FromString(value))
            assert carried is not None, error
            assert carried.code == error.code().value[0], "ErrorInfo and gRPC disagree"
            return carried
    raise AssertionError(f"no details: {error}")
