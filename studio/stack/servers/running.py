"""Servers that somebody else runs: the checks that they are there, made before anything that needs them is started.

They take the place of our own servers in the graph, under the same names, so that whatever depends on those need not
know the difference.
"""

import asyncio
from urllib.parse import urlsplit

import asyncpg
from redis.exceptions import RedisError

from studio.stack.connections import DatabaseConnection, ObjectStoreConnection
from studio.stack.failures import StackError
from studio.stack.process import Step
from svc_common.redis_client import connect

_REACH_SECONDS = 5.0


def running_database(name: str, database: DatabaseConnection) -> Step:
    """Returns the check that the administrator can log in to the database that DATABASE_URL names."""

    async def check() -> None:
        try:
            connection = await asyncpg.connect(database.admin_url, timeout=_REACH_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _unreachable("DATABASE_URL", error) from error
        await connection.close()

    return Step(name, check)


def running_redis(name: str, url: str) -> Step:
    """Returns the check that the Redis that REDIS_URL names answers."""

    async def check() -> None:
        client = connect(url, socket_timeout_seconds=_REACH_SECONDS, retries=0)
        try:
            await client.ping()
        except (OSError, RedisError) as error:
            raise _unreachable("REDIS_URL", error) from error
        finally:
            await client.aclose()

    return Step(name, check)


def running_object_store(name: str, store: ObjectStoreConnection) -> Step:
    """Returns the check that somebody listens at S3_ENDPOINT_URL; the services find out about keys and bucket."""

    async def check() -> None:
        parts = urlsplit(store.endpoint_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(_REACH_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError) as error:
            raise _unreachable("S3_ENDPOINT_URL", error) from error
        writer.close()

    return Step(name, check)


def _unreachable(setting: str, error: Exception) -> StackError:
    return StackError(
        f"the server that {setting} names does not answer: {error or type(error).__name__}",
        advice=f"Start it, correct {setting}, or unset it to use the stack's own server.",
    )
