"""Requests that are no proper call: each gets a google.rpc.Status with ErrorInfo that blames the right side, by each form.

Spoken over plain sockets, since no client library sends such requests.
"""

import asyncio
import base64
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Code, Reason
from tests.contract.surface import rpc_named
from tests.factories.messages import request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, web_frame
from tests.harness_service import Identities

GET_JOB, CREATE_JOB = rpc_named("GenerationService.GetJob"), rpc_named("GenerationService.CreateJob")
WATCH_JOB = rpc_named("GenerationService.WatchJob")
MODELS, TEXT_TO_IMAGE = "/api/v1/models", "/api/v1/generate/text-to-image"
FORMS = {
    "json": ("content-type: application/json",),
    "web": ("content-type: application/grpc-web+proto", "x-grpc-web: 1"),
    "grpc": ("content-type: application/grpc", "te: trailers"),
}
# Words of Envoy, of gRPC's library and of the platform's inside that no caller may read.
INTERNAL_WORDS = (
    "x-edge",
    "x-account",
    "envoy",
    "lua",
    "rbac",
    "upstream",
    "metadata'",
    "127.0.0.1",
    "exception",
    "parsing",
)


@dataclass(frozen=True)
class Answer:
    """What came back on the wire."""

    http_status: int
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> tuple[int, str, Reason]:
        """Code, message and reason, from wherever the form has them."""
        # Envoy gives gRPC-web no type where it refuses at once: there is no body that it could be of.
        if self.headers.get("content-type") == "application/json":
            document: dict[str, Any] = json.loads(self.body)
            return document["code"], document["message"], Reason(document["details"][0]["reason"])
        encoded = self.headers["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
        assert (str(status.code), status.message) == (self.headers["grpc-status"], self.headers["grpc-message"])
        return status.code, status.message, reason_of(status)


def reason_of(status: status_pb2.Status) -> Reason:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return Reason(info.reason)


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


async def send(edge: Edge, line: str, headers: tuple[str, ...], body: bytes | None = None) -> Answer:
    """Sends one request as it stands here and returns the answer; there must be one at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    length = () if body is None else (f"content-length: {len(body)}",)
    writer.write("\r\n".join([line, *headers, *length, "", ""]).encode() + (body or b""))
    try:
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            received = dict(each.split(": ", 1) if ": " in each else (each.rstrip(":"), "") for each in lines)
            content = await reader.readexactly(int(received.get("content-length", "0")))
    finally:
        writer.close()
    return Answer(int(first.split()[1]), received, content)


def assert_callers_fault(answer: Answer, form: str, http_status: int, reason: Reason) -> None:
    code, message, told = answer.status
    assert told == reason
    assert code not in {Code.INTERNAL, Code.UNKNOWN, Code.UNAVAILABLE}
    assert answer.http_status == (http_status if form == "json" else 200)
    assert not message.endswith((": ", ":"))
    assert not [word for word in INTERNAL_WORDS if word in message.lower()], message


MALFORMED, NOT_FOUND = Reason.REQUEST_MALFORMED, Reason.METHOD_NOT_FOUND


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("line", "extra", "http_status", "reason"),
    [
        ("POST /pingvas.generation.v1.GenerationService%2FGetJob HTTP/1.1", "", 400, MALFORMED),
        ("POST /api/v1%5cmodels HTTP/1.1", "", 400, MALFORMED),
        ("POST /api%00/models HTTP/1.1", "", 400, MALFORMED),
        ("POST /api/v1/models#part HTTP/1.1", "", 400, MALFORMED),
        ("OPTIONS * HTTP/1.1", "", 404, NOT_FOUND),
        (f"TRACE {MODELS} HTTP/1.1", "", 405, NOT_FOUND),
        (f"POST {GET_JOB.path} HTTP/1.1", "grpc-timeout: soon", 400, MALFORMED),
        (f"POST {GET_JOB.path} HTTP/1.1", "grpc-timeout: 123456789S", 400, MALFORMED),
        (f"POST {GET_JOB.path} HTTP/1.1", "grpc-timeout: -1S", 400, MALFORMED),
        (f"POST {GET_JOB.path} HTTP/1.1", "grpc-encoding: br", 400, MALFORMED),
        (f"POST {TEXT_TO_IMAGE} HTTP/1.1", "content-encoding: gzip", 415, MALFORMED),
        (f"POST {TEXT_TO_IMAGE} HTTP/1.1", "content-encoding: br", 415, MALFORMED),
    ],
)
async def test_request_that_is_no_call_is_refused_in_the_callers_form(
    form: str,
    line: str,
    extra: str,
    http_status: int,
    reason: Reason,
    edge: Edge,
    platform: PublicPlatform,
    caller: Metadata,
) -> None:
    token = f"authorization: {dict(caller)['authorization']}"
    extras = (extra,) if extra else ()
    body = web_frame(b"") if line.startswith("POST") else None
    answer = await send(edge, line, ("host: studio", token, *FORMS[form], *extras), body)
    assert_callers_fault(answer, form, http_status, reason)
    assert platform.calls == []


@pytest.mark.parametrize(
    ("line", "extra", "http_status"),
    [
        (f"GET {MODELS} HTTP/1.0", "", 426),
        (f"GET {MODELS}?x={'y' * 20_000} HTTP/1.1", "", 431),
        (f"FOO {MODELS} HTTP/1.1", "", 400),
        (f"POST {TEXT_TO_IMAGE} HTTP/1.1", "content-length: many", 400),
        (f"POST {TEXT_TO_IMAGE} HTTP/1.1", "transfer-encoding: gzip", 400),
    ],
)
async def test_what_is_no_http_is_refused_in_json(
    line: str, extra: str, http_status: int, edge: Edge, caller: Metadata
) -> None:
    token = f"authorization: {dict(caller)['authorization']}"
    answer = await send(edge, line, ("host: studio", token, extra) if extra else ("host: studio", token))
    assert_callers_fault(answer, "json", http_status, MALFORMED)


@pytest.mark.parametrize("form", FORMS)
async def test_request_without_a_host_is_refused(form: str, edge: Edge) -> None:
    assert_callers_fault(await send(edge, f"GET {MODELS} HTTP/1.1", FORMS[form]), form, 400, MALFORMED)


async def test_tunnel_is_refused(edge: Edge, caller: Metadata) -> None:
    headers = ("host: studio", f"authorization: {dict(caller)['authorization']}")
    assert_callers_fault(await send(edge, "CONNECT example.com:443 HTTP/1.1", headers), "json", 405, NOT_FOUND)


async def test_absolute_target_is_the_same_request(edge: Edge, caller: Metadata) -> None:
    headers = ("host: studio", f"authorization: {dict(caller)['authorization']}")
    assert (await send(edge, f"GET http://example.com{MODELS} HTTP/1.1", headers)).http_status == 200


@pytest.mark.parametrize("form", ["web", "grpc"])
@pytest.mark.parametrize(
    ("verb", "body", "reason"),
    [
        pytest.param("GET", None, NOT_FOUND, id="another verb"),
        pytest.param("POST", b"", MALFORMED, id="no message"),
        pytest.param("POST", b"\0\0\0\0\x09ab", MALFORMED, id="frame that is cut"),
        pytest.param("POST", b"\0\0\x7f\0\0", MALFORMED, id="frame that promises eight megabytes"),
        pytest.param("POST", web_frame(b"") * 2, MALFORMED, id="two messages"),
        pytest.param("POST", b"\x7f\0\0\0\0", MALFORMED, id="unknown flags"),
    ],
)
async def test_request_that_is_no_frame_is_refused(
    form: str, verb: str, body: bytes | None, reason: Reason, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    headers = ("host: studio", f"authorization: {dict(caller)['authorization']}", *FORMS[form])
    answer = await send(edge, f"{verb} {GET_JOB.path} HTTP/1.1", headers, body)
    assert_callers_fault(answer, form, 200, reason)
    assert platform.calls == []


def compressed_frame(message: bytes) -> bytes:
    return b"\1" + len(message).to_bytes(4, "big") + message


BOMB = generation_service_pb2.CreateJobRequest(
    text_to_image=job_pb2.TextToImage(prompt="x" * (9 << 20))
).SerializeToString()


@pytest.mark.parametrize("form", ["web", "grpc"])
@pytest.mark.parametrize(
    ("encoding", "content", "reason"),
    [
        pytest.param("gzip", gzip.compress(BOMB), Reason.REQUEST_TOO_LARGE, id="gzip bomb"),
        pytest.param("deflate", zlib.compress(BOMB), Reason.REQUEST_TOO_LARGE, id="deflate bomb"),
        pytest.param("gzip", b"no gzip", MALFORMED, id="no gzip"),
        pytest.param("gzip", gzip.compress(b"x" * 1000)[:-10], MALFORMED, id="gzip that is cut"),
    ],
)
async def test_compressed_message_that_cant_be_taken_is_refused(
    form: str, encoding: str, content: bytes, reason: Reason, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    headers = ("host: studio", f"authorization: {dict(caller)['authorization']}", f"grpc-encoding: {encoding}")
    body = compressed_frame(content)
    answer = await send(edge, f"POST {CREATE_JOB.path} HTTP/1.1", (*headers, *FORMS[form]), body)
    assert_callers_fault(answer, form, 200, reason)
    assert platform.calls == []


@pytest.mark.parametrize("rpc", [GET_JOB, WATCH_JOB], ids=str)
@pytest.mark.parametrize("count", [0, 2])
async def test_call_that_streams_its_requests_is_refused_at_once(
    rpc: Any, count: int, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    call = edge.channel.stream_unary(rpc.path)(iter([b""] * count), metadata=caller, timeout=5)
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(await call.trailing_metadata())
    assert reason_of(status_pb2.Status.FromString(trailers["grpc-status-details-bin"])) == MALFORMED
    assert platform.calls == []


@pytest.mark.parametrize(
    "header",
    ["grpc-timeout: soon", "grpc-encoding: br", "x-any-bin: %%%", "grpc-previous-rpc-attempts: x", "grpc-trace-bin: !"],
)
async def test_unreadable_header_of_one_caller_spoils_no_call_of_another(
    header: str, edge: Edge, platform: PublicPlatform, caller: Metadata, identities: Identities
) -> None:
    token = f"authorization: {dict(caller)['authorization']}"
    for _ in range(3):
        await send(edge, f"GET {MODELS} HTTP/1.1", ("host: studio", token, header))
        await send(
            edge, f"POST {GET_JOB.path} HTTP/1.1", ("host: studio", token, *FORMS["web"], header), web_frame(b"")
        )
        await edge.call(GET_JOB, request_for(str(GET_JOB)), identities.as_user(new_id()))
    assert len(platform.calls_of(GET_JOB)) == 3


async def test_compressed_message_below_the_limit_is_taken(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    method = edge.channel.unary_unary(GET_JOB.path)
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        await method(request_for(str(GET_JOB)).SerializeToString(), metadata=caller, timeout=5, compression=compression)
    assert len(platform.calls_of(GET_JOB)) == 2
