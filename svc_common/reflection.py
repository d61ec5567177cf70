"""Server reflection: tells tools such as grpcurl the whole public contract, whichever service they happen to ask.

The edge leads all questions to one service, so each tells of every public service and not only of its own. Internal
services are in none of the answers: the descriptors are taken from the compiled contracts without them. Version 1 of the
protocol is version 1alpha by another name, which grpc_reflection has not.
"""

from collections.abc import Iterable, Iterator

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from svc_common.contracts import public_methods


def enable_reflection(server: grpc.aio.Server, descriptor_set: bytes) -> None:
    """Serves reflection of the public contract, by both versions of its protocol.

    Raises ValueError when a service of the contract has public and internal methods.
    """
    contract = tuple(_public_files(descriptor_set))
    files = (*contract, *_files_of_the_protocols())
    pool = DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    names = [f"{file.package}.{service.name}" for file in files for service in file.service]
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names, pool).ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    for version in ("v1", "v1alpha"):
        service = f"grpc.reflection.{version}.ServerReflection"
        server.add_registered_method_handlers(service, {"ServerReflectionInfo": handler})


def _public_files(descriptor_set: bytes) -> Iterator[FileDescriptorProto]:
    """Yields the files that public services need, without any other service, each behind those that it imports."""
    public = {method.service for method in public_methods(descriptor_set)}
    files = {file.name: file for file in FileDescriptorSet.FromString(descriptor_set).file}
    for file in files.values():
        kept = [service for service in file.service if f"{file.package}.{service.name}" in public]
        del file.service[:]
        file.service.extend(kept)
    needed = _with_imports((file.name for file in files.values() if file.service), files)
    # A descriptor set has each file behind its imports.
    yield from (file for name, file in files.items() if name in needed)


def _with_imports(names: Iterable[str], files: dict[str, FileDescriptorProto]) -> set[str]:
    found: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names += files[name].dependency
    return found


def _files_of_the_protocols() -> Iterator[FileDescriptorProto]:
    """Yields what stands beside the contract on every listener: health, and reflection in both versions."""
    yield FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    alpha = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    yield alpha
    yield text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), FileDescriptorProto())
