"""What the running stack tells other commands: its lock, and a file with the state of each process.

The lock is an flock on a file, so it vanishes with the supervisor however that dies. The state file is written whole
and renamed, so a reader never sees half of it.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from studio.stack.failures import StackError
from studio.stack.layout import HOST, Layout

_LOCK_FILE = "lock"
_STATE_FILE = "state.json"
_ALREADY_RUNNING_ADVICE = "Use it as it is, stop it with `pingvas down`, or choose another folder with --data-dir."


class Health(StrEnum):
    """How a process is doing, as far as the supervisor has seen."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    FULL = "full"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as `pingvas status` shows it; `pid` is None while it does not run, `detail` says what a full one lacks."""

    name: str
    pid: int | None
    address: str
    health: Health
    log: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StackState:
    """The stack as `pingvas status` shows it."""

    http: str
    grpc: str
    data_dir: str
    port_base: int
    supervisor_pid: int
    ready: bool
    processes: tuple[ProcessState, ...]
    # The certificate of the authority to trust; empty: the edge serves no TLS.
    ca_file: str = ""

    def to_json(self) -> dict[str, object]:
        """Returns the document of `pingvas status --json`."""
        return {
            "http": self.http,
            "grpc": self.grpc,
            "ca_file": self.ca_file,
            "data_dir": self.data_dir,
            "processes": [asdict(process) for process in self.processes],
        }


class StackLock:
    """Makes sure that a data directory has one stack at most."""

    def __init__(self, layout: Layout) -> None:
        """Prepares the lock; nothing is taken until the context is entered."""
        self._path = layout.run / _LOCK_FILE
        self._data_dir = layout.data_dir
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Takes the lock, or raises StackError when another stack has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StackError(
                f"a stack already runs with the data directory {self._data_dir}", advice=_ALREADY_RUNNING_ADVICE
            ) from None
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


def describe(layout: Layout, *, ready: bool, processes: tuple[ProcessState, ...]) -> StackState:
    """Returns the state of the stack that this process supervises."""
    edge = f"{HOST}:{layout.ports.edge}"
    return StackState(
        http=layout.origin,
        grpc=edge,
        data_dir=str(layout.data_dir),
        port_base=layout.ports.base,
        supervisor_pid=os.getpid(),
        ready=ready,
        processes=processes,
        ca_file=str(layout.authority) if layout.tls else "",
    )


def is_running(layout: Layout) -> bool:
    """Returns whether a supervisor holds the lock of this data directory."""
    path = layout.run / _LOCK_FILE
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_state(layout: Layout, state: StackState) -> None:
    """Publishes the state for other commands."""
    path = layout.run / _STATE_FILE
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
    draft.replace(path)


def read_state(layout: Layout) -> StackState | None:
    """Returns the state of the stack that runs with this data directory, or None when none does."""
    path = layout.run / _STATE_FILE
    if not is_running(layout) or not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    processes = tuple(ProcessState(**{**each, "health": Health(each["health"])}) for each in document.pop("processes"))
    return StackState(**document, processes=processes)


def clear_state(layout: Layout) -> None:
    """Forgets the state of a stack that is gone or is about to start anew."""
    (layout.run / _STATE_FILE).unlink(missing_ok=True)


def wait_until_stopped(layout: Layout, *, within_seconds: float) -> bool:
    """Waits until nobody holds the lock; returns whether that happened in time."""
    deadline = time.monotonic() + within_seconds
    while is_running(layout):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
