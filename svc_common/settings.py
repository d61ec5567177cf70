"""The settings that services share, read from plain environment variables and checked at start.

A service inherits from `ServiceSettings` in its own main.py, and from the others here that it needs: what it doesn't
declare it needn't be given. Settings go no further than that file.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeVar

from pydantic import DirectoryPath, Field, FilePath, ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from svc_common.free_space import USUAL_MARKS, Store
from svc_common.mutual_tls import MutualTlsSettings
from svc_common.registry import AREAS

_CONFIGURATION_ERROR_EXIT_CODE: Final = 2

REDIS_ADDRESS: Final = r"^((rediss?|unix)://|rediss?\+sentinel://[^/?]+/[^/?]+)"
"""The form of the addresses that `svc_common.redis_client.connect` takes."""
_CONFIG: Final = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
_ADDRESS_PATTERN: Final = r"^[A-Za-z0-9.\-\[\]:]+:\d{1,5}$"

LEAST_CONNECTIONS: Final = 14
"""What the service with most sweeps needs for them, and a few for requests."""


def _address(description: str) -> str:
    return Field(pattern=_ADDRESS_PATTERN, description=f"{description}, as host:port")  # type: ignore[no-any-return]


def neighbour(area: str) -> str:
    """Returns the field for the address of another service, which a service declares that calls it."""
    return _address(f"internal listener of svc_{area}")


class ServiceSettings(MutualTlsSettings):
    """Every setting that all services have; the environment variable has the field's name in capitals."""

    model_config = _CONFIG

    public_address: str = _address("where the public listener is bound")
    internal_address: str = _address("where the internal listener is bound")
    metrics_port: int = Field(
        ge=0, le=65535, description="port of /metrics and /healthz on 127.0.0.1; 0 takes a free one"
    )
    metrics_host: str = Field(default="127.0.0.1", description="address of /metrics and /healthz; 0.0.0.0 in a cluster")

    database_url: str = Field(
        pattern=r"^postgresql\+asyncpg://", description="postgresql+asyncpg:// URL of the login role for requests"
    )
    tasks_database_url: str = Field(
        pattern=r"^postgresql\+asyncpg://", description="postgresql+asyncpg:// URL of the login role for tasks"
    )
    database_connections: int = Field(
        default=24,
        ge=LEAST_CONNECTIONS,
        description="connections to PostgreSQL that this process opens at most, by both roles together; those of all processes "
        "must stay below the server's max_connections",
    )
    database_wait_seconds: float = Field(
        default=5.0, gt=0, description="how long a call waits for a free connection before it is refused as OVERLOADED"
    )
    redis_url: str = Field(pattern=REDIS_ADDRESS, description="redis:// or redis+sentinel:// URL of the queue's Redis")

    user_jwks_file: FilePath = Field(description="file with the public keys of users' access tokens, a JWK set")
    service_key_file: FilePath = Field(description="file with this process's own EC P-256 private key, PEM")
    service_jwks_file: FilePath = Field(
        description="file with the public keys of all services, a JWK set whose kid is the service's name"
    )
    token_issuer: str = Field(default="https://pingvas.studio", description="issuer that users' access tokens name")
    token_audience: str = Field(default="pingvas-api", description="audience that users' access tokens name")

    edge_secret_file: FilePath | None = Field(
        default=None,
        description="file with the secret by which the edge proves that it names the client's address; absent: the client "
        "is whoever connects",
    )

    storage_folders: dict[Store, DirectoryPath] = Field(
        default={},
        description='folders of stores on this machine whose free space is watched, as {"postgresql": "/path", ...} with '
        "postgresql, redis and s3; absent: only what the stores refuse is known",
    )
    storage_low_bytes: int = Field(
        default=USUAL_MARKS.low_bytes, ge=0, description="free bytes below which a store counts as full"
    )
    storage_high_bytes: int = Field(
        default=USUAL_MARKS.high_bytes, ge=0, description="free bytes from which a full store has room again"
    )
    account_limit_factor: float = Field(
        default=1.0,
        ge=0,
        description="what the calls and streams that tiers allow accounts are multiplied by; 0: no such limits, for benchmarks",
    )

    log_format: Literal["json", "console"] = Field(default="json", description="form of the log")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event that is logged"
    )
    reflection: bool = Field(
        default=False, description="whether the public listener tells its contracts to anybody (for development)"
    )

    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="how long a stopping process takes calls while it says NOT_SERVING; above the edge's health interval",
    )
    grace_seconds: float = Field(
        default=10.0, ge=0, description="how long calls in progress may take to end when the process stops"
    )
    max_connection_age_seconds: float = Field(
        default=0.0,
        ge=0,
        description="age at which a connection is told to go elsewhere, so that load spreads over replicas; 0: never",
    )


class StoreSettings(BaseSettings):
    """What a service needs besides that signs addresses of objects, or reads and writes them."""

    model_config = _CONFIG

    s3_endpoint_url: str = Field(pattern=r"^https?://", description="URL of the S3 endpoint that this process talks to")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="URL of the same endpoint for clients; absent: S3_ENDPOINT_URL"
    )
    s3_access_key: str = Field(min_length=3, description="access key of the bucket")
    s3_secret_key: str = Field(min_length=3, description="secret key of the bucket")
    s3_region: str = Field(default="us-east-1", description="region that signatures name")

    @property
    def s3_signing_endpoint_url(self) -> str:
        """The endpoint that presigned URLs name: the one that clients reach."""
        return self.s3_public_endpoint_url or self.s3_endpoint_url


class PictureSettings(StoreSettings):
    """What a service needs besides that works with the bucket of pictures."""

    s3_bucket: str = Field(default="pingvas", description="bucket of all pictures")
    objects_public_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL under which clients reach objects, such as that of the edge's /objects; absent: the store's own",
    )


class _PublicAddresses(BaseSettings):
    model_config = _CONFIG

    @property
    def public_addresses(self) -> dict[str, str]:
        """The public listener of each area's service, as host:port."""
        return {area: str(getattr(self, f"{area}_public_address")) for area in AREAS}


if TYPE_CHECKING:

    class PublicAddresses(_PublicAddresses):
        """The public listener of every service, such as `user_public_address`, for what leads calls to them."""

else:
    PublicAddresses = create_model(
        "PublicAddresses",
        __base__=_PublicAddresses,
        **{f"{area}_public_address": (str, _address(f"public listener of svc_{area}")) for area in AREAS},
    )


S = TypeVar("S", bound=BaseSettings)


def load(cls: type[S]) -> S:
    """Reads the settings; on a mistake prints each setting with what to change and exits with code 2.

    They come from the environment and, where SECRETS_DIR names a folder, from its files named as the fields are: what is
    mounted as a file shows in no list of processes and in no description of a container. The environment wins.
    """
    try:
        # The argument is pydantic-settings' own, of every class of settings.
        return cls(_secrets_dir=os.environ.get("SECRETS_DIR"))
    except ValidationError as error:
        _refuse(cls, error)


def _refuse(cls: type[BaseSettings], error: ValidationError) -> NoReturn:
    sys.stderr.write("This process can't start; change these environment variables:\n")
    for problem in error.errors(include_url=False, include_input=False):
        sys.stderr.write(f"  {_problem_line(cls, problem)}\n")
    sys.exit(_CONFIGURATION_ERROR_EXIT_CODE)


def _problem_line(cls: type[BaseSettings], problem: Mapping[str, object]) -> str:
    location = problem["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else "(all)"
    field = cls.model_fields.get(name)
    fault = "is not set" if problem["type"] == "missing" else str(problem["msg"]).lower()
    return f"{name.upper()}: {fault}. Set it to: {field.description if field else 'see the message'}"
