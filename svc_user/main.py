"""Composes svc_user from its settings and serves it: `python -m svc_user.main`."""

import hashlib
import json
import os
import secrets
from asyncio import Event
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pingvas.user.v1 import auth_service_pb2, auth_service_pb2_grpc
from pingvas.user.v1.user_directory_service_pb2_grpc import add_UserDirectoryServiceServicer_to_server
from pingvas.user.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from pydantic import Field, FilePath

from svc_common import clock, settings
from svc_common.client_address import ClientAddresses
from svc_common.db import Database
from svc_common.limits.attempts import SharedAttempts
from svc_common.limits.buckets import Rate, SharedBuckets
from svc_common.limits.redis_guard import RedisGuard
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings
from svc_common.sweeps import run_sweeps
from svc_common.tokens import AccessTokenIssuer, SigningKey
from svc_user import tasks
from svc_user.domain import ACCESS_TOKEN_LIFETIME
from svc_user.domain.attempts import AttemptPolicy, Backoff
from svc_user.servicer import (
    AuthServicer,
    PasswordHasher,
    PasswordLimits,
    Throttle,
    ThrottleLimits,
    TokenSource,
    UserDirectoryServicer,
    UserServicer,
)
from svc_user.servicer.messages import jwk_set_message

SERVICE_NAME: Final = "svc_user"


class UserSettings(ServiceSettings):
    """Adds what only svc_user needs. The defaults of argon2id are those recommended for 64 MiB a hash."""

    user_signing_key_file: FilePath = Field(
        description="file with the EC P-256 key (PEM) that signs access tokens; USER_JWKS_FILE has its public half"
    )
    argon2_memory_kib: int = Field(default=64 * 1024, ge=8, description="memory of one password hash, KiB")
    argon2_time_cost: int = Field(default=3, ge=1, description="passes over that memory")
    argon2_parallelism: int = Field(default=1, ge=1, description="lanes of one password hash")
    password_concurrency: int = Field(
        default=0, ge=0, description="password hashes that run at once; 0: one for each core that this process may use"
    )
    password_max_waiting: int = Field(default=64, ge=0, description="calls that may wait for a password hash")
    password_longest_wait_seconds: float = Field(
        default=2.0, gt=0, description="how long such a call waits before it is refused as OVERLOADED"
    )

    login_longest_wait_seconds: float = Field(
        default=60.0, ge=1, description="how long failed log-ins make the next one wait at most; nobody is locked out"
    )
    login_failures_known: int = Field(
        default=10, ge=1, description="failures without a wait from a network where the account logged in before"
    )
    login_failures_strange: int = Field(
        default=5, ge=1, description="failures without a wait at one account from any other network"
    )
    login_failures_account: int = Field(
        default=50, ge=1, description="failures without a wait at one account from all such networks together"
    )
    login_failures_network: int = Field(
        default=100, ge=1, description="failures without a wait from one network at accounts that it isn't known to"
    )
    logins_per_second: float = Field(default=5.0, gt=0, description="log-ins a second from one network")
    login_burst: int = Field(default=200, ge=1, description="log-ins from one network at once")
    registrations_per_second: float = Field(default=1.0, gt=0, description="registrations a second from one network")
    registration_burst: int = Field(default=200, ge=1, description="registrations from one network at once")
    refreshes_per_second: float = Field(default=20.0, gt=0, description="refreshes a second from one network")
    refresh_burst: int = Field(default=1000, ge=1, description="refreshes from one network at once")

    def throttle_limits(self) -> ThrottleLimits:
        """Returns how often the methods that anybody may call may be called."""
        longest = timedelta(seconds=self.login_longest_wait_seconds)
        return ThrottleLimits(
            attempts=AttemptPolicy(
                known_origin=Backoff(self.login_failures_known, longest),
                strange_origin=Backoff(self.login_failures_strange, longest),
                strangers_of_account=Backoff(self.login_failures_account, longest),
                strangers_of_network=Backoff(self.login_failures_network, longest),
                # Much longer than the wait, or waiting would earn the free failures anew.
                memory=60 * longest,
            ),
            logins=Rate(self.logins_per_second, self.login_burst),
            registrations=Rate(self.registrations_per_second, self.registration_burst),
            refreshes=Rate(self.refreshes_per_second, self.refresh_burst),
        )

    def password_limits(self) -> PasswordLimits:
        """Returns the limits of password hashing."""
        return PasswordLimits(
            memory_kib=self.argon2_memory_kib,
            time_cost=self.argon2_time_cost,
            parallelism=self.argon2_parallelism,
            concurrency=self.password_concurrency or len(os.sched_getaffinity(0)),
            max_waiting=self.password_max_waiting,
            longest_wait=timedelta(seconds=self.password_longest_wait_seconds),
        )


def build(user_settings: UserSettings, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service, ready to start; `now` is the clock of sessions. Called within the event loop."""
    database = Database(user_settings.database_url, pool_size=user_settings.database_pool_size)
    tasks_database = Database(user_settings.tasks_database_url, pool_size=1)
    passwords = PasswordHasher(user_settings.password_limits())
    tokens = _token_source(user_settings, now)
    guard = RedisGuard.connected_to(user_settings.redis_url)
    auth = AuthServicer(database, passwords, tokens, _throttle(user_settings, guard))
    return Server(
        user_settings,
        SERVICE_NAME,
        public=[
            (auth_service_pb2_grpc.add_AuthServiceServicer_to_server, auth),
            (add_UserServiceServicer_to_server, UserServicer(database)),
        ],
        internal=[(add_UserDirectoryServiceServicer_to_server, UserDirectoryServicer(database))],
        background=[partial(_sweep, tasks_database, now)],
        on_stop=[passwords.close, database.close, tasks_database.close, guard.close],
    )


def _throttle(user_settings: UserSettings, guard: RedisGuard) -> Throttle:
    # All replicas share the service's key, and so the names of counts.
    key = user_settings.service_key_file.read_bytes()
    return Throttle(
        attempts=SharedAttempts(guard),
        buckets=SharedBuckets(guard),
        addresses=ClientAddresses.from_file(user_settings.edge_secret_file),
        limits=user_settings.throttle_limits(),
        secret=hashlib.sha256(b"pingvas login attempts\0" + key).digest(),
    )


async def _sweep(tasks_database: Database, now: Callable[[], datetime], stop: Event) -> None:
    await run_sweeps(tasks_database, tasks.sweeps(tasks_database, now), stop)


def _token_source(user_settings: UserSettings, now: Callable[[], datetime]) -> TokenSource:
    signing_key = SigningKey.from_file(user_settings.user_signing_key_file)
    return TokenSource(
        issuer=AccessTokenIssuer(
            signing_key, user_settings.token_issuer, user_settings.token_audience, ACCESS_TOKEN_LIFETIME
        ),
        jwk_set=_jwk_set(user_settings, signing_key),
        random_bytes=secrets.token_bytes,
        clock=now,
    )


def _jwk_set(user_settings: UserSettings, signing_key: SigningKey) -> auth_service_pb2.JwkSet:
    """Returns the published keys; raises OSError when verifiers would refuse what this process signs."""
    keys = json.loads(user_settings.user_jwks_file.read_bytes())["keys"]
    if signing_key.kid not in {key.get("kid") for key in keys}:
        raise OSError(
            f"USER_JWKS_FILE has no key {signing_key.kid}: add the public half of USER_SIGNING_KEY_FILE to it, here "
            "and at every verifier, before signing with that key"
        )
    return jwk_set_message(keys)


def main() -> None:
    """Serves until SIGTERM."""
    user_settings = settings.load(UserSettings)
    run(user_settings, partial(build, user_settings))


if __name__ == "__main__":
    main()
