"""A whole stack that a program owns for a while, on ports and in folders of its own: for tests and benchmarks.

It is started by the same code as `pingvas up`, and used through its edge like any other; beyond that its owner may kill a
process, keep it down, and read the database as the administrator. The log of a process that died is printed.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from studio.cli.administrator import Administrator
from studio.cli.client import Client
from studio.cli.context import Shared
from studio.cli.credentials import Credentials
from studio.stack.background import BackgroundStack
from studio.stack.events import Event, EventKind
from studio.stack.keys import Secrets, ensure_secrets
from studio.stack.layout import Layout, Ports
from studio.stack.local import LocalStack, StackOptions
from studio.stack.ports import find_free_base
from studio.stack.servers.postgres import Postgres
from studio.stack.servers.redis import Redis
from studio.stack.state import Health, ProcessState

_POLL_SECONDS = 0.02
# Ranges of 110 ports below those from which the kernel takes clients' ports. Two programs at the same time begin their
# search at different ones, because between finding a range and taking it another could have found it too.
_FIRST_BASE, _RANGE, _RANGES = 10_000, 110, 200


class ScratchStack:
    """A whole stack; `with ScratchStack(folder)` starts it and stops it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> None:
        """Takes where its data go, and what is to differ from the usual.

        `settings` go to every service and worker in place of the usual ones (LEASE_SECONDS, PIPELINE, ...);
        `environment` may name running servers, and names none by default.
        """
        self.layout = replace(scratch_layout(data_dir), tls=tls)
        self._closing = ExitStack()
        self._background = BackgroundStack(
            LocalStack(
                self.layout,
                environment=environment or {},
                options=StackOptions(worker_count=workers, overrides=settings or {}),
                listen=_print_deaths,
            )
        )

    def __enter__(self) -> Self:
        """Starts everything; raises StackError with the end of the log concerned when something does not come up."""
        self._background.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything in reverse order."""
        self._closing.close()
        self._background.__exit__(kind, error, trace)

    @property
    def http(self) -> str:
        """The address of the edge for HTTP."""
        return self._background.state.http

    @property
    def grpc(self) -> str:
        """The address of the edge for gRPC, as host:port."""
        return self._background.state.grpc

    @property
    def secrets(self) -> Secrets:
        """The keys and passwords of this fleet."""
        return ensure_secrets(self.layout.keys)

    @property
    def admin_database_url(self) -> str:
        """The address of the database for its administrator, who sees every row."""
        return Postgres(self.layout, self.secrets).admin_url()

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        return Redis(self.layout, self.secrets).url

    @cached_property
    def administrator(self) -> Administrator:
        """Grants credits and sets tiers, as `pingvas admin` does; the connection is closed when the stack is stopped."""
        return self._closing.enter_context(Administrator(Shared(data_dir=self.layout.data_dir)))

    def client(self, folder: Path) -> Client:
        """Returns a client as the command line has it, whose sessions are kept in a folder."""
        return Client(self.grpc, Credentials(folder))

    def internal_address(self, area: str) -> str:
        """Returns where a service's internal listener is."""
        return f"127.0.0.1:{self.layout.ports.internal(area)}"

    def process(self, name: str) -> ProcessState:
        """Returns the state of a process."""
        return next(process for process in self._background.state.processes if process.name == name)

    def log(self, name: str) -> str:
        """Returns everything that a process has logged."""
        return self.layout.log(name).read_text(encoding="utf-8", errors="replace")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, keep_down: bool = False) -> None:
        """Sends a signal to a process; with `keep_down` it is not started again until `start_again`."""
        if keep_down:
            self._background.hold_restarts(name)
        pid = self.process(name).pid
        self._background.send(name, number)
        if number == signal.SIGKILL:
            self.wait_for(lambda: self.process(name).pid != pid, within_seconds=10.0, what=f"the death of {name}")

    def start_again(self, name: str, *, within_seconds: float = 60.0) -> None:
        """Lets a process that was kept down start again, and waits until it is healthy."""
        self._background.allow_restarts(name)
        self.wait_until_healthy(name, within_seconds=within_seconds)

    def wait_until_healthy(self, name: str, *, within_seconds: float = 60.0) -> None:
        """Waits until a process is healthy."""
        self.wait_for(
            lambda: self.process(name).health is Health.HEALTHY,
            within_seconds=within_seconds,
            what=f"{name} to be healthy",
        )

    @staticmethod
    def wait_for(condition: Callable[[], bool], *, within_seconds: float, what: str) -> None:
        """Waits until a condition holds; raises AssertionError that names what was waited for when it does not in time."""
        deadline = time.monotonic() + within_seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within_seconds:g} s in vain for {what}")
            time.sleep(_POLL_SECONDS)


def scratch_layout(data_dir: Path) -> Layout:
    """Returns the layout of a stack in a folder, on ports that are free now."""
    first = _FIRST_BASE + _RANGE * (os.getpid() % _RANGES)
    return Layout(data_dir.absolute(), Ports(find_free_base(first, step=_RANGE)))


def _print_deaths(event: Event) -> None:
    if event.kind is EventKind.DIED:
        sys.stderr.write(
            f"{event.name} {event.detail} after {event.seconds:.1f} s; the end of its log:\n{event.log_tail}\n"
        )
