"""Reflection through the edge: tools find and call the whole public contract, and nothing internal."""

import asyncio
import json
import sysconfig
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from edge_envoy.settings import EdgeSettings
from svc_common.clock import new_id
from tests.contract.surface import internal_rpcs, public_rpcs
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, running_edge
from tests.harness_service import Identities

GRPCURL = Path(sysconfig.get_path("scripts")) / "grpcurl"
PUBLIC = {rpc.path.split("/")[1] for rpc in public_rpcs()}
INTERNAL = {rpc.path.split("/")[1] for rpc in internal_rpcs()}
PROTOCOLS = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


@pytest_asyncio.fixture(scope="module")
async def open_edge(edge_settings: EdgeSettings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """An edge that answers reflection."""
    folder = tmp_path_factory.mktemp("open_edge")
    async with running_edge(replace(edge_settings, reflection=True), folder) as running:
        yield running


async def grpcurl(edge: Edge, *words: str, flags: tuple[str, ...] = ()) -> str:
    """Runs the real grpcurl against the edge and returns what it prints; it must succeed."""
    command = (str(GRPCURL), "-plaintext", *flags, f"127.0.0.1:{edge.port}", *words)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def ask(edge: Edge, version: str, **question: str) -> reflection_pb2.ServerReflectionResponse:
    """Asks one question by a version of the protocol; both have the same messages."""
    call = edge.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    answer = await call.read()
    assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
    return answer


async def test_grpcurl_lists_every_public_service_and_no_other(open_edge: Edge) -> None:
    assert set((await grpcurl(open_edge, "list")).split()) == PUBLIC | PROTOCOLS


async def test_grpcurl_describes_every_service_with_its_methods(open_edge: Edge) -> None:
    whole = await grpcurl(open_edge, "describe")
    for rpc in public_rpcs():
        assert f"rpc {rpc.descriptor.name} " in whole
    gallery = await grpcurl(open_edge, "describe", "pingvas.gallery.v1.GalleryService")
    assert "rpc ListImages ( .pingvas.gallery.v1.ListImagesRequest )" in gallery


async def test_grpcurl_calls_a_method_of_another_service_than_it_asked(
    open_edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    token = dict(identities.as_user(new_id()))["authorization"]
    flags = ("-H", f"authorization: {token}", "-d", '{"page_size": 7}')
    answer = json.loads(await grpcurl(open_edge, "pingvas.gallery.v1.GalleryService/ListImages", flags=flags))
    (call,) = platform.calls_of("GalleryService.ListImages")
    assert (call.request.page_size, set(answer) >= {"images"}) == (7, True)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_tell_the_same(version: str, open_edge: Edge) -> None:
    listed = await ask(open_edge, version, list_services="*")
    assert {service.name for service in listed.list_services_response.service} == PUBLIC | PROTOCOLS
    for service in sorted(PUBLIC | PROTOCOLS):
        answer = await ask(open_edge, version, file_containing_symbol=service)
        protos = answer.file_descriptor_response.file_descriptor_proto
        files = [FileDescriptorProto.FromString(proto) for proto in protos]
        told = {f"{file.package}.{each.name}" for file in files for each in file.service}
        assert service in told
        assert told <= PUBLIC | PROTOCOLS


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_internal_services_are_unknown(version: str, open_edge: Edge) -> None:
    for service in sorted(INTERNAL):
        answer = await ask(open_edge, version, file_containing_symbol=service)
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], service
