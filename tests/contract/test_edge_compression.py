"""What the edge compresses: large documents and the page's files, for clients that ask; never secrets, streams or pictures."""

import asyncio
import gzip
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, webhook_pb2
from pingvas.payment.v1 import subscription_service_pb2
from pingvas.user.v1 import auth_service_pb2

from edge_envoy.compression import LEAST_BYTES, compressed_methods
from edge_envoy.settings import Address, EdgeSettings
from edge_http.page import Page
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.contracts import DESCRIPTOR_SET, public_methods
from tests.contract.surface import rpc_named
from tests.factories.messages import JOB_ID, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge, Metadata, running_edge, web_frame
from tests.harness_service import Identities

LIST_JOBS, WATCH_JOB = rpc_named("GenerationService.ListJobs"), rpc_named("GenerationService.WatchJob")
JOBS = "/api/v1/jobs"
SCRIPT = "export const words = " + repr(list(range(3000)))
_DECODE = (
    "process.stdin.on('data', c => b.push(c)).on('end', () => "
    "process.stdout.write(require('zlib').brotliDecompressSync(Buffer.concat(b))))"
)


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


def answered(message: Message) -> Callable[[Message], Awaitable[Message]]:
    async def answer(_: Message) -> Message:
        return message

    return answer


def long_list(length: int) -> Message:
    return generation_service_pb2.ListJobsResponse(next_page_token="ab" * (length // 2))


async def raw(
    edge: Edge, verb: str, path: str, headers: Metadata, content: bytes = b""
) -> tuple[httpx.Response, bytes]:
    """Returns an answer with its bytes as they came over the wire."""
    request = edge.http.build_request(verb, path, headers=dict(headers), content=content)
    answer = await edge.http.send(request, stream=True)
    try:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])
    finally:
        await answer.aclose()


def assert_holds(encoding: str, body: bytes, expected: bytes) -> None:
    if encoding == "zstd":
        # Python has a decoder from 3.14 on. One frame, by its first bytes (RFC 8878).
        assert body.startswith(b"\x28\xb5\x2f\xfd")
    elif encoding == "br":
        script = f"const b=[];{_DECODE}"
        ran = subprocess.run(["node", "-e", script], input=body, capture_output=True, check=True)  # noqa: S607 - of the PATH
        assert ran.stdout == expected
    else:
        assert gzip.decompress(body) == expected


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("gzip;q=0, br", "br"),
    ],
)
async def test_large_document_is_compressed_as_the_client_likes_it_best(
    accepted: str, encoding: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.answers[str(LIST_JOBS)] = answered(long_list(20_000))
    plain, expected = await raw(edge, "GET", JOBS, (*caller, ("accept-encoding", "identity")))
    assert "content-encoding" not in plain.headers
    answer, body = await raw(edge, "GET", JOBS, (*caller, ("accept-encoding", accepted)))
    assert (answer.status_code, answer.headers.get("content-encoding")) == (200, encoding)
    assert len(body) < len(expected) / 10
    assert_holds(encoding, body, expected)
    for each in (plain, answer):
        assert "accept-encoding" in each.headers["vary"].lower()
        assert each.headers["content-type"] == "application/json"
        assert each.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "deflate"])
async def test_document_stays_as_it_is_for_who_takes_nothing_else(
    accepted: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.answers[str(LIST_JOBS)] = answered(long_list(20_000))
    answer, body = await raw(edge, "GET", JOBS, (*caller, ("accept-encoding", accepted)))
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(body) > 20_000


async def test_short_document_stays_as_it_is(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    accepting = (*caller, ("accept-encoding", "gzip, br, zstd"))
    platform.answers[str(LIST_JOBS)] = answered(long_list(LEAST_BYTES - 200))
    answer, body = await raw(edge, "GET", JOBS, accepting)
    assert "content-encoding" not in answer.headers
    assert len(body) < LEAST_BYTES
    platform.answers[str(LIST_JOBS)] = answered(long_list(LEAST_BYTES))
    answer, _ = await raw(edge, "GET", JOBS, accepting)
    assert answer.headers["content-encoding"] == "zstd"


@pytest.mark.parametrize(
    ("rpc", "verb", "path", "message"),
    [
        ("AuthService.Login", "POST", "/api/v1/auth/login", auth_service_pb2.TokenPair(refresh_token="r" * 5000)),
        ("AuthService.Refresh", "POST", "/api/v1/auth/refresh", auth_service_pb2.TokenPair(access_token="a" * 5000)),
        (
            "WebhookEndpointService.GetAccountWebhookSecret",
            "GET",
            "/api/v1/webhooks/secret",
            webhook_pb2.AccountWebhookSecret(secret="s" * 5000),
        ),
        ("SubscriptionService.GetPortal", "GET", "", subscription_service_pb2.Portal(url="https://" + "p" * 5000)),
    ],
)
async def test_answer_that_holds_a_secret_is_never_compressed(
    rpc: str, verb: str, path: str, message: Message, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.answers[rpc] = answered(message)
    (form, *_) = rpc_named(rpc).http_forms
    request = form.request(request_for(rpc, form.body))
    assert form.verb == verb
    assert path in {"", form.template}
    headers = (*caller, ("accept-encoding", "gzip, br, zstd"))
    query = str(httpx.URL(request.path, params=request.query))
    answer, body = await raw(edge, verb, query, headers, request.content or b"")
    assert answer.status_code == 200, body
    assert "content-encoding" not in answer.headers
    assert len(body) > 5000


def test_methods_with_compressed_answers_only_read_and_show_no_secret() -> None:
    descriptor_set = DESCRIPTOR_SET.read_bytes()
    methods = public_methods(descriptor_set)
    compressed = compressed_methods(methods, descriptor_set)
    others = [method for method in methods if method not in compressed]
    # A method that is added to these has a field with the name of a secret; one that leaves them has none any more.
    assert {method.name for method in others if method.reads_only and not method.streams} == {
        *("GetAccountWebhookSecret", "GetImageSharing", "GetLoraUpload", "GetPortal"),
        *("ListApiKeys", "ListWebhookEndpoints"),
    }
    # No path of another method is taken for one of them.
    patterns = [binding.pattern for method in compressed for binding in method.bindings]
    # Streams have a type that isn't compressed.
    paths = [b.template for method in others if not method.streams for b in method.bindings if b.verb == "GET"]
    taken = {
        path for path in paths for pattern in patterns if re.fullmatch(pattern, path.replace("{", "").replace("}", ""))
    }
    assert taken == set()


async def test_grpc_and_grpc_web_keep_their_frames(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    message = long_list(20_000)
    platform.answers[str(LIST_JOBS)] = answered(message)
    request = generation_service_pb2.ListJobsRequest()
    assert await edge.call(LIST_JOBS, request, (*caller, ("accept-encoding", "gzip, br, zstd"))) == message
    for kind in ("application/grpc-web+proto", "application/grpc-web-text"):
        headers = (*caller, ("content-type", kind), ("accept-encoding", "gzip, br, zstd"))
        frame = web_frame(request.SerializeToString())
        content = frame if kind.endswith("proto") else b"AAAAAAA="
        answer, body = await raw(edge, "POST", LIST_JOBS.path, headers, content)
        assert "content-encoding" not in answer.headers
        assert len(body) > 20_000


async def test_event_of_a_stream_arrives_at_once_and_as_it_is(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    may_end = asyncio.Event()

    async def events(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(event_id="1", job_id="x" * 5000)
        await may_end.wait()

    platform.streams[str(WATCH_JOB)] = events
    headers = {**dict(caller), "accept-encoding": "gzip, br, zstd"}
    async with edge.http.stream("GET", f"/api/v1/jobs/{JOB_ID}/events", headers=headers) as answer:
        assert "content-encoding" not in answer.headers
        seen = b""
        async for chunk in answer.aiter_raw():
            seen += chunk
            if b"id: 1\n" in seen and seen.endswith(b"\n\n"):
                # The next one doesn't exist before this was read.
                may_end.set()
        assert may_end.is_set()


@pytest_asyncio.fixture(scope="module")
async def page_edge(
    edge_settings: EdgeSettings, shared_platform: PublicPlatform, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Edge]:
    """The edge in front of a bridge that serves a page."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>the page</title>" + "<p>words" * 500)
    (folder / "assets" / "index-0a1b.js").write_text(SCRIPT)
    (folder / "assets" / "photo-0a1b.png").write_bytes(b"\x89PNG" * 2000)
    addresses = {area: f"127.0.0.1:{port}" for area, port in shared_platform.ports.items()}
    async with running_bridge(addresses, Page(folder)) as port:
        settings = replace(edge_settings, bridge=Address("127.0.0.1", port))
        async with running_edge(settings, tmp_path_factory.mktemp("edge")) as running:
            yield running


async def test_page_s_files_are_compressed_and_their_tags_are_weak_then(page_edge: Edge) -> None:
    for path, accept in (("/assets/index-0a1b.js", "*/*"), ("/", "text/html"), ("/some/where", "text/html")):
        plain, expected = await raw(page_edge, "GET", path, (("accept-encoding", "identity"), ("accept", accept)))
        answer, body = await raw(page_edge, "GET", path, (("accept-encoding", "gzip"), ("accept", accept)))
        assert answer.headers.get("content-encoding") == "gzip", path
        assert gzip.decompress(body) == expected
        assert len(body) < len(expected) / 2
        assert not plain.headers["etag"].startswith("W/")
        assert answer.headers["etag"] == f"W/{plain.headers['etag']}"
        assert answer.headers["cache-control"] == plain.headers["cache-control"]


async def test_picture_and_part_of_a_file_stay_as_they_are(page_edge: Edge) -> None:
    picture, body = await raw(page_edge, "GET", "/assets/photo-0a1b.png", (("accept-encoding", "gzip"),))
    assert "content-encoding" not in picture.headers
    assert body == b"\x89PNG" * 2000
    ranged = (("accept-encoding", "gzip"), ("range", "bytes=0-2999"))
    part, body = await raw(page_edge, "GET", "/assets/index-0a1b.js", ranged)
    assert (part.status_code, "content-encoding" in part.headers) == (206, False)
    assert body == SCRIPT[:3000].encode()


async def test_session_s_answers_are_not_compressed(page_edge: Edge, platform: PublicPlatform) -> None:
    platform.answers["AuthService.Login"] = answered(auth_service_pb2.TokenPair(access_token="a" * 5000))
    headers = (("accept-encoding", "gzip, br, zstd"), ("content-type", "application/json"))
    content = b'{"email": "person@example.com", "password": "a password for tests"}'
    answer, body = await raw(page_edge, "POST", "/session", headers, content)
    assert answer.status_code == 200, body
    assert "content-encoding" not in answer.headers
    assert len(body) > 5000
