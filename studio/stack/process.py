"""What the supervisor runs: a process or a step, each with what it depends on.

These are plain values. Starting, watching and stopping them belongs to the supervisor; what they are to the modules
that declare them.
"""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A probe returns when the process is healthy and raises any exception when it is not (yet).
Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a process will take, with the words for the message when somebody else has it."""

    port: int
    purpose: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The unprivileged user as whom a process runs when the stack itself is started by root."""

    uid: int
    gid: int
    # Grants CAP_DAC_OVERRIDE, for folders that lie under one which that user may not enter.
    crosses_closed_folders: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A long-running process of the stack."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    address: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    # Those that it need not wait for at its start but that must be there until it is gone, like a server for its
    # clients.
    outlived_by: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    identity: Identity | None = None
    ready_within_seconds: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_seconds: float = 15.0
    # What the kernel sends when the supervisor vanishes. Whoever has data to close overrides it with a gentler signal.
    orphan_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Step:
    """Something done once on the way up, such as a migration; what depends on it waits until it is done."""

    name: str
    run: Callable[[], Awaitable[None]]
    depends_on: tuple[str, ...] = ()


Node = Process | Step
