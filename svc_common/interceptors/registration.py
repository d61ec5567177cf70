"""Gives a listener what generated `add_XServicer_to_server` functions register, with all layers around it.

A server must not start with a method that lacks its authorization rule, sits on the wrong listener, or would block the
event loop.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import Server as GrpcServer

from svc_common.interceptors.chain import UNREADABLE, Chain
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Audience, ContractError, Method, describe_method

Registration = tuple[Callable[[Any, Any], None], object]
"""A generated `add_XServicer_to_server` and the servicer for it."""


class Listener(Enum):
    """The two doors of a service, and who may come through each."""

    PUBLIC = frozenset({Audience.ANONYMOUS, Audience.USER})
    INTERNAL = frozenset({Audience.SERVICE})


class _Recorder:
    """Stands where generated code expects a server, and keeps the handlers that it is given."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Ignores the second form in which generated code offers the same handlers."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keeps the handlers of one service."""
        self.services[service] = handlers


def register(
    server: GrpcServer, registrations: Iterable[Registration], listener: Listener, verifiers: Verifiers
) -> tuple[str, ...]:
    """Registers servicers on a listener and returns their services' names; raises ContractError when one may not start."""
    recorder = _Recorder()
    for add, servicer in registrations:
        add(servicer, recorder)
    for service, handlers in recorder.services.items():
        wrapped = {name: _wrap(service, name, handler, listener, verifiers) for name, handler in handlers.items()}
        server.add_registered_method_handlers(service, wrapped)
    return tuple(recorder.services)


def _wrap(
    service: str, name: str, handler: grpc.RpcMethodHandler[Any, Any], listener: Listener, verifiers: Verifiers
) -> grpc.RpcMethodHandler[Any, Any]:
    method = describe_method(service, name, is_stream=bool(handler.response_streaming))
    if method.audience not in listener.value:
        raise ContractError(
            f"{method.path} is for {method.audience.name} and may not be served on the {listener.name} listener"
        )
    if handler.request_streaming:
        raise ContractError(f"{method.path} streams its requests, which the interceptors don't support")
    behaviour = _checked_behaviour(method, handler)
    chain = Chain(method, verifiers)
    codec = {
        "request_deserializer": _tolerant(method.request_class.FromString),
        "response_serializer": handler.response_serializer,
    }
    if method.is_stream:
        return grpc.unary_stream_rpc_method_handler(chain.around_stream(behaviour), **codec)
    return grpc.unary_unary_rpc_method_handler(chain.around_unary(behaviour), **codec)


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Returns a deserialiser that never raises: gRPC would answer with the exception's class, before any layer runs."""

    def deserialize_or_mark(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError:
            return UNREADABLE

    return deserialize_or_mark


def _checked_behaviour(method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
    behaviour = handler.unary_stream if method.is_stream else handler.unary_unary
    fits = inspect.isasyncgenfunction if method.is_stream else inspect.iscoroutinefunction
    if behaviour is None or not fits(behaviour):
        # The generated default that answers UNIMPLEMENTED isn't a coroutine either: a forgotten method stops the start.
        raise ContractError(
            f"{method.path} isn't implemented as {'an async generator' if method.is_stream else 'a coroutine'}"
        )
    return behaviour
