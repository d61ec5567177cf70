"""A small platform behind the edge: the true public services, each area on a port of its own, with answers made beforehand.

The servers are grpc.aio with the real interceptors, so tokens, validation and errors are as in the services. The internal
services are registered on the same ports, unprotected, so that only the edge keeps callers from them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from svc_common.caller import current_caller, request_header
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.registration import Listener, register
from svc_common.reflection import enable_reflection
from svc_common.registry import AREAS, service_of
from tests.contract.surface import Rpc, internal_rpcs, public_rpcs
from tests.factories.messages import filled

_WATCHED_HEADERS = (
    "idempotency-key",
    "x-request-id",
    "x-account-id",
    "x-edge-test",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-tenant-id",
    "x-tier",
    "x-user-id",
)

# The pending requests as in svc_common.server: by default gRPC cancels some when a thousand arrive at once.
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 50_000),
]

Answer = Callable[[Any], Awaitable[Message]]
Stream = Callable[[Any], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call that reached a handler."""

    rpc: str
    request: Message
    account_id: str
    headers: Mapping[str, str]
    remaining_seconds: float | None


class PublicPlatform:
    """The public services of all areas. `answers` and `streams` replace what a method answers, by `Service.Method`."""

    def __init__(self, verifiers: Verifiers) -> None:
        self.calls: list[ReceivedCall] = []
        self.breaches: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.streams: dict[str, Stream] = {}
        self.ports: dict[str, int] = {}
        self._verifiers = verifiers
        self._past_accounts: set[str] = set()
        self._servers: list[grpc.aio.Server] = []

    async def start(self) -> None:
        """Serves every area on a free port."""
        for area in AREAS:
            server = grpc.aio.server(options=_OPTIONS)
            self._register_public(server, area)
            self._register_internal(server, area)
            await _add_health(server)
            enable_reflection(server, DESCRIPTOR_SET.read_bytes())
            self.ports[area] = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            self._servers.append(server)

    async def stop(self) -> None:
        """Cuts all calls."""
        await asyncio.gather(*(server.stop(None) for server in self._servers))

    def reset(self) -> None:
        """Forgets calls and replaced answers.

        Whose calls were seen before isn't told of again: what the bridge still does for a caller who has hung up, such as
        cancelling a job, arrives at any later moment.
        """
        self._past_accounts |= {call.account_id for call in self.calls if call.account_id}
        self.calls.clear()
        self.breaches.clear()
        self.answers.clear()
        self.streams.clear()

    def calls_of(self, rpc: Rpc | str) -> list[ReceivedCall]:
        """Returns the calls of one method, in order."""
        return [call for call in self.calls if call.rpc == str(rpc)]

    def _register_public(self, server: grpc.aio.Server, area: str) -> None:
        registrations = []
        for service, rpcs in by_service(rpc for rpc in public_rpcs() if rpc.area == area).items():
            servicer = type("Servicer", (), {rpc.descriptor.name: self._handler(rpc) for rpc in rpcs})()
            registrations.append((adder(service, rpcs), servicer))
        register(server, registrations, Listener.PUBLIC, self._verifiers)

    def _register_internal(self, server: grpc.aio.Server, area: str) -> None:
        for service, rpcs in by_service(rpc for rpc in internal_rpcs() if service_of(rpc.area).area == area).items():
            handlers = {rpc.descriptor.name: grpc.unary_unary_rpc_method_handler(self._breach(rpc)) for rpc in rpcs}
            server.add_registered_method_handlers(service, handlers)

    def _handler(self, rpc: Rpc) -> Callable[..., Any]:
        async def unary(_: object, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            self._record(rpc, request, context)
            answer = self.answers.get(str(rpc))
            return await answer(request) if answer else filled(rpc.response_class)

        async def stream(
            _: object, request: Message, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Message]:
            self._record(rpc, request, context)
            events = self.streams.get(str(rpc), lambda _: _twice(filled(rpc.response_class)))
            async for event in events(request):
                yield event

        return stream if rpc.streams else unary

    def _record(self, rpc: Rpc, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        headers = {name: value for name in _WATCHED_HEADERS if (value := request_header(name)) is not None}
        account_id = str(current_caller().account_id or "")
        if account_id in self._past_accounts:
            return
        self.calls.append(ReceivedCall(str(rpc), request, account_id, headers, context.time_remaining()))

    def _breach(self, rpc: Rpc) -> Callable[..., Any]:
        async def reached(_: bytes, __: object) -> bytes:
            self.breaches.append(str(rpc))
            return b""

        return reached


async def _twice(event: Message) -> AsyncIterator[Message]:
    yield event
    yield event


def by_service(rpcs: Iterable[Rpc]) -> dict[str, list[Rpc]]:
    """Returns methods by the full name of their service."""
    services: dict[str, list[Rpc]] = {}
    for rpc in rpcs:
        services.setdefault(rpc.descriptor.containing_service.full_name, []).append(rpc)
    return services


def adder(service: str, rpcs: list[Rpc]) -> Callable[[Any, Any], None]:
    """Returns what protoc generates as `add_XServicer_to_server` for these methods."""

    def add(servicer: object, server: grpc.aio.Server) -> None:
        handlers = {rpc.descriptor.name: _method_handler(rpc, getattr(servicer, rpc.descriptor.name)) for rpc in rpcs}
        server.add_registered_method_handlers(service, handlers)

    return add


def _method_handler(rpc: Rpc, behaviour: Callable[..., Any]) -> Any:
    make = grpc.unary_stream_rpc_method_handler if rpc.streams else grpc.unary_unary_rpc_method_handler
    return make(
        behaviour,
        request_deserializer=rpc.request_class.FromString,
        response_serializer=rpc.response_class.SerializeToString,
    )


async def _add_health(server: grpc.aio.Server) -> None:
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
