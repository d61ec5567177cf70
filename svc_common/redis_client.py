"""Connects to Redis in the one way that survives its restarts."""

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError  # noqa: A004 - redis-py's own names

REDIS_ERRORS: Final = (RedisError, OSError)
"""What a command raises while Redis is away; for code to which the loss of a hint is harmless."""

_RETRIES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5


def connect(
    url: str,
    *,
    socket_timeout_seconds: float | None = 5.0,
    decode_responses: bool = False,
    retries: int = _RETRIES,
) -> Redis:
    """Returns a client with its own pool; connects at the first command.

    A command that meets a lost connection is repeated three times within about half a second, so commands must be safe
    to repeat; whoever must know of each loss, as a subscriber must, sets `retries` to 0. `socket_timeout_seconds` must
    exceed the time of any blocking command. Raises redis' ConnectionError or TimeoutError, which the interceptors turn
    into DEPENDENCY_UNAVAILABLE.
    """
    client: Redis = Redis.from_url(
        url,
        decode_responses=decode_responses,
        socket_timeout=socket_timeout_seconds,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        # Finds connections that died silently, before a command is sent over them.
        health_check_interval=15,
        # redis-py 5 repeats nothing by default.
        retry=Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=_FIRST_PAUSE_SECONDS), retries),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError] if retries else [],
    )
    return client
