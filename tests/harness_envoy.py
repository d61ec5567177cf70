"""Owns a real Envoy for tests: the configuration of the platform's edge on free ports, and callers of its three forms."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from edge_envoy.configuration import write_configuration
from edge_envoy.settings import EdgeSettings
from studio.stack.servers.envoy import program
from studio.stack.sockets import ensure_private_folder, socket_path
from svc_common.errors import ServiceError
from svc_common.status import from_status
from tests.contract.surface import HttpRequest, Rpc

_START_SECONDS = 20.0

T = TypeVar("T")
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What a gRPC-web call was answered: the messages, and the status from trailers or, without messages, from headers."""

    http_status: int
    content_type: str
    messages: tuple[bytes, ...]
    status: Mapping[str, str]

    @property
    def code(self) -> int:
        return int(self.status["grpc-status"])


@dataclass(frozen=True, slots=True)
class Edge:
    """A running Envoy, with an open client of each kind."""

    port: int
    admin: httpx.AsyncClient
    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    log: Path

    async def call(self, rpc: Rpc, request: Message, metadata: Metadata = (), *, deadline: float | None = 10.0) -> Any:
        """Calls a unary method by gRPC."""
        method = self.channel.unary_unary(rpc.path, rpc.request_class.SerializeToString, rpc.response_class.FromString)
        return await method(request, metadata=tuple(metadata), timeout=deadline)

    def watch(self, rpc: Rpc, request: Message, metadata: Metadata = ()) -> grpc.aio.UnaryStreamCall[Any, Any]:
        """Calls a streaming method by gRPC."""
        method = self.channel.unary_stream(rpc.path, rpc.request_class.SerializeToString, rpc.response_class.FromString)
        return method(request, metadata=tuple(metadata))

    async def call_web(self, path: str, request: bytes, metadata: Metadata = ()) -> WebAnswer:
        """Calls by gRPC-web, with the frames written here as a browser's library writes them."""
        headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **dict(metadata)}
        return _web_answer(await self.http.post(path, content=web_frame(request), headers=headers))

    async def call_http(self, request: HttpRequest, headers: Metadata = ()) -> httpx.Response:
        """Calls by JSON."""
        return await self.http.request(
            request.verb, request.path, params=request.query, content=request.content, headers=dict(headers)
        )

    async def requests_passed(self) -> int:
        """Returns how many requests Envoy has sent to services so far."""
        stats = (await self.admin.get(r"/stats?format=json&filter=^cluster\..*\.upstream_rq_total$")).json()["stats"]
        return sum(stat["value"] for stat in stats)

    async def refusal_by_grpc(self, rpc: Rpc, request: Message, metadata: Metadata = ()) -> ServiceError:
        """Makes a gRPC call that must be refused, and returns the refusal as a client reads it."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.call(rpc, request, metadata)
        # Is None without details, and raises when code or message differ from them.
        status = await rpc_status.aio.from_call(_Ended(refused.value))
        assert status is not None, f"refused without details: {refused.value}"
        return _refusal(status)

    async def refusal_by_web(self, path: str, request: Message, metadata: Metadata = ()) -> ServiceError:
        """Makes a gRPC-web call that must be refused, and returns the refusal as a client reads it."""
        answer = await self.call_web(path, request.SerializeToString(), metadata)
        assert (answer.http_status, answer.content_type, answer.messages) == (200, "application/grpc-web+proto", ())
        encoded = answer.status["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
        assert (status.code, status.message) == (answer.code, unquote(answer.status["grpc-message"]))
        return _refusal(status)

    async def refusal_by_http(self, request: HttpRequest, headers: Metadata = ()) -> tuple[int, ServiceError]:
        """Makes a JSON call that must be refused, and returns HTTP status and refusal as a client reads them."""
        return json_refusal(await self.call_http(request, headers))


@asynccontextmanager
async def running_edge(settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """Runs Envoy with the settings, on free ports, until the block ends."""
    socket = socket_path(folder, "envoy-admin.sock")
    ensure_private_folder(socket.parent)
    process, log = await _start(replace(settings, admin=socket), folder)
    try:
        async with admin_client(socket) as admin:
            await _until(process, log, lambda: _is_ready(admin))
            port = await _listener_port(admin)
            async with _clients(port) as (http, channel):
                yield Edge(port, admin, http, channel, log)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def admin_client(socket: Path) -> httpx.AsyncClient:
    """Returns a client of an Envoy's administration."""
    return httpx.AsyncClient(base_url="http://envoy", transport=httpx.AsyncHTTPTransport(uds=str(socket)))


async def _start(settings: EdgeSettings, folder: Path) -> tuple[asyncio.subprocess.Process, Path]:
    free = replace(settings, listen=replace(settings.listen, port=0), token_check=folder / "token-check.json")
    configuration, log = folder / "envoy.yaml", folder / "envoy.log"
    write_configuration(free, configuration)
    paths = ("--config-path", configuration)
    options = (
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "50",
    )
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(program(), *paths, *options, stdout=output, stderr=output)
    return process, log


async def _until(process: asyncio.subprocess.Process, log: Path, probe: Callable[[], Awaitable[T]]) -> T:
    """Polls until a probe answers with something; fails with Envoy's log when Envoy ends before that."""
    async with asyncio.timeout(_START_SECONDS):
        while not (found := await probe()):
            assert process.returncode is None, f"Envoy ended: {await _content(log)}"
            await asyncio.sleep(0.02)
    return found


async def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""  # noqa: ASYNC240 - a few bytes


async def _is_ready(admin: httpx.AsyncClient) -> bool:
    try:
        return (await admin.get("/ready")).status_code == 200
    except httpx.ConnectError:
        return False


async def _listener_port(admin: httpx.AsyncClient) -> int:
    listeners = (await admin.get("/listeners?format=json")).json()["listener_statuses"]
    return int(listeners[0]["local_address"]["socket_address"]["port_value"])


@asynccontextmanager
async def _clients(port: int) -> AsyncIterator[tuple[httpx.AsyncClient, grpc.aio.Channel]]:
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20.0) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield http, channel


def _web_answer(answer: httpx.Response) -> WebAnswer:
    messages, status = [], {name: value for name, value in answer.headers.items() if name.startswith("grpc-")}
    rest = answer.content
    while rest:
        flags, size = rest[0], int.from_bytes(rest[1:5], "big")
        frame, rest = rest[5 : 5 + size], rest[5 + size :]
        if flags & 0x80:
            status |= dict(line.split(":", 1) for line in frame.decode().splitlines() if line)
        else:
            messages.append(frame)
    return WebAnswer(answer.status_code, answer.headers["content-type"], tuple(messages), status)


class _Ended:
    """A gRPC call that has ended with an error, in the form that grpc_status reads."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    async def code(self) -> grpc.StatusCode:
        return self._error.code()

    async def details(self) -> str | None:
        return self._error.details()

    async def trailing_metadata(self) -> Any:
        return self._error.trailing_metadata()


def json_refusal(answer: httpx.Response) -> tuple[int, ServiceError]:
    """Returns what a JSON client reads from a refusal: a google.rpc.Status whose first detail names the reason."""
    assert answer.headers["content-type"] == "application/json", answer.text
    document = answer.json()
    assert set(document) == {"code", "message", "details"}
    info = document["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert set(info) == {"@type", "reason", "domain", "metadata"}
    return answer.status_code, _refusal(json_format.ParseDict(document, status_pb2.Status()))


def _refusal(status: status_pb2.Status) -> ServiceError:
    refusal = from_status(status)
    assert refusal is not None, f"not a refusal of this platform: {status}"
    assert status.code == refusal.code
    return refusal


def web_frame(message: bytes) -> bytes:
    """Returns a message as gRPC-web frames it: no flags, four bytes of length, the message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def server_sent_events(lines: bytes) -> list[Any]:
    """Returns the documents of a stream of server-sent events that has ended, without comments and times to retry."""
    return [json.loads(line.removeprefix(b"data: ")) for line in lines.split(b"\n") if line.startswith(b"data: ")]
