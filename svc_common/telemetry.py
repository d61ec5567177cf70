"""How a process is watched: structured logs on standard error, Prometheus metrics and a liveness page over HTTP."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest
from structlog.typing import EventDict, Processor, WrappedLogger

from svc_common.caller import present_call

# Reaches from a cached lookup to the default deadline of 10 s; WatchJob streams live in the last bucket.
_LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RPC_SECONDS: Final = Histogram(
    "rpc_server_seconds", "Duration of calls that this process served.", ("method", "code"), buckets=_LATENCY_BUCKETS
)
SWEEP_SECONDS: Final = Histogram("sweep_seconds", "Duration of sweeps that did not fail.", ("sweep",))
SWEEP_ROWS: Final = Counter("sweep_rows_total", "Rows that sweeps handled.", ("sweep",))
SWEEP_FAILURES: Final = Counter("sweep_failures_total", "Sweeps that failed.", ("sweep",))
FINALIZE_REFUSALS: Final = Counter(
    "finalize_refusals_total", "Jobs that failed because a step of closing them was refused.", ("obstacle",)
)
LEDGER_BREACHES: Final = Counter(
    "ledger_breaches_total", "Breaches that audits of the credit ledger found.", ("invariant",)
)
WEBHOOKS: Final = Counter(
    "webhooks_total", "Reports of payment providers, by what was answered.", ("provider", "outcome")
)

_REQUEST_BYTES_LIMIT: Final = 8192


def configure_logging(log_format: Literal["json", "console"], level: str) -> None:
    """Sends the events of structlog, and of libraries that use the standard logging, to standard error in one form."""
    numeric_level = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_call,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(numeric_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(log_format))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(numeric_level)


def _rendering(log_format: Literal["json", "console"]) -> list[Processor]:
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if log_format == "console":
        return [clean, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [clean, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _add_call(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    call = present_call()
    if call is not None:
        event.setdefault("request_id", call.request_id)
        event.setdefault("method", call.method)
        event.setdefault("caller", str(call.caller))
        if call.trace_parent:
            event.setdefault("traceparent", call.trace_parent)
    return event


class MetricsServer:
    """Serves GET /metrics, /healthz and /readyz from the process's event loop, so that a blocked loop fails the probes.

    /healthz tells whether the process lives, /readyz also whether the stores have room that it needs for new work.
    """

    def __init__(
        self,
        host: str,
        port: int,
        is_alive: Callable[[], bool] = lambda: True,
        full_stores: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Takes where to listen (port 0 takes a free one) and what the probes tell."""
        self._host = host
        self._wanted_port = port
        self._is_alive = is_alive
        self._full_stores = full_stores
        self._server: asyncio.Server | None = None
        self.port = port

    async def start(self) -> None:
        """Begins to listen; raises OSError when the port is taken."""
        self._server = await asyncio.start_server(
            self._answer, self._host, self._wanted_port, limit=_REQUEST_BYTES_LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops to listen."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
            status, content_type, body = self._page(request.split(b"\r\n", 1)[0])
            head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode("ascii") + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            pass  # The client went away or sent no HTTP: there is nobody to answer.
        finally:
            writer.close()

    def _page(self, request_line: bytes) -> tuple[str, str, bytes]:
        if request_line.startswith(b"GET /metrics"):
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
        is_readiness = request_line.startswith(b"GET /readyz")
        if not (is_readiness or request_line.startswith(b"GET /healthz")):
            return "404 Not Found", "text/plain", b"this port serves /metrics, /healthz and /readyz\n"
        if not self._is_alive():
            return "503 Unavailable", "text/plain", b"stopping\n"
        if is_readiness and (full := self._full_stores()):
            return "503 Unavailable", "text/plain", f"no room: {', '.join(full)}\n".encode()
        return "200 OK", "text/plain", b"ok\n"
