"""A local stack in a thread of its own, for programs that do something else meanwhile: the demo and the tests."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from studio.stack.local import LocalStack
from studio.stack.state import StackState

Result = TypeVar("Result")


class BackgroundStack:
    """Runs a stack in a thread with its own event loop; `with` starts it and stops it.

    The thread lives as long as the stack does: the kernel takes the end of the thread that started a child for the end
    of its parent.
    """

    def __init__(self, stack: LocalStack) -> None:
        """Takes a stack that has not been started."""
        self.stack = stack
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack", daemon=True)

    def __enter__(self) -> Self:
        """Starts the stack and returns when it is healthy; raises StackError when it can't be."""
        self._thread.start()
        starting = self._submit(self.stack.__aenter__())
        try:
            starting.result()
        except BaseException:
            # Ctrl-C reaches this thread, not the one that starts the stack.
            starting.cancel()
            self._submit(self._until_others_are_done()).result()
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the stack."""
        try:
            self._submit(self.stack.__aexit__(kind, error, trace)).result()
        finally:
            self._end_thread()

    @property
    def state(self) -> StackState:
        """The stack as `pingvas status` shows it."""
        return self._call(lambda: self.stack.state)

    def send(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process."""
        self._call(lambda: self.stack.supervisor.send(name, number))

    def hold_restarts(self, name: str) -> None:
        """Keeps a process down after its next death."""
        self._call(lambda: self.stack.supervisor.hold_restarts(name))

    def allow_restarts(self, name: str) -> None:
        """Lets a process be started again after a death."""
        self._call(lambda: self.stack.supervisor.allow_restarts(name))

    def _call(self, function: Callable[[], Result]) -> Result:
        async def run() -> Result:
            return function()

        return self._submit(run()).result()

    def _submit(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _until_others_are_done(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
