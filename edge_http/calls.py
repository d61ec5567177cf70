"""Calls by gRPC for HTTP callers: one channel for each area, their own headers and deadline, and an end when they leave."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import HTTPConnection

from edge_http.documents import malformed
from edge_http.routing import Route
from svc_common.client_address import FORWARDED_USER_AGENT_HEADER
from svc_common.contracts import PublicMethod
from svc_common.mutual_tls import MutualTls, aio_channel

# An allow-list: whatever else a client sends, headers that name an identity among it, ends here.
_PASSED_HEADERS: Final = (
    *("authorization", "idempotency-key", "traceparent", "x-request-id", "accept-language"),
    # The client's address and the edge's proof of it, which the services check.
    *("x-envoy-external-address", "x-edge-secret"),
)
_HEADERS_BYTES: Final = 7 * 1024
_USER_AGENT_CHARACTERS: Final = 256
_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS: Final[Mapping[str, float]] = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_OPTIONS: Final[list[tuple[str, int | str]]] = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A restarted service is back within seconds; gRPC's own back-off would grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
    # A name may stand for many pods; the default would keep to one of them.
    ("grpc.lb_policy_name", "round_robin"),
]

Metadata = tuple[tuple[str, str], ...]


class Calls:
    """The channels to the public listeners of the services."""

    def __init__(self, addresses: Mapping[str, str], unary_timeout: timedelta, tls: MutualTls | None = None) -> None:
        """Takes host:port by area; a unary call without a deadline of its caller's gets the timeout."""
        self._channels = {area: aio_channel(address, tls, _OPTIONS) for area, address in addresses.items()}
        self._unary_seconds = unary_timeout.total_seconds()

    def unary(self, route: Route, message: Message, request: HTTPConnection, authorization: str | None = None) -> Any:
        """Begins a call that is answered once; an authorization takes the place of the request's own."""
        method = self._channels[route.method.area].unary_unary(
            route.method.path, type(message).SerializeToString, route.response_class.FromString
        )
        metadata = metadata_of(request, authorization)
        return method(message, metadata=metadata, timeout=deadline_of(request) or self._unary_seconds)

    def stream(self, route: Route, message: Message, request: HTTPConnection, authorization: str | None = None) -> Any:
        """Begins a call that is answered by a stream; an authorization takes the place of the request's own."""
        method = self._channels[route.method.area].unary_stream(
            route.method.path, type(message).SerializeToString, route.response_class.FromString
        )
        return method(message, metadata=metadata_of(request, authorization), timeout=deadline_of(request))

    async def health(self, area: str, name: str, seconds: float) -> int | None:
        """Returns what an area's service says of the health of a name, "" for its own; None when it doesn't answer in time."""
        # The published type stubs leave the methods of the client out.
        check = HealthStub(self._channels[area]).Check  # type: ignore[attr-defined]
        try:
            answer: HealthCheckResponse = await check(HealthCheckRequest(service=name), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            # A service answers so of a name that it doesn't know.
            return HealthCheckResponse.UNKNOWN if error.code() is grpc.StatusCode.NOT_FOUND else None
        return answer.status

    @property
    def areas(self) -> tuple[str, ...]:
        """The areas that are served."""
        return tuple(self._channels)

    def unserved(self, methods: tuple[PublicMethod, ...]) -> list[str]:
        """Returns the areas that have methods but no address."""
        return sorted({method.area for method in methods} - set(self._channels))

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()


def metadata_of(request: HTTPConnection, authorization: str | None = None) -> Metadata:
    """Returns the headers of a request that a service may see; an authorization takes the place of its own, "" for none.

    Raises:
        ServiceError: REQUEST_MALFORMED, for one that gRPC can't carry.
    """
    headers = {name: value for name in _PASSED_HEADERS if (value := request.headers.get(name)) is not None}
    if authorization is not None:
        headers["authorization"] = authorization
    metadata = tuple((name, value) for name, value in headers.items() if value or name != "authorization")
    for name, value in metadata:
        if not (value.isascii() and value.isprintable()):
            raise malformed(f"The header {name} may have printable ASCII characters only.")
    if sum(len(name) + len(value) for name, value in metadata) > _HEADERS_BYTES:
        raise malformed(f"The headers are larger than {_HEADERS_BYTES:,} bytes. Send less.")
    return (*metadata, (FORWARDED_USER_AGENT_HEADER, _user_agent(request)))


def _user_agent(request: HTTPConnection) -> str:
    """Returns what the client calls itself, as far as gRPC can carry it: nobody is refused for that."""
    text = request.headers.get("user-agent", "")[:_USER_AGENT_CHARACTERS]
    return "".join(character for character in text if character.isascii() and character.isprintable())


def deadline_of(request: HTTPConnection) -> float | None:
    """Returns the seconds that `grpc-timeout` allows, or None without it.

    Raises:
        ServiceError: REQUEST_MALFORMED, when it isn't written as gRPC has it.
    """
    text = request.headers.get("grpc-timeout")
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise malformed("The header grpc-timeout must be up to eight digits and one of H, M, S, m, u and n, as in 10S.")
    return int(found[1]) * _UNITS[found[2]]
