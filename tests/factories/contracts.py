"""Makes services that have no proto file, for tests of what a server refuses to start with or must carry in general."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from pingvas.common.v1 import authorization_pb2 as authorization

USER = authorization.Authorization(audience=authorization.AUDIENCE_USER)
ANONYMOUS = authorization.Authorization(audience=authorization.AUDIENCE_ANONYMOUS)


def for_services(*callers: str) -> authorization.Authorization:
    """Returns the rule of a method that the named services may call."""
    return authorization.Authorization(audience=authorization.AUDIENCE_SERVICE, callers=callers)


UnaryHandler = Callable[[StringValue, Any], Awaitable[StringValue]]
StreamHandler = Callable[[StringValue, Any], AsyncIterator[StringValue]]


class Contract:
    """A service `tests.<name>.Service` whose methods take and return a StringValue."""

    def __init__(self, name: str, rules: Mapping[str, authorization.Authorization | None]) -> None:
        """Puts the service into the default pool, as importing generated code does; `rules` names its methods."""
        self.service = f"tests.{name}.Service"
        file = descriptor_pb2.FileDescriptorProto(
            name=f"tests/{name}.proto",
            package=f"tests.{name}",
            syntax="proto3",
            dependency=["google/protobuf/wrappers.proto", "pingvas/common/v1/authorization.proto"],
        )
        service = file.service.add(name="Service")
        for method, rule in rules.items():
            entry = service.method.add(
                name=method, input_type=".google.protobuf.StringValue", output_type=".google.protobuf.StringValue"
            )
            if rule is not None:
                entry.options.Extensions[authorization.authorization].CopyFrom(rule)
        descriptor_pool.Default().Add(file)

    def path(self, method: str) -> str:
        """Returns the method's path on the wire."""
        return f"/{self.service}/{method}"

    def add_to_server(self, handlers: Mapping[str, grpc.RpcMethodHandler], server: Any) -> None:
        """Registers handlers, in the form of a generated `add_XServicer_to_server`."""
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.service, handlers),))
        server.add_registered_method_handlers(self.service, handlers)


_CODEC = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}


def unary(handler: Any) -> grpc.RpcMethodHandler:
    """Returns the handler of a unary method."""
    return grpc.unary_unary_rpc_method_handler(handler, **_CODEC)


def stream(handler: Any) -> grpc.RpcMethodHandler:
    """Returns the handler of a method that streams its responses."""
    return grpc.unary_stream_rpc_method_handler(handler, **_CODEC)


def request_stream(handler: Any) -> grpc.RpcMethodHandler:
    """Returns the handler of a method that streams its requests."""
    return grpc.stream_unary_rpc_method_handler(handler, **_CODEC)


def unary_call(channel: grpc.aio.Channel, path: str) -> Any:
    """Returns what a stub would have for a unary method."""
    return channel.unary_unary(
        path, request_serializer=StringValue.SerializeToString, response_deserializer=StringValue.FromString
    )


def stream_call(channel: grpc.aio.Channel, path: str) -> Any:
    """Returns what a stub would have for a method that streams its responses."""
    return channel.unary_stream(
        path, request_serializer=StringValue.SerializeToString, response_deserializer=StringValue.FromString
    )
