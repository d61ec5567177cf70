"""Repeating a call while a part of the platform is away. What a worker has computed outlives the restart of a database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from gpu_worker.claim.lease import Lease, LeaseLostError
from svc_common.errors import Reason, ServiceError

R = TypeVar("R")

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_REPEATED: Final = frozenset(
    {Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_TOO_SHORT, Reason.OVERLOADED, Reason.STORAGE_FULL}
)


async def insist(call: Callable[[], Awaitable[R]], lease: Lease) -> R:
    """Repeats a call with growing pauses for as long as the lease is held; other refusals than an absence are raised.

    Raises:
        LeaseLostError: the lease was lost meanwhile.
        ServiceError: the call was refused.
    """
    pause = _FIRST_PAUSE_SECONDS
    while not lease.lost.is_set():
        try:
            return await call()
        except ServiceError as error:
            if error.reason not in _REPEATED:
                raise
            _log.warning("call.repeated", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    raise LeaseLostError
