"""Keeps one process running: start, first health, watching, and starting again after a death.

A process that dies again and again before it was ever healthy is misconfigured, and the keeper gives up with the end of
its log. One that was healthy once is started again for as long as the stack runs. A process that merely answers no
probe is shown as unhealthy and left alone: it may be stopped or overloaded with work in hand that a kill would lose. One
whose store has no room is shown as full: it answers, and goes on when there is room.
"""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass

from studio.stack import log_tail
from studio.stack.child import Child, describe_exit
from studio.stack.events import Event, EventKind, Listen
from studio.stack.failures import StackError
from studio.stack.probes import PROBE_SECONDS, NoRoomError
from studio.stack.process import Process
from studio.stack.state import Health, ProcessState

_MISSED_PROBES_UNTIL_UNHEALTHY = 2


@dataclass(frozen=True, slots=True)
class Timings:
    """How patient a keeper is; times are in seconds."""

    probe_every: float = 0.05
    watch_every: float = 3.0
    first_backoff: float = 0.2
    longest_backoff: float = 5.0
    # A process that was up for this long has earned the shortest backoff again.
    steady_after: float = 10.0
    deaths_until_giving_up: int = 5


class Keeper:
    """The one owner of a process of the stack."""

    def __init__(self, process: Process, timings: Timings, listen: Listen) -> None:
        """Prepares to keep a process; nothing is started before `start`."""
        self.process = process
        self._timings = timings
        self._listen = listen
        self._child: Child | None = None
        self._health = Health.WAITING
        self._detail = ""
        self._first_health: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._may_restart = asyncio.Event()
        self._may_restart.set()
        self._stopping = False
        self._end_of_last_log = ""

    @property
    def state(self) -> ProcessState:
        """The process as `pingvas status` shows it."""
        pid = self._child.pid if self._child else None
        log = str(self.process.log)
        return ProcessState(self.process.name, pid, self.process.address, self._health, log, self._detail)

    async def start(self) -> None:
        """Starts the process and returns when it is healthy; raises StackError when it never gets there."""
        self._first_health = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(), name=f"keeper of {self.process.name}")
        await self._first_health

    async def stop(self) -> None:
        """Stops the process, if it runs, and keeps it stopped."""
        self._stopping = True
        if self._child:
            went_by_itself = await self._child.stop()
            self._tell(EventKind.STOPPED if went_by_itself else EventKind.KILLED)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._become(Health.STOPPED)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process; raises StackError when it does not run at the moment."""
        if not self._child:
            raise StackError(f"{self.process.name} does not run", advice="Wait until it is up again.")
        self._child.send(number)

    def hold_restarts(self) -> None:
        """Keeps the process down after its next death, until `allow_restarts`."""
        self._may_restart.clear()

    def allow_restarts(self) -> None:
        """Lets the process be started again; one that is down is started at once."""
        self._may_restart.set()

    async def _keep(self) -> None:
        try:
            await self._start_again_and_again()
        except StackError as error:
            self._become(Health.FAILED)
            self._fail(error)

    async def _start_again_and_again(self) -> None:
        backoff, deaths = self._timings.first_backoff, 0
        while not self._stopping:
            age = await self._live_once()
            deaths += 1
            if not self._was_ever_healthy and deaths >= self._timings.deaths_until_giving_up:
                happened = f"{self.process.name} died {deaths} times without ever becoming healthy"
                raise self._gives_up(happened, self._end_of_last_log)
            if age > self._timings.steady_after:
                backoff = self._timings.first_backoff
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, self._timings.longest_backoff)
            await self._may_restart.wait()

    async def _live_once(self) -> float:
        """Starts the process, waits for its death, reports that, and returns how many seconds it lived."""
        child = self._child = await Child.start(self.process)
        self._become(Health.STARTING)
        self._tell(EventKind.STARTED)
        watch = asyncio.create_task(self._watch(child))
        try:
            status = await child.wait()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            self._child = None
            self._end_of_last_log = child.end_of_log()
        if not self._stopping:
            self._become(Health.RESTARTING)
            self._listen(
                Event(
                    EventKind.DIED, self.process.name, describe_exit(status), self._end_of_last_log, child.age_seconds
                )
            )
        return child.age_seconds

    async def _watch(self, child: Child) -> None:
        if not await self._becomes_healthy(child):
            return
        missed = 0
        while True:
            await asyncio.sleep(self._timings.watch_every)
            # On a full disk the log stays as it is.
            with contextlib.suppress(OSError):
                log_tail.rotate(self.process.log)
            found = await self._probe()
            missed = missed + 1 if found is Health.UNHEALTHY else 0
            if missed == _MISSED_PROBES_UNTIL_UNHEALTHY:
                self._become(Health.UNHEALTHY)
                self._tell(EventKind.UNHEALTHY)
            elif missed == 0 and self._health is not found:
                self._become(found)
                self._tell(EventKind.FULL if found is Health.FULL else EventKind.HEALTHY_AGAIN)

    async def _becomes_healthy(self, child: Child) -> bool:
        """Probes until the process is healthy; returns false when the first time takes too long."""
        deadline = time.monotonic() + self.process.ready_within_seconds
        while (found := await self._probe()) is Health.UNHEALTHY:
            if time.monotonic() > deadline and not self._was_ever_healthy:
                seconds = f"{self.process.ready_within_seconds:g} s"
                self._fail(self._gives_up(f"{self.process.name} was not healthy within {seconds}", child.end_of_log()))
                return False
            await asyncio.sleep(self._timings.probe_every)
        self._become(found)
        self._listen(Event(EventKind.READY, self.process.name, seconds=child.age_seconds))
        if self._first_health and not self._first_health.done():
            self._first_health.set_result(None)
        return True

    async def _probe(self) -> Health:
        """Returns how the process answered its probe: healthy, full or unhealthy."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.process.probe()
        except NoRoomError as error:
            self._detail = str(error)
            return Health.FULL
        except Exception:  # noqa: BLE001 - every library fails in its own way, and each of them means "not healthy"
            return Health.UNHEALTHY
        return Health.HEALTHY

    @property
    def _was_ever_healthy(self) -> bool:
        future = self._first_health
        return future is not None and future.done() and not future.cancelled() and future.exception() is None

    def _gives_up(self, happened: str, end_of_log: str) -> StackError:
        return StackError(
            happened, advice=f"The whole log is {self.process.log}; its end follows.", log_tail=end_of_log
        )

    def _fail(self, error: StackError) -> None:
        if self._first_health and not self._first_health.done():
            self._first_health.set_exception(error)

    def _become(self, health: Health) -> None:
        self._health = health
        if health is not Health.FULL:
            self._detail = ""

    def _tell(self, kind: EventKind) -> None:
        self._listen(Event(kind, self.process.name, self._detail))
