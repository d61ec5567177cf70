"""How a service calls another one: with its own credential, within the deadline of its own call, errors turned back.

The channel wraps each method once, when a stub is made. gRPC's own client interceptors would cost a task for each call.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, NoReturn, Self

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from svc_common.caller import REQUEST_ID_HEADER, TRACE_PARENT_HEADER, present_call, remaining_seconds
from svc_common.errors import Code, Reason, ServiceError, deadline_too_short, dependency_unavailable
from svc_common.mutual_tls import MutualTls, aio_channel
from svc_common.status import STATUS_DETAILS_KEY, from_status
from svc_common.tokens import ServiceCredential

DEFAULT_TIMEOUT: Final = timedelta(seconds=10)

# What this service still needs after the answer, to answer its own caller in time.
_RESERVE_SECONDS: Final = 0.050

_OPTIONS: Final[list[tuple[str, int | str]]] = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A restarted service is back within seconds; gRPC's own back-off would grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name may stand for many pods; the default would keep to one of them.
    ("grpc.lb_policy_name", "round_robin"),
]

# These refuse this service, not the caller whom it serves: to that caller they are a fault of the platform.
_OUR_OWN_FAULTS: Final = frozenset(
    {Reason.CREDENTIALS_MISSING, Reason.TOKEN_INVALID, Reason.TOKEN_EXPIRED, Reason.CALLER_NOT_ALLOWED}
)


class CallError(Exception):
    """Means that another service refused a call for a reason that must not reach the caller whom this one serves."""


def channel(
    address: str,
    credential: ServiceCredential,
    *,
    tls: MutualTls | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> ServiceChannel:
    """Returns a channel to the internal listener of another service; stubs made with it raise ServiceError.

    A unary call may take `timeout`, and never longer than the call that is being served has left. Streams have no
    limit.
    """
    return ServiceChannel(aio_channel(address, tls, _OPTIONS), credential, timeout.total_seconds())


class ServiceChannel(grpc.aio.Channel):
    """A channel whose methods carry credential, request id and deadline, and raise ServiceError."""

    def __init__(self, inner: grpc.aio.Channel, credential: ServiceCredential, timeout_seconds: float) -> None:
        """Wraps an open channel."""
        self._inner = inner
        self._credential = credential
        self._timeout_seconds = timeout_seconds

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Returns the caller of a unary method; generated stubs call this."""
        send = self._inner.unary_unary(method, *args, **kwargs)

        async def call(request: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the stubs' own form
            limit = _limit(timeout or self._timeout_seconds, method)
            try:
                return await send(request, timeout=limit, metadata=self._metadata())
            except grpc.aio.AioRpcError as error:
                _raise_translated(error, method)

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Returns the caller of a method that streams its responses; generated stubs call this."""
        send = self._inner.unary_stream(method, *args, **kwargs)

        async def call(request: Any, *, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
            stream = send(request, timeout=timeout, metadata=self._metadata())
            try:
                async for response in stream:
                    yield response
            except grpc.aio.AioRpcError as error:
                _raise_translated(error, method)
            finally:
                stream.cancel()

        return call

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Returns the bare caller of a method that streams its requests: the platform has none, but stubs of gRPC do."""
        return self._inner.stream_unary(method, *args, **kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Returns the bare caller of a method that streams both ways: the platform has none, but stubs of gRPC do."""
        return self._inner.stream_stream(method, *args, **kwargs)

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel; calls in progress get the grace, in seconds."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Returns the state of the connection."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the state isn't that any more."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when the channel is connected."""
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        credential = ("authorization", f"Bearer {self._credential.token()}")
        call = present_call()
        if call is None:
            return (credential,)
        identity = (credential, (REQUEST_ID_HEADER, call.request_id))
        return (*identity, (TRACE_PARENT_HEADER, call.trace_parent)) if call.trace_parent else identity


def _limit(own_seconds: float, method: str) -> float:
    remaining = remaining_seconds()
    if remaining is None:
        return own_seconds
    if remaining <= _RESERVE_SECONDS:
        raise deadline_too_short(method)
    return min(remaining - _RESERVE_SECONDS, own_seconds)


def _raise_translated(error: grpc.aio.AioRpcError, method: str) -> NoReturn:
    refusal = _carried_error(error)
    if refusal is None:
        refusal = _error_of_code(error, method)
    if refusal is None or refusal.reason in _OUR_OWN_FAULTS:
        raise CallError(f"{method} failed with {error.code().name}: {error.details()}") from error
    refusal.add_note(f"while calling {method}")
    raise refusal from error


def _carried_error(error: grpc.aio.AioRpcError) -> ServiceError | None:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                return None
    return None


def _error_of_code(error: grpc.aio.AioRpcError, method: str) -> ServiceError | None:
    code = Code(error.code().value[0])
    if code is Code.DEADLINE_EXCEEDED:
        return deadline_too_short(method)
    # CANCELLED, too, is the word of a server that stops and has no more time for its calls: a call that is cancelled on this
    # side ends as a cancelled task.
    if code in (Code.UNAVAILABLE, Code.CANCELLED):
        dependency = _service_name(method)
        return dependency_unavailable(dependency, f"{dependency} doesn't answer. Retry with backoff.")
    return None


def _service_name(method: str) -> str:
    """Returns the service that serves a method: /pingvas.payment.v1.LedgerService/GetHold belongs to svc_payment."""
    parts = method.lstrip("/").split(".")
    return f"svc_{parts[1]}" if len(parts) > 2 else method  # noqa: PLR2004 - package, area, version
