"""Brings the processes and steps of a stack up in dependency order and takes them down in reverse.

It runs in one asyncio loop and knows what to run only as values of `studio.stack.process`. Whatever does not depend on
each other starts and stops at the same time. Keeping a single process running is the keeper's.
"""

import asyncio
import signal
import time
from collections.abc import Iterable

from studio.stack import graph
from studio.stack.events import Event, EventKind, Listen, ignore
from studio.stack.failures import StackError
from studio.stack.keeper import Keeper, Timings
from studio.stack.ports import refuse_taken_ports
from studio.stack.process import Node, Process
from studio.stack.state import ProcessState


class Supervisor:
    """Owns every process of a stack from start to stop."""

    def __init__(self, nodes: Iterable[Node], *, listen: Listen = ignore, timings: Timings | None = None) -> None:
        """Takes the declared graph; raises ValueError when it has a circle or an unknown name."""
        self._nodes = graph.by_name(nodes)
        self._listen = listen
        self._keepers = {
            node.name: Keeper(node, timings or Timings(), listen)
            for node in self._nodes.values()
            if isinstance(node, Process)
        }
        self._up = {name: asyncio.Event() for name in self._nodes}
        self._down = {name: asyncio.Event() for name in self._nodes}

    @property
    def states(self) -> tuple[ProcessState, ...]:
        """Every process, in the order of declaration."""
        return tuple(keeper.state for keeper in self._keepers.values())

    async def start(self) -> None:
        """Starts everything and returns when all of it is healthy.

        Raises StackError for a taken port, for a step that failed and for a process that does not become healthy;
        everything that had been started is stopped again before that.
        """
        refuse_taken_ports(
            (name, listener) for name, keeper in self._keepers.items() for listener in keeper.process.listeners
        )
        try:
            await self._bring_all_up()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stops everything, each process after all those that depend on it."""
        async with asyncio.TaskGroup() as group:
            for name in self._nodes:
                group.create_task(self._take_down(name), name=f"stop of {name}")

    def send(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process; raises StackError when it does not run."""
        self._keepers[name].send(number)

    def hold_restarts(self, name: str) -> None:
        """Keeps a process down after its next death."""
        self._keepers[name].hold_restarts()

    def allow_restarts(self, name: str) -> None:
        """Lets a process be started again after a death."""
        self._keepers[name].allow_restarts()

    async def _bring_all_up(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for node in self._nodes.values():
                    group.create_task(self._bring_up(node), name=f"start of {node.name}")
        except ExceptionGroup as failures:
            expected, unexpected = failures.split(StackError)
            if unexpected or not expected:
                raise
            raise _first_failure(expected) from None

    async def _bring_up(self, node: Node) -> None:
        for name in node.depends_on:
            await self._up[name].wait()
        if isinstance(node, Process):
            await self._keepers[node.name].start()
        else:
            started_at = time.monotonic()
            await node.run()
            self._listen(Event(EventKind.READY, node.name, seconds=time.monotonic() - started_at))
        self._up[node.name].set()

    async def _take_down(self, name: str) -> None:
        for dependent in graph.dependents(self._nodes, name):
            await self._down[dependent].wait()
        if name in self._keepers:
            await self._keepers[name].stop()
        self._down[name].set()


def _first_failure(failures: ExceptionGroup[StackError]) -> StackError:
    """Returns the failure that came first; the others are of processes that were starting at the same time."""
    first = failures.exceptions[0]
    return _first_failure(first) if isinstance(first, ExceptionGroup) else first
