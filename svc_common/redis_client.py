"""Connects to Redis in the one way that survives its restarts."""

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - redis-py's own name
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's own name
)

from svc_common.redis_sentinel import SentinelAddress, connect_by_sentinels, is_sentinel_url

REDIS_ERRORS: Final = (RedisError, OSError)
"""What a command raises while Redis is away; for code to which the loss of a hint is harmless."""

_CANNOT_SAVE: Final = "MISCONF "
_RETRIES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5


def is_out_of_room(error: BaseException) -> bool:
    """Tells whether Redis refused a write for want of memory, or because it can't save what it has on its disk."""
    # Behind the command where it was one of several.
    return isinstance(error, OutOfMemoryError) or (isinstance(error, ResponseError) and _CANNOT_SAVE in str(error))


def connect(
    url: str,
    *,
    socket_timeout_seconds: float | None = 5.0,
    decode_responses: bool = False,
    retries: int = _RETRIES,
) -> Redis:
    """Returns a client with its own pool, of one server or of the primary that Sentinels name; connects at the first command.

    A command that meets a lost connection is repeated three times within about half a second, so commands must be safe
    to repeat; whoever must know of each loss, as a subscriber must, sets `retries` to 0. `socket_timeout_seconds` must
    exceed the time of any blocking command. Raises redis' ConnectionError or TimeoutError, which the interceptors turn
    into DEPENDENCY_UNAVAILABLE.
    """
    options: dict[str, Any] = {
        "decode_responses": decode_responses,
        "socket_timeout": socket_timeout_seconds,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        # Finds connections that died silently, before a command is sent over them.
        "health_check_interval": 15,
        # redis-py 5 repeats nothing by default.
        "retry": Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=_FIRST_PAUSE_SECONDS), retries),
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError] if retries else [],
    }
    if is_sentinel_url(url):
        return connect_by_sentinels(SentinelAddress.parse(url), **options)
    client: Redis = Redis.from_url(url, **options)
    return client
