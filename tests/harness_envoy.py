"""Owns a real Envoy for tests: the configuration of the platform's edge on free ports, and callers of its three forms."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
from google.protobuf.message import Message

from studio.edge.configuration import EdgeSettings, edge_configuration
from studio.stack.servers.envoy import program
from tests.contract.surface import Rpc

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

    async def call(
        self, rpc: Rpc, request: Message, metadata: Metadata = (), *, deadline: float | None = 10.0
    ) -> Any:
        """Calls a unary method by gRPC."""
        method = self.channel.unary_unary(rpc.path, rpc.request_class.SerializeToString, rpc.response_class.FromString)
        return await method(request, metadata=tuple(metadata), timeout=deadline)

    def watch(self, rpc: Rpc, request: Message, metadata: Metadata = ()) -> grpc.aio.UnaryStreamCall[Any, Any]:
        """Calls a streaming method by gRPC."""
        method = self.channel.unary_stream(rpc.path, rpc.request_class.SerializeToString, rpc.response_class.FromString)
        return method(request, metadata=tuple(metadata))

    async def call_web(
        self, path: str, request: bytes, metadata: Metadata = (), *, headers: Mapping[str, str] | None = None
    ) -> WebAnswer:
        """Calls by gRPC-web, with the frames written here as a browser's library writes them."""
        spoken = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **dict(metadata), **(headers or {})}
        answer = await self.http.post(path, content=b"\0" + len(request).to_bytes(4, "big") + request, headers=spoken)
        return _web_answer(answer)


@asynccontextmanager
async def running_edge(settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """Runs Envoy with the settings, on free ports, until the block ends."""
    process, admin_file, log = await _start(settings, folder)
    try:
        admin_address = await _until(process, log, lambda: _content(admin_file))
        async with httpx.AsyncClient(base_url=f"http://{admin_address}") as admin:
            await _until(process, log, lambda: _is_ready(admin))
            port = await _listener_port(admin)
            async with _clients(port) as (http, channel):
                yield Edge(port, admin, http, channel, log)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _start(settings: EdgeSettings, folder: Path) -> tuple[asyncio.subprocess.Process, Path, Path]:
    free = replace(settings, listen=replace(settings.listen, port=0), admin=replace(settings.admin, port=0))
    configuration, admin_file, log = folder / "envoy.yaml", folder / "admin.txt", folder / "envoy.log"
    configuration.write_text(edge_configuration(free), encoding="utf-8")
    paths = ("--config-path", configuration, "--admin-address-path", admin_file)
    options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(program(), *paths, *options, stdout=output, stderr=output)
    return process, admin_file, log


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
    return (await admin.get("/ready")).status_code == 200


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


def server_sent_events(lines: bytes) -> list[Any]:
    """Returns the documents of a stream of server-sent events that has ended."""
    return [json.loads(block.removeprefix(b"data: ")) for block in lines.split(b"\n\n") if block]
