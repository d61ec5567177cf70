"""Calls by gRPC for HTTP callers: one channel for each area, their own headers and deadline, and an end when they leave."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import grpc
import grpc.aio
from fastapi import Request
from google.protobuf.message import Message

from edge_http.documents import malformed
from edge_http.routing import Route
from svc_common.contracts import PublicMethod

# An allow-list: whatever else a client sends, headers that name an identity among it, ends here.
_PASSED_HEADERS: Final = (
    *("authorization", "idempotency-key", "traceparent", "x-request-id", "accept-language"),
    # The client's address and the edge's proof of it, which the services check.
    *("x-envoy-external-address", "x-edge-secret"),
)
_HEADERS_BYTES: Final = 7 * 1024
_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS: Final[Mapping[str, float]] = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_OPTIONS: Final = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A restarted service is back within seconds; gRPC's own back-off would grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
]

Metadata = tuple[tuple[str, str], ...]


class Calls:
    """The channels to the public listeners of the services."""

    def __init__(self, addresses: Mapping[str, str], unary_timeout: timedelta) -> None:
        """Takes host:port by area; a unary call without a deadline of its caller's gets the timeout."""
        self._channels = {area: grpc.aio.insecure_channel(address, _OPTIONS) for area, address in addresses.items()}
        self._unary_seconds = unary_timeout.total_seconds()

    def unary(self, route: Route, message: Message, request: Request) -> Any:
        """Begins a call that is answered once."""
        method = self._channels[route.method.area].unary_unary(
            route.method.path, type(message).SerializeToString, route.response_class.FromString
        )
        return method(message, metadata=metadata_of(request), timeout=deadline_of(request) or self._unary_seconds)

    def stream(self, route: Route, message: Message, request: Request) -> Any:
        """Begins a call that is answered by a stream."""
        method = self._channels[route.method.area].unary_stream(
            route.method.path, type(message).SerializeToString, route.response_class.FromString
        )
        return method(message, metadata=metadata_of(request), timeout=deadline_of(request))

    def unserved(self, methods: tuple[PublicMethod, ...]) -> list[str]:
        """Returns the areas that have methods but no address."""
        return sorted({method.area for method in methods} - set(self._channels))

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()


def metadata_of(request: Request) -> Metadata:
    """Returns the headers of a request that a service may see.

    Raises:
        ServiceError: REQUEST_MALFORMED, for one that gRPC can't carry.
    """
    metadata = tuple((name, value) for name in _PASSED_HEADERS if (value := request.headers.get(name)) is not None)
    for name, value in metadata:
        if not (value.isascii() and value.isprintable()):
            raise malformed(f"The header {name} may have printable ASCII characters only.")
    if sum(len(name) + len(value) for name, value in metadata) > _HEADERS_BYTES:
        raise malformed(f"The headers are larger than {_HEADERS_BYTES:,} bytes. Send less.")
    return metadata


def deadline_of(request: Request) -> float | None:
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
