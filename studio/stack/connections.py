"""Which PostgreSQL, Redis, S3 and SMTP the services of a stack use, and the addresses they are given for them.

Setting DATABASE_URL, REDIS_URL, S3_ENDPOINT_URL or SMTP_URL makes the stack use a server that runs already. Whose server it is
makes no difference to the services: only the addresses differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

from studio.stack.failures import StackError
from svc_common.registry import AREAS
from svc_common.roles import roles_of

DEFAULT_BUCKET = "pingvas"
DEFAULT_MODELS_BUCKET = "pingvas-models"
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class DatabaseConnection:
    """A PostgreSQL database, by the address with which its administrator reaches it."""

    admin_url: str
    max_connections: int | None = None
    """As many as it allows, where that is known."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Takes the address of a running database; raises StackError when it names none."""
        parts = urlsplit(url)
        if not (parts.scheme.startswith("postgres") and parts.hostname and parts.path.strip("/")):
            raise StackError(
                "DATABASE_URL is not the address of a PostgreSQL database",
                advice="Write it as postgresql://ADMIN:PASSWORD@HOST:PORT/DATABASE, or unset it.",
            )
        return cls(urlunsplit(parts._replace(scheme="postgresql")))

    @property
    def name(self) -> str:
        """The database's name, which is also the first part of the names of its roles."""
        return urlsplit(self.admin_url).path.strip("/")

    @property
    def roles(self) -> tuple[str, ...]:
        """The login roles of all services."""
        return tuple(role for area in AREAS for role in (self.requests_role(area), self.tasks_role(area)))

    def requests_role(self, area: str) -> str:
        """Returns the role with which a service answers requests, bound by row-level security."""
        return roles_of(self.name, area).requests

    def tasks_role(self, area: str) -> str:
        """Returns the role with which a service does scheduled work over all tenants."""
        return roles_of(self.name, area).tasks

    def url_for(self, role: str, password: str) -> str:
        """Returns the address with which a service logs in as one of its roles."""
        parts = urlsplit(self.admin_url)
        host_and_port = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(role, safe='')}:{quote(password, safe='')}@{host_and_port}"
        return urlunsplit(parts._replace(scheme="postgresql+asyncpg", netloc=netloc))


@dataclass(frozen=True, slots=True)
class ObjectStoreConnection:
    """An S3 server and the buckets on it: one of pictures, one of models."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str = DEFAULT_BUCKET
    models_bucket: str = DEFAULT_MODELS_BUCKET
    region: str = DEFAULT_REGION
    public_endpoint_url: str = ""
    # Where clients reach objects through a proxy; empty: at the endpoint itself.
    objects_public_url: str = ""

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> Self:
        """Takes a running server from the environment; raises StackError when its keys are missing."""
        missing = [name for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY") if not environment.get(name)]
        if missing:
            raise StackError(
                f"S3_ENDPOINT_URL is set, but {' and '.join(missing)} not",
                advice="Set them too, or unset S3_ENDPOINT_URL to use the stack's own server.",
            )
        return cls(
            endpoint_url=environment["S3_ENDPOINT_URL"],
            access_key=environment["S3_ACCESS_KEY"],
            secret_key=environment["S3_SECRET_KEY"],
            bucket=environment.get("S3_BUCKET", DEFAULT_BUCKET),
            models_bucket=environment.get("MODELS_BUCKET", DEFAULT_MODELS_BUCKET),
            region=environment.get("S3_REGION", DEFAULT_REGION),
            public_endpoint_url=environment.get("S3_PUBLIC_ENDPOINT_URL", ""),
            objects_public_url=environment.get("OBJECTS_PUBLIC_URL", ""),
        )

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of the addresses that clients get."""
        parts = urlsplit(self.objects_public_url or self.public_endpoint_url or self.endpoint_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which a service reaches it, whichever its bucket."""
        return {
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_PUBLIC_ENDPOINT_URL": self.public_endpoint_url or self.endpoint_url,
            "S3_ACCESS_KEY": self.access_key,
            "S3_SECRET_KEY": self.secret_key,
            "S3_REGION": self.region,
        }

    @property
    def pictures(self) -> dict[str, str]:
        """The settings of a service for the bucket of pictures."""
        public = {"OBJECTS_PUBLIC_URL": self.objects_public_url} if self.objects_public_url else {}
        return {**self.environment, "S3_BUCKET": self.bucket, **public}

    @property
    def model_files(self) -> dict[str, str]:
        """The settings of a service for the bucket of models."""
        return {**self.environment, "MODELS_BUCKET": self.models_bucket}


@dataclass(frozen=True, slots=True)
class Connections:
    """The three servers that hold a stack's data, and the one that takes its mails."""

    database: DatabaseConnection
    redis_url: str
    object_store: ObjectStoreConnection
    smtp_url: str
