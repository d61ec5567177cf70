"""pg_dump and pg_restore, run against a database by the address of its administrator."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from studio.stack.failures import StackError
from studio.stack.servers.postgres import binaries


@contextmanager
def dumping(admin_url: str) -> Iterator[BinaryIO]:
    """Gives the stream of a dump of one moment; raises StackError at the end of the block when the dump failed."""
    with _running(
        [_program("pg_dump"), "--format=custom", "--compress=1"], admin_url, stdout=subprocess.PIPE
    ) as process:
        yield cast("BinaryIO", process.stdout)


def restore(admin_url: str, write: Callable[[BinaryIO], None]) -> None:
    """Restores the dump that `write` puts into a stream, all of it or nothing; raises StackError when that fails."""
    arguments = [_program("pg_restore"), "--single-transaction", "--exit-on-error", "--no-owner"]
    with _running(arguments, admin_url, stdin=subprocess.PIPE) as process:
        stream = cast("BinaryIO", process.stdin)
        try:
            write(stream)
            stream.close()
        except BrokenPipeError:
            pass  # it has ended: what it said tells why


@contextmanager
def _running(
    arguments: list[str], admin_url: str, *, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    parts = urlsplit(admin_url)
    address = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@", 1)))
    process = subprocess.Popen(
        [*arguments, "--no-password", f"--dbname={address}"],
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Not among the arguments, which every user of the machine can read.
        env={**os.environ, "PGPASSWORD": unquote(parts.password or "")},
    )
    try:
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise
    said = cast("BinaryIO", process.stderr).read().decode(errors="replace").strip()
    if process.wait() != 0:
        name = arguments[0].rpartition("/")[2]
        raise StackError(f"{name} failed", advice="What it said follows.", log_tail=said)


def _program(name: str) -> str:
    """Returns a program of the wheel: those of the machine may be of an older release than the server, and would refuse."""
    return str(binaries() / name)
