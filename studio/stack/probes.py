"""Health probes: small clients that ask a server whether it serves, and raise whatever went wrong when it does not.

They speak the few bytes that each protocol needs over asyncio streams rather than import a client library for each of
them: the supervisor starts in a tenth of a second and asks often. PostgreSQL and gRPC are too rich for that and use
their own clients.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from studio.stack.layout import HOST
from studio.stack.process import Probe
from svc_common.free_space import FolderGauge
from svc_common.health_names import STORAGE_HEALTH
from svc_common.mutual_tls import MutualTls, blocking_channel

PROBE_SECONDS = 2.0
HTTP_OK = 200


class NotHealthyError(Exception):
    """Says that a server answered, but not as a healthy one does."""


class NoRoomError(Exception):
    """Says that a server answered, but has no room to store more; the text says where and how much is needed."""


def with_room(probe: Probe, gauge: FolderGauge) -> Probe:
    """Returns a probe that also wants room in the folder of a server's data."""

    async def probe_and_look() -> None:
        await probe()
        if gauge.is_full():
            raise NoRoomError(
                f"{gauge.free_bytes >> 20} MiB are free in {gauge.folder}; new jobs and uploads are refused until "
                f"{gauge.marks.high_bytes >> 20} MiB are"
            )

    return probe_and_look


async def http_status(port: int, path: str, headers: Mapping[str, str] | None = None) -> int:
    """Returns the status of a GET to a loopback port; the body is not read."""
    reader, writer = await asyncio.open_connection(HOST, port)
    return await _status(reader, writer, path, {"host": f"{HOST}:{port}", **(headers or {})})


async def _status(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, headers: Mapping[str, str]
) -> int:
    try:
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode())
        status_line = await reader.readline()
        return int(status_line.split()[1]) if status_line else 0
    finally:
        writer.close()


def http_probe(port: int, path: str) -> Probe:
    """Returns a probe that wants a 200 from a path of a loopback port."""

    async def probe() -> None:
        status = await http_status(port, path)
        if status != HTTP_OK:
            raise NotHealthyError(f"GET {path} on port {port} answered {status}")

    return probe


def worker_probe(port: int) -> Probe:
    """Returns a probe that wants a worker to live, and room in its folder of models."""

    async def probe() -> None:
        await http_probe(port, "/healthz")()
        if await http_status(port, "/readyz") != HTTP_OK:
            raise NoRoomError("its folder of models has no room for another model")

    return probe


def smtp_probe(port: int) -> Probe:
    """Returns a probe that wants an SMTP server to be ready on a loopback port."""

    async def probe() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            greeting = await reader.readline()
            writer.write(b"QUIT\r\n")
            if not greeting.startswith(b"220"):
                raise NotHealthyError(f"port {port} greets with {greeting!r}")
        finally:
            writer.close()

    return probe


def unix_http_probe(socket: Path, path: str) -> Probe:
    """Returns a probe that wants a 200 from a path of a server on a Unix socket."""

    async def probe() -> None:
        reader, writer = await asyncio.open_unix_connection(socket)
        status = await _status(reader, writer, path, {"host": HOST})
        if status != HTTP_OK:
            raise NotHealthyError(f"GET {path} on {socket} answered {status}")

    return probe


def redis_probe(port: int, password: str) -> Probe:
    """Returns a probe that wants PONG for a PING, rather than LOADING while Redis reads its log back."""

    async def probe() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"AUTH {password}\r\nPING\r\n".encode())
            await reader.readline()
            answer = await reader.readline()
        finally:
            writer.close()
        if answer.strip() != b"+PONG":
            raise NotHealthyError(f"Redis answered PING with {answer!r}")

    return probe


def postgres_probe(dsn: str) -> Probe:
    """Returns a probe that wants an answer to a query, which a server in recovery does not give."""

    async def probe() -> None:
        connection = await asyncpg.connect(dsn, timeout=PROBE_SECONDS)
        try:
            await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()

    return probe


def grpc_probe(port: int, tls: MutualTls | None = None) -> Probe:
    """Returns a probe that wants SERVING from grpc.health.v1 for the whole server, and for the stores that it needs.

    It uses the blocking client in a thread: tests run the supervisor beside their own event loop, and grpc.aio does not
    bear two loops in one process. The port is tried first with plain TCP, since a channel made before anyone listens
    would wait a second to try again.
    """

    async def probe() -> None:
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        await asyncio.to_thread(_check_grpc_health, port, tls)

    return probe


def _check_grpc_health(port: int, tls: MutualTls | None) -> None:
    with blocking_channel(f"{HOST}:{port}", tls) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        # The published type stubs leave the methods of the client out.
        check = stub.Check  # type: ignore[attr-defined]
        answer = check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        stores = check(health_pb2.HealthCheckRequest(service=STORAGE_HEALTH), timeout=PROBE_SECONDS)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotHealthyError(
            f"port {port} answered {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
        )
    if stores.status != health_pb2.HealthCheckResponse.SERVING:
        raise NoRoomError("a store that it needs has no room; what can do without goes on")
