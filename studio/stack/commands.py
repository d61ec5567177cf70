"""Commands that run once and end: migrations, first-time set-up of a server, building the built-in model."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from studio.stack import log_tail
from studio.stack.child import describe_exit, send_signal, shim
from studio.stack.failures import StackError
from studio.stack.process import Identity


async def run_to_end(
    what: str,
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    identity: Identity | None = None,
) -> None:
    """Runs a command with its output in a log; raises StackError with the end of that log when it fails."""
    log_start = log_tail.size(log)
    output = log_tail.open_for_append(log)
    try:
        handle = await asyncio.create_subprocess_exec(
            *shim(command, identity, signal.SIGKILL),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    finally:
        os.close(output)
    try:
        status = await handle.wait()
    except asyncio.CancelledError:
        send_signal(handle, signal.SIGKILL)
        await handle.wait()
        raise
    if status != 0:
        raise StackError(
            f"{what} failed: {describe_exit(status)}",
            advice=f"The whole log is {log}; its end follows.",
            log_tail=log_tail.tail(log, since_byte=log_start),
        )
