"""One running operating-system process: started through the spawn shim, signalled, and waited for with its group."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from studio.stack import log_tail, spawn
from studio.stack.failures import StackError
from studio.stack.process import Identity, Process


@dataclass(slots=True)
class Child:
    """A process that was started, until it is gone."""

    process: Process
    handle: asyncio.subprocess.Process
    started_at: float
    log_start: int

    @classmethod
    async def start(cls, process: Process) -> Self:
        """Starts the process in a session of its own, so that the terminal's Ctrl-C reaches the supervisor only."""
        log_start = log_tail.size(process.log)
        output = log_tail.open_for_append(process.log)
        try:
            handle = await asyncio.create_subprocess_exec(
                *shim(process.command, process.identity, process.orphan_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **process.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise StackError(
                f"{process.name} could not be started: {error}", advice="Run `make setup` again."
            ) from error
        finally:
            os.close(output)
        return cls(process=process, handle=handle, started_at=time.monotonic(), log_start=log_start)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self.handle.pid

    @property
    def age_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_at

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself, which tells its own children what they need to know."""
        send_signal(self.handle, number)

    async def wait(self) -> int:
        """Waits for its end and kills what is left of its group; returns the exit status, negative for a signal."""
        status = await self.handle.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return status

    async def stop(self) -> bool:
        """Asks it to stop, and kills it when it does not in time; returns whether it went by itself."""
        self.send(self.process.stop_signal)
        # A process under SIGSTOP acts on no other signal before this one.
        self.send(signal.SIGCONT)
        try:
            async with asyncio.timeout(self.process.stop_within_seconds):
                await self.handle.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.handle.wait()
            return False
        return True

    def end_of_log(self) -> str:
        """Returns the last lines that this run wrote."""
        return log_tail.tail(self.process.log, since_byte=self.log_start)


def send_signal(handle: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Sends a signal to a process that may have ended in the meantime.

    The handle's own method first looks whether the process has ended, and takes its exit status away from the thread of
    asyncio that waits for it, which then reports 255.
    """
    if handle.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(handle.pid, number)


def shim(command: Sequence[str], identity: Identity | None, orphan_signal: signal.Signals | None) -> list[str]:
    """Returns the command line that runs a command through the spawn shim.

    The interpreter of the shim is the system's own beneath any virtual environment, without site-packages: it starts in
    10 ms. Without an orphan signal the command outlives its parent.
    """
    uid, gid, crosses = (identity.uid, identity.gid, identity.crosses_closed_folders) if identity else (-1, -1, False)
    arguments = [os.getpid(), orphan_signal.value if orphan_signal else 0, uid, gid, int(crosses)]
    return [sys.executable, "-I", "-S", spawn.__file__, *map(str, arguments), "--", *command]


def describe_exit(status: int) -> str:
    """Returns the words for an exit status as asyncio gives it, negative for a signal."""
    if status >= 0:
        return f"exited with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
