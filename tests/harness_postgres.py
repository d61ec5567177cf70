"""Owns a real PostgreSQL server for tests: one a session, a fresh database for whoever asks, killed and started at will.

As a pytest plugin it offers `postgres` (the session's server), `postgres_url` (its administrator's address),
`database_for` (a fresh database with the migrations of one service, through which the service's own login roles come in)
and `own_postgres` (one server a test, for tests that kill it).
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

from studio.stack.child import shim
from studio.stack.servers.postgres import binaries, unprivileged_identity
from svc_common.migrations import discover_areas, migrate
from svc_common.roles import Roles, roles_of

ADMIN = "test_admin"
ROLE_PASSWORD = "made-up"
START_DEADLINE_SECONDS = 30.0

# Without fsync a killed server loses nothing, only a machine that loses power; without synchronous_commit it would.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "jit": "off",
}


def _free_port() -> int:
    """Returns a port that nobody uses, below those that the system lends to outgoing connections.

    One of these would take a lent port while the server is starting, or down; a client that calls in vain even its own.
    """
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port below the ephemeral ones")


class PostgresServer:
    """One server with a cluster of its own; every login needs its password, as in production."""

    def __init__(self, parent: Path | None = None) -> None:
        """Makes the cluster in a folder of its own, below `parent` or wherever temporary ones are."""
        self.folder = Path(tempfile.mkdtemp(prefix="pingvas-test-postgres-", dir=parent))
        self.port = _free_port()
        self._identity = unprivileged_identity(self.folder / "cluster", binaries())
        self._process: subprocess.Popen[bytes] | None = None
        self._create()

    def url(self, *, user: str = ADMIN, database: str = "postgres", driver: str = "postgresql") -> str:
        """Returns an address; every role has the same password."""
        return f"{driver}://{user}:{ROLE_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts the server on its port and waits until it answers a query."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(binaries() / "postgres"), "-D", str(self.folder / "cluster"), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._as_its_user(command), stdout=log, stderr=log)
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"PostgreSQL doesn't start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kills the server and its children as a crash of the machine would; a later `start` recovers the data."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        # They would notice the death of their parent by themselves, but until then they answer, and a new server refuses
        # to start beside them.
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=START_DEADLINE_SECONDS)

    def begin_shutdown(self) -> None:
        """Asks the server to end as soon as its sessions have: until then it lets nobody new in."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stops the server and deletes its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=START_DEADLINE_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Runs a statement as the administrator."""
        connection = await asyncpg.connect(self.url(database=database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _create(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(ROLE_PASSWORD)
        if self._identity:
            for path in (self.folder, password_file):
                os.chown(path, self._identity.uid, self._identity.gid)
        command = [str(binaries() / "initdb"), "-D", str(self.folder / "cluster"), "-U", ADMIN, "--no-sync"]
        options = [f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run(self._as_its_user([*command, *options]), check=True, capture_output=True)

    def _as_its_user(self, command: Sequence[str]) -> list[str]:
        # No orphan signal: the kernel sends it at the end of the thread that started the server, not of the process.
        return shim(command, self._identity, None)

    def _answers(self) -> bool:
        probe = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class ServiceDatabase:
    """A fresh database with one service's tables. The role of a URL is what decides which rows it shows."""

    name: str
    roles: Roles
    requests_url: str
    tasks_url: str
    admin_url: str


_NOWHERE = "postgresql+asyncpg://nobody:secret@127.0.0.1:1/none"

UNREACHABLE_DATABASE = ServiceDatabase(
    name="none",
    roles=Roles("none", "none"),
    requests_url=_NOWHERE,
    tasks_url=_NOWHERE,
    admin_url=_NOWHERE,
)
"""For settings of services whose test doesn't touch the database."""


class DatabaseFactory:
    """Makes databases by copying a template for each service, which is migrated once a session."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._made = 0

    async def __call__(self, area: str) -> ServiceDatabase:
        """Returns a fresh database with the migrations of a service (an area such as "payment")."""
        template = f"template_{area}"
        roles = roles_of(template, area)
        # Concurrent fixtures can't meet here: the event loop of the session runs one test at a time.
        if not await self._exists(template):
            await self._migrate(template, area, roles)
        self._made += 1
        name = f"{area}_{self._made}"
        await self._server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._described(name, roles)

    async def _exists(self, name: str) -> bool:
        connection = await asyncpg.connect(self._server.url())
        try:
            return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name))
        finally:
            await connection.close()

    async def _migrate(self, template: str, area: str, roles: Roles) -> None:
        draft = f"{template}_draft"
        await self._server.execute(f"DROP DATABASE IF EXISTS {draft}")
        await self._server.execute(f"CREATE DATABASE {draft}")
        areas = [each for each in discover_areas() if each.name == area]
        assert areas, f"svc_{area} has no store/migrations/env.py"
        passwords = {roles.requests: ROLE_PASSWORD, roles.tasks: ROLE_PASSWORD}
        await migrate(self._server.url(database=draft), passwords, areas=areas, role_prefix=template)
        await self._server.execute(f"ALTER DATABASE {draft} RENAME TO {template}")

    def _described(self, name: str, roles: Roles) -> ServiceDatabase:
        return ServiceDatabase(
            name=name,
            roles=roles,
            requests_url=self._server.url(user=roles.requests, database=name, driver="postgresql+asyncpg"),
            tasks_url=self._server.url(user=roles.tasks, database=name, driver="postgresql+asyncpg"),
            admin_url=self._server.url(database=name),
        )


async def until(condition: Callable[[], Awaitable[bool]], *, within_seconds: float = 10.0) -> None:
    """Polls until a condition holds; fails when it doesn't in time."""
    async with asyncio.timeout(within_seconds):
        while not await condition():  # noqa: ASYNC110 - it may come true in another process
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    return postgres.url()


@pytest.fixture(scope="session")
def database_for(postgres: PostgresServer) -> DatabaseFactory:
    return DatabaseFactory(postgres)


@pytest.fixture
async def own_postgres() -> AsyncIterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
