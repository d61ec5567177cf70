"""Second layer: counts, times and logs every call, whatever becomes of it."""

import time
from typing import Final

import structlog
from prometheus_client import Histogram

from svc_common.caller import Call
from svc_common.errors import Code
from svc_common.interceptors.hooks import Hooks, Outcome
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Method
from svc_common.telemetry import RPC_SECONDS

_log: Final = structlog.get_logger("rpc")


class CallReport:
    """Observes the latency by method and code, and logs `rpc.refused` for every call that got an error.

    Faults are logged with their trace where they are translated; accesses are logged by the edge.
    """

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:
        """Returns the hook that reports the call; the metric's children are looked up once for each code."""
        seconds: dict[Code, Histogram] = {}

        def report(call: Call, outcome: Outcome) -> None:
            elapsed = time.monotonic() - call.started
            child = seconds.get(outcome.code)
            if child is None:
                child = seconds[outcome.code] = RPC_SECONDS.labels(method.path, outcome.code.name)
            child.observe(elapsed)
            if outcome.error is not None:
                _log.info("rpc.refused", code=outcome.code.name, reason=outcome.error.reason, seconds=round(elapsed, 4))

        return Hooks(after=report)
