"""`pingvas up` and `down` as a person uses them: side by side, detached, killed, refused, and on servers that run already."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from studio.stack.layout import Layout, Ports
from studio.stack.ports import find_free_base
from studio.stack.state import is_running
from tests.harness import Fleet

_PATIENCE_SECONDS = 180.0
_PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A stack that runs beside those that the tests start."""
    with Fleet(tmp_path_factory.mktemp("first"), workers=0) as running:
        yield running


class Machine:
    """A terminal with a data directory and a range of ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.ports = Ports(find_free_base(10_000 + 110 * (os.getpid() % 200), step=110))
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "PINGVAS_DATA_DIR": str(self.data_dir),
            "PINGVAS_PASSWORD": _PASSWORD,
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "studio.cli.main", *arguments],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    def up(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Starts the stack, detached and without workers, which tests of the stack itself do not need."""
        own = ("up", "--detach", "--workers", "0", "--port-base", str(self.ports.base))
        return self.run(*own, *arguments, **environment)

    def processes(self) -> dict[str, int]:
        """Returns the pid of each process that `pingvas status` names."""
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        return {process["name"]: process["pid"] for process in json.loads(done.stdout)["processes"]}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        machine.run("down")


def test_stacks_run_side_by_side_and_keep_their_data_through_a_kill(fleet: Fleet, machine: Machine) -> None:
    started = machine.up()
    assert started.returncode == 0, started.stderr
    assert f"http://127.0.0.1:{machine.ports.edge}" in started.stdout
    assert machine.run("register", "maya@example.com").returncode == 0
    pids = machine.processes()
    supervisor = psutil.Process(pids["envoy"]).ppid()

    os.kill(supervisor, signal.SIGKILL)
    Fleet.wait_for(
        lambda: not any(psutil.pid_exists(pid) for pid in pids.values()),
        within_seconds=20.0,
        what="the end of all children",
    )
    assert machine.run("status").returncode == 3
    assert fleet.process("envoy").health == "healthy"

    again = machine.up()
    assert again.returncode == 0, again.stderr
    assert machine.run("login", "maya@example.com").returncode == 0
    assert machine.run("down").stdout == "Stopped.\n"
    assert not is_running(Layout(machine.data_dir))


def test_second_stack_in_the_same_folder_is_refused(fleet: Fleet, machine: Machine) -> None:
    refused = machine.up("--data-dir", str(fleet.layout.data_dir))
    assert refused.returncode == 1
    assert f"a stack already runs with the data directory {fleet.layout.data_dir}" in refused.stderr
    assert fleet.process("envoy").health == "healthy"


def test_taken_port_is_named_with_its_owner_and_leaves_nothing_behind(machine: Machine) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", machine.ports.edge))
        squatter.listen()
        refused = machine.run("up", "--port-base", str(machine.ports.base))
    assert refused.returncode == 1
    assert f"port {machine.ports.edge} (everything public of envoy) is taken by" in refused.stderr
    assert f"(pid {os.getpid()})" in refused.stderr
    assert "--port-base" in refused.stderr
    assert not is_running(Layout(machine.data_dir))


def test_up_in_the_foreground_stops_at_ctrl_c_even_while_it_starts(machine: Machine) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "studio.cli.main", "up", "--workers", "0", "--port-base", str(machine.ports.base)],
        env={**machine.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert any("redis" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=_PATIENCE_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not is_running(Layout(machine.data_dir))


async def _create_database(admin_url: str, name: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


async def _roles(admin_url: str) -> set[str]:
    connection = await asyncpg.connect(admin_url)
    try:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_requests'")
    finally:
        await connection.close()
    return {row["rolname"] for row in rows}


async def test_running_servers_are_used_when_the_environment_names_them(fleet: Fleet, machine: Machine) -> None:
    """Two stacks share one PostgreSQL: their roles are named after their databases, so neither changes the other's."""
    url = fleet.admin_database_url.removesuffix("/pingvas") + "/another"
    await _create_database(fleet.admin_database_url, "another")
    before = await _roles(url)
    started = machine.up(
        DATABASE_URL=url,
        REDIS_URL=fleet.redis_url.removesuffix("/0") + "/1",
        S3_ENDPOINT_URL=f"http://127.0.0.1:{fleet.layout.ports.s3}",
        S3_ACCESS_KEY=fleet.secrets.s3_access_key,
        S3_SECRET_KEY=fleet.secrets.s3_secret_key,
    )
    assert started.returncode == 0, started.stderr
    assert {"postgres", "redis", "s3"}.isdisjoint(machine.processes())
    assert await _roles(url) - before == {
        f"another_{area}_requests" for area in ("user", "payment", "generation", "gallery", "models")
    }
    registered = machine.run("register", "maya@example.com")
    assert registered.returncode == 0, registered.stderr
    assert machine.run("credits").returncode == 0


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        (
            {"DATABASE_URL": "postgresql://admin:x@127.0.0.1:9/pingvas"},
            "the server that DATABASE_URL names does not answer",
        ),
        ({"DATABASE_URL": "mysql://127.0.0.1/pingvas"}, "DATABASE_URL is not the address of a PostgreSQL database"),
        ({"REDIS_URL": "redis://127.0.0.1:9/0"}, "the server that REDIS_URL names does not answer"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "S3_ENDPOINT_URL is set, but S3_ACCESS_KEY and S3_SECRET_KEY not"),
    ],
)
def test_running_server_that_is_not_there_is_named(
    machine: Machine, environment: dict[str, str], complaint: str
) -> None:
    refused = machine.run("up", "--workers", "0", "--port-base", str(machine.ports.base), **environment)
    assert refused.returncode == 1
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("name", ["redis", "postgres", "svc_user", "envoy"])
def test_killed_process_is_up_again_and_the_platform_with_it(fleet: Fleet, machine: Machine, name: str) -> None:
    fleet.kill(name)
    fleet.wait_until_healthy(name)
    environment = {"PINGVAS_DATA_DIR": str(fleet.layout.data_dir)}
    email = f"after-{name}@example.com".replace("_", "-")

    def registers() -> bool:
        return machine.run("register", email, **environment).returncode == 0

    fleet.wait_for(registers, within_seconds=30.0, what=f"registration after {name} was killed")
