"""The logs of processes: opening, keeping them small, and reading their end."""

import os
import shutil
from pathlib import Path

TAIL_LINES = 20
_ROTATE_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 64 * 1024


def open_for_append(log: Path) -> int:
    """Opens a log for a new child, readable by its owner only, and returns the descriptor."""
    rotate(log)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(log: Path) -> None:
    """Moves what a log over 10 MiB holds to `NAME.log.1`, in place of what was there.

    Its writers keep the file open, so it is copied and emptied: they append, and go on at its new end. What is written
    between the last read and the emptying is lost, a matter of microseconds.
    """
    if size(log) <= _ROTATE_BYTES:
        return
    older = log.with_suffix(".log.1")
    older.touch(mode=0o600)
    with log.open("r+b") as source, older.open("wb") as copy:
        shutil.copyfileobj(source, copy)
        source.truncate(0)


def size(log: Path) -> int:
    """Returns the length of a log in bytes; zero when there is none."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, *, since_byte: int = 0, lines: int = TAIL_LINES) -> str:
    """Returns the last lines written after a position, so that an earlier run is never blamed on this one."""
    if not log.exists():
        return ""
    length = size(log)
    if since_byte > length:  # it was rotated since
        since_byte = 0
    with log.open("rb") as stream:
        stream.seek(max(since_byte, length - _TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
