"""The form of addresses that name Sentinels instead of a server, and the client that follows the primary they name.

`redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT,.../PRIMARY/DATABASE`, or `rediss+sentinel://` for TLS to all of them.
PRIMARY is the name under which the Sentinels watch it. `?sentinel_username=...&sentinel_password=...` are the Sentinels' own.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

_SCHEMES: Final = {"redis+sentinel": False, "rediss+sentinel": True}
_PORT: Final = 26379
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+)(?::(\d{1,5}))?")
_FORM: Final = "redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/PRIMARY/DATABASE"
# Each Sentinel is asked in turn, so that one that is away costs this much.
_SENTINEL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where Sentinels are, and what they watch."""

    hosts: tuple[tuple[str, int], ...]
    primary: str
    database: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads an address; raises ValueError, without the password, for one of another form."""
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        primary, _, database = parts.path.strip("/").partition("/")
        found = [_HOST.fullmatch(host) for host in hosts.split(",")]
        if parts.scheme not in _SCHEMES or not primary or not all(found) or not re.fullmatch(r"\d*", database):
            raise ValueError(f"an address of Sentinels has the form {_FORM}")
        own = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            hosts=tuple((match[1].strip("[]"), int(match[2] or _PORT)) for match in found if match),
            primary=unquote(primary),
            database=int(database or 0),
            username=unquote(username) or None,
            password=unquote(password) or None,
            sentinel_username=own.get("sentinel_username"),
            sentinel_password=own.get("sentinel_password"),
            tls=_SCHEMES[parts.scheme],
        )


def is_sentinel_url(url: str) -> bool:
    """Tells whether an address names Sentinels."""
    return urlsplit(url).scheme in _SCHEMES


class SentinelRedis(Redis):
    """A client of the primary. Each new connection asks the Sentinels for it, and a demoted one is left at once."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Closes the connections to the primary and to the Sentinels."""
        await super().aclose(close_connection_pool)
        manager = cast("SentinelConnectionPool", self.connection_pool).sentinel_manager
        for sentinel in manager.sentinels:
            await sentinel.aclose()


def connect_by_sentinels(address: SentinelAddress, **options: Any) -> Redis:
    """Returns a client with its own pool; `options` are those of connections to the primary."""
    tls: dict[str, Any] = {"ssl": True} if address.tls else {}
    asking = {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": _SENTINEL_SECONDS,
        "socket_connect_timeout": _SENTINEL_SECONDS,
        **tls,
    }
    sentinel = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        address.primary,
        redis_class=SentinelRedis,
        db=address.database,
        username=address.username,
        password=address.password,
        **tls,
        **options,
    )
    return client
