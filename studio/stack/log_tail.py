"""The logs of processes: opening, keeping them small, and reading their end."""

import os
from pathlib import Path

TAIL_LINES = 20
_ROTATE_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 64 * 1024


def open_for_append(log: Path) -> int:
    """Opens a log for a new child and returns the descriptor; one over 10 MiB is first moved to `NAME.log.1`."""
    if log.exists() and log.stat().st_size > _ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def size(log: Path) -> int:
    """Returns the length of a log in bytes; zero when there is none."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, *, since_byte: int = 0, lines: int = TAIL_LINES) -> str:
    """Returns the last lines written after a position, so that an earlier run is never blamed on this one."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(since_byte, size(log) - _TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
