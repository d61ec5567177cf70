"""Third layer: turns whatever a handler raises into the one form that callers see.

ServiceError goes out as it is. What drivers raise when a server is gone becomes DEPENDENCY_UNAVAILABLE. Anything else
is a defect: the caller gets INTERNAL, a fixed text and an error id; the trace is in the log under that id, and no
driver's text leaves.
"""

import asyncio
from typing import Final

import redis.exceptions
import structlog

from svc_common.caller import Call
from svc_common.capacity import storage_full
from svc_common.clock import new_id
from svc_common.errors import Code, Reason, ServiceError, dependency_unavailable
from svc_common.free_space import Store
from svc_common.interceptors.hooks import Hooks, Outcome
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Method
from svc_common.redis_client import is_out_of_room

_log: Final = structlog.get_logger("rpc")

_FAULT_TEXT: Final = "The server failed in a way that you can't mend. Report the error_id, or try again later."
_REDIS_GONE: Final = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


class ErrorTranslation:
    """Translates exceptions into outcomes."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:  # noqa: ARG002 - every method is treated alike
        """Returns the hook that translates."""
        return Hooks(translate=_translate)


def _translate(_: Call, error: BaseException) -> Outcome:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return _translate_cancellation(error)
    if isinstance(error, ServiceError):
        return Outcome(error.code, error)
    if isinstance(error, _REDIS_GONE):
        _log.warning("redis.unavailable", error=str(error))
        gone = dependency_unavailable("redis", "The queue's store doesn't answer. Retry with backoff.")
        return Outcome(gone.code, gone)
    if is_out_of_room(error):
        full = storage_full(Store.REDIS)
        return Outcome(full.code, full)
    return _translate_fault(error)


def _translate_cancellation(error: BaseException) -> Outcome:
    task = asyncio.current_task()
    if isinstance(error, GeneratorExit) or task is None or task.cancelling():
        return Outcome(Code.CANCELLED)
    # Nobody cancelled this call: something it waited for was cancelled, as happens at shutdown. Without an answer the
    # client would hang until its deadline (grpc issue 29248).
    interrupted = dependency_unavailable("server", "The server interrupted the call. Retry with backoff.")
    return Outcome(interrupted.code, interrupted)


def _translate_fault(error: BaseException) -> Outcome:
    error_id = str(new_id())
    _log.error("rpc.failed", error_id=error_id, exc_info=error)
    fault = ServiceError(Reason.INTERNAL, _FAULT_TEXT, metadata={"error_id": error_id})
    return Outcome(fault.code, fault)
