"""The settings that all services share, read from plain environment variables and checked at start.

A service that needs more inherits from `ServiceSettings` in its own main.py; settings go no further than that file.
"""

import sys
from collections.abc import Mapping
from typing import Final, Literal, NoReturn, TypeVar

from pydantic import Field, FilePath, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_CONFIGURATION_ERROR_EXIT_CODE: Final = 2

_ADDRESS_PATTERN: Final = r"^[A-Za-z0-9.\-\[\]:]+:\d{1,5}$"


def _address(description: str) -> str:
    return Field(pattern=_ADDRESS_PATTERN, description=f"{description}, as host:port")  # type: ignore[no-any-return]


class ServiceSettings(BaseSettings):
    """Every setting that two services or more have; the environment variable has the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

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
    database_pool_size: int = Field(default=10, ge=1, description="connections that a process keeps to each of the two")
    redis_url: str = Field(pattern=r"^(rediss?|unix)://", description="redis:// URL of the queue's Redis")

    s3_endpoint_url: str = Field(pattern=r"^https?://", description="URL of the S3 endpoint that this process talks to")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="URL of the same endpoint for clients; absent: S3_ENDPOINT_URL"
    )
    objects_public_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL under which clients reach objects, such as that of the edge's /objects; absent: the store's own",
    )
    s3_access_key: str = Field(min_length=3, description="access key of the bucket")
    s3_secret_key: str = Field(min_length=3, description="secret key of the bucket")
    s3_bucket: str = Field(default="pingvas", description="bucket of all pictures")
    s3_region: str = Field(default="us-east-1", description="region that signatures name")

    user_jwks_file: FilePath = Field(description="file with the public keys of users' access tokens, a JWK set")
    service_key_file: FilePath = Field(description="file with this process's own EC P-256 private key, PEM")
    service_jwks_file: FilePath = Field(
        description="file with the public keys of all services, a JWK set whose kid is the service's name"
    )
    token_issuer: str = Field(default="https://pingvas.studio", description="issuer that users' access tokens name")
    token_audience: str = Field(default="pingvas-api", description="audience that users' access tokens name")

    user_internal_address: str = _address("internal listener of svc_user")
    payment_internal_address: str = _address("internal listener of svc_payment")
    generation_internal_address: str = _address("internal listener of svc_generation")
    gallery_internal_address: str = _address("internal listener of svc_gallery")
    models_internal_address: str = _address("internal listener of svc_models")

    edge_secret_file: FilePath | None = Field(
        default=None,
        description="file with the secret by which the edge proves that it names the client's address; absent: the client "
        "is whoever connects",
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

    @property
    def s3_signing_endpoint_url(self) -> str:
        """The endpoint that presigned URLs name: the one that clients reach."""
        return self.s3_public_endpoint_url or self.s3_endpoint_url


S = TypeVar("S", bound=BaseSettings)


def load(cls: type[S]) -> S:
    """Reads the settings from the environment; on a mistake prints each setting with what to change and exits with code 2."""
    try:
        return cls()
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
