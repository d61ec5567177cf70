"""The life of a service process: two listeners, health, metrics, background work, and an orderly end.

Every service's main.py composes its parts and hands them over; what happens at a call is left to
`svc_common.interceptors`.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from svc_common.capacity import Capacity
from svc_common.concurrency import end_tasks
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.errors import ServiceError
from svc_common.health_names import STORAGE_HEALTH
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import ContractError
from svc_common.interceptors.registration import Listener, Registration, register
from svc_common.key_sets import KeySet
from svc_common.limits.accounts import AccountLimits
from svc_common.mutual_tls import MutualTls
from svc_common.reflection import enable_reflection
from svc_common.revocations import Revocations
from svc_common.settings import ServiceSettings
from svc_common.telemetry import MetricsServer, configure_logging
from svc_common.tokens import AccessTokens, ServiceTokens

Background = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Work beside the calls. It gets an event that is set when it must end, and ends by itself soon after."""

StartCallback = Callable[[], Awaitable[None]]
StopCallback = Callable[[], Awaitable[None]]

_log: Final = structlog.get_logger("server")

_CANNOT_START_EXIT_CODE: Final = 2
_FOUR_MEBIBYTES: Final = 4 * 1024 * 1024
_EIGHT_KIBIBYTES: Final = 8 * 1024


class Server:
    """One service process.

    `public` and `internal` are pairs of a generated `add_XServicer_to_server` and the servicer. So is `edge`: services of
    Envoy's own protocols, which answer on the public listener without the layers, and check by themselves who asks. Envoy
    has no route to them. `on_start` callbacks end before anything is served. `limits` holds accounts to what their tiers allow.

    While a store of `capacity` is full, health says NOT_SERVING of the public services and of "storage", and /readyz says
    which store it is. Of the whole server health says SERVING: whatever needs no room goes on.

    On stop, in this order: health says NOT_SERVING and no new load comes; `on_drain` callbacks end long streams; calls in
    progress get the grace period; background work ends; `on_stop` callbacks close pools.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        name: str,
        *,
        public: Sequence[Registration] = (),
        internal: Sequence[Registration] = (),
        edge: Sequence[Registration] = (),
        background: Sequence[Background] = (),
        on_start: Sequence[StartCallback] = (),
        on_drain: Sequence[StopCallback] = (),
        on_stop: Sequence[StopCallback] = (),
        verifiers: Verifiers | None = None,
        capacity: Capacity | None = None,
        limits: AccountLimits | None = None,
        revocations: Revocations | None = None,
        health_servicer: health.HealthServicer | None = None,
    ) -> None:
        """Builds both listeners; raises ContractError when a method may not be served.

        A caller that knows more of the platform's health than the server does gives the servicer, and sets names of its own.
        """
        self._settings = settings
        self._name = name
        self._capacity = capacity
        revocations = revocations or Revocations.connected_to(settings.redis_url)
        self._background = [
            *background,
            self._watch_capacity,
            revocations.run,
            *([limits.run] if limits else []),
        ]
        self._on_start = on_start
        self._on_drain = on_drain
        self._on_stop = (*on_stop, revocations.close, *([limits.close] if limits else []))
        self._asked_to_stop = asyncio.Event()
        self._stop_began = False
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._health = health_servicer or health.HealthServicer()
        verifiers = verifiers or verifiers_from(settings, limits, revocations)
        self._background += [verifiers.access_tokens.follow_keys, verifiers.service_tokens.follow_keys]
        self._public, self._public_services = self._listener(public, Listener.PUBLIC, verifiers)
        self._internal, self._internal_services = self._listener(internal, Listener.INTERNAL, verifiers)
        for add, servicer in edge:
            add(servicer, self._public)
        self._metrics = MetricsServer(
            settings.metrics_host, settings.metrics_port, lambda: not self._stopping.is_set(), self._full_stores
        )
        self.public_port = self.internal_port = 0

    @property
    def metrics_port(self) -> int:
        """The port of /metrics and /healthz."""
        return self._metrics.port

    async def start(self) -> None:
        """Runs the `on_start` callbacks, binds the ports and begins to serve; raises OSError when a port is taken."""
        for prepare in self._on_start:
            await prepare()
        self.public_port = _bind(self._public, self._settings.public_address, self._settings.mutual_tls)
        self.internal_port = _bind(self._internal, self._settings.internal_address, self._settings.mutual_tls)
        for service in (*self._public_services, *self._internal_services, STORAGE_HEALTH):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._metrics.start()
        await self._public.start()
        await self._internal.start()
        self._tasks = [asyncio.create_task(self._watch_over(work)) for work in self._background]
        _log.info("server.started", service=self._name, public_port=self.public_port, internal_port=self.internal_port)

    async def stop(self) -> None:
        """Ends the process's work in order; see the class. A second call does nothing."""
        if self._stop_began:
            return
        self._stop_began = True
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.drain_seconds)
        self._stopping.set()
        for end_streams in self._on_drain:
            await end_streams()
        grace = self._settings.grace_seconds
        await asyncio.gather(self._public.stop(grace), self._internal.stop(grace))
        await self._end_background(grace)
        await self._metrics.stop()
        for close in self._on_stop:
            await close()
        if self._capacity is not None:
            await self._capacity.close()
        _log.info("server.stopped", service=self._name)

    async def serve(self) -> None:
        """Serves until SIGTERM or SIGINT, or until background work fails, whose error it raises after an orderly end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop.set)
        await self.start()
        freeze_garbage()
        await self._asked_to_stop.wait()
        await self.stop()
        if self._failure is not None:
            raise self._failure

    def _listener(
        self, registrations: Sequence[Registration], listener: Listener, verifiers: Verifiers
    ) -> tuple[grpc.aio.Server, tuple[str, ...]]:
        server = grpc.aio.server(options=_options(self._settings))
        services = register(server, registrations, listener, verifiers)
        # Health and reflection are no methods of ours: anybody who reaches the port may ask, and no interceptor looks
        # at them.
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection and listener is Listener.PUBLIC:
            enable_reflection(server, DESCRIPTOR_SET.read_bytes())
        return server, services

    def _full_stores(self) -> Sequence[str]:
        return () if self._capacity is None else self._capacity.full

    async def _watch_capacity(self, stop: asyncio.Event) -> None:
        if self._capacity is not None:
            await self._capacity.watch(stop, self._tell_capacity)

    async def _tell_capacity(self, has_room: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in (*self._public_services, STORAGE_HEALTH):
            await self._health.set(service, status.SERVING if has_room else status.NOT_SERVING)

    async def _watch_over(self, work: Background) -> None:
        try:
            await work(self._stopping)
        except Exception as error:  # noqa: BLE001 - whatever it is
            # A service without its sweeps must not look healthy: it ends, and is started anew.
            _log.error("server.background_failed", service=self._name, exc_info=error)
            self._failure = error
            self._asked_to_stop.set()

    async def _end_background(self, grace: float) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        await end_tasks(*late)


def verifiers_from(
    settings: ServiceSettings, limits: AccountLimits | None = None, revocations: Revocations | None = None
) -> Verifiers:
    """Returns the token verifiers that the settings name, with the limits and what is known of revoked tokens."""
    return Verifiers(
        access_tokens=AccessTokens(
            KeySet.from_file(settings.user_jwks_file), settings.token_issuer, settings.token_audience
        ),
        service_tokens=ServiceTokens(KeySet.from_file(settings.service_jwks_file)),
        limits=limits,
        revocations=revocations,
    )


def freeze_garbage() -> None:
    """Takes what a started process is made of out of the garbage collector's sight.

    Modules, classes and compiled statements live as long as the process; looking through them again and again would stop
    every call for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def run(settings: ServiceSettings, compose: Callable[[], Server]) -> None:
    """Runs a service until it is told to stop. `compose` is called within the event loop; a service's `main` ends with this."""
    configure_logging(settings.log_format, settings.log_level)
    try:
        # A tenth to a third more calls a second than asyncio's own loop, measured with grpc.aio.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(compose))
    except (ContractError, OSError, ServiceError) as error:
        sys.stderr.write(f"This process can't start: {error}\n")
        sys.exit(_CANNOT_START_EXIT_CODE)


async def _serve(compose: Callable[[], Server]) -> None:
    await compose().serve()


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    options = [
        # Two processes on one port would silently share its calls; starting the second must fail.
        ("grpc.so_reuseport", 0),
        # Pictures never go through gRPC: they have presigned URLs.
        ("grpc.max_receive_message_length", _FOUR_MEBIBYTES),
        # Three times what the edge lets pass, so that the edge refuses and not gRPC, which would name internal headers.
        ("grpc.max_metadata_size", 3 * _EIGHT_KIBIBYTES),
        ("grpc.absolute_max_metadata_size", 4 * _EIGHT_KIBIBYTES),
        # Below the clients' 30 s, or the server would answer their pings with GOAWAY (too_many_pings).
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Calls that arrive while the event loop is busy wait. From 1,000 on gRPC would cancel some of them at random, with
        # nothing to tell the caller why: a thousand watchers that come back at once are no attack.
        ("grpc.server.max_pending_requests", 20_000),
        ("grpc.server.max_pending_requests_hard_limit", 50_000),
    ]
    if settings.max_connection_age_seconds:
        age_ms = int(settings.max_connection_age_seconds * 1000)
        options += [("grpc.max_connection_age_ms", age_ms), ("grpc.max_connection_age_grace_ms", 600_000)]
    return options


def _bind(server: grpc.aio.Server, address: str, tls: MutualTls | None) -> int:
    try:
        if tls is not None:
            return server.add_secure_port(address, tls.server_credentials())
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"{address} can't be bound; is another process using it?") from error
