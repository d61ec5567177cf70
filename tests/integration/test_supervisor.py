"""The supervisor with real child processes, each a few lines of Python: order, deaths, giving up, and stopping."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from studio.stack.events import Event, EventKind
from studio.stack.failures import StackError
from studio.stack.keeper import Timings
from studio.stack.probes import with_room
from studio.stack.process import Listener, Node, Process, Step
from studio.stack.state import Health, ProcessState
from studio.stack.supervisor import Supervisor
from svc_common.free_space import FolderGauge, WaterMarks

QUICK = Timings(probe_every=0.02, watch_every=0.05, first_backoff=0.02, longest_backoff=0.1, steady_after=5.0)
DEADLINE_SECONDS = 20.0

# Each child says in a file that it is there, stays until SIGTERM, and then says that it goes. It waits for the signal
# itself: one that comes between the last instruction of Python and a sleep's system call would be seen after the sleep.
_STAYS = """
import signal, sys
name, journal = sys.argv[1:3]
def write(word):
    with open(journal, "a") as stream:
        stream.write(f"{word} {name}\\n")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
write("here")
signal.sigwait({signal.SIGTERM})
write("gone")
"""
_STAYS_THROUGH_SIGTERM = _STAYS.replace("signal.sigwait({signal.SIGTERM})", "signal.sigwait({signal.SIGUSR1})")
_DIES = "import sys; print('cannot read the configuration'); sys.exit(3)"


class Journal:
    """What the children of one test wrote, in the order of writing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"
        self.folder = folder
        self.events: list[Event] = []

    @property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def process(self, name: str, *depends_on: str, code: str = _STAYS, **more: object) -> Process:
        """Declares a child that is healthy as soon as it wrote that it is there."""

        async def probe() -> None:
            births = self.lines.count(f"here {name}")
            deaths = len([event for event in self.events if event.kind is EventKind.DIED and event.name == name])
            assert births > deaths

        settings: dict[str, object] = {"probe": probe, "stop_within_seconds": 5.0, **more}
        return Process(
            name=name,
            command=(sys.executable, "-c", code, name, str(self.path)),
            address="",
            log=self.folder / f"{name}.log",
            depends_on=depends_on,
            **settings,  # type: ignore[arg-type]
        )

    @asynccontextmanager
    async def running(self, *nodes: Node, timings: Timings = QUICK) -> AsyncIterator[Supervisor]:
        """Starts a supervisor over the nodes and stops it at the end."""
        supervisor = Supervisor(nodes, listen=self.events.append, timings=timings)
        await supervisor.start()
        try:
            yield supervisor
        finally:
            await supervisor.stop()

    def of_kind(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


async def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds; the test fails when it does not come to that."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = next(state.pid for state in supervisor.states if state.name == name)
    assert pid is not None
    return pid


async def test_start_waits_for_dependencies_and_stop_goes_in_reverse(journal: Journal) -> None:
    nodes = (journal.process("edge", "service"), journal.process("service", "database"), journal.process("database"))
    async with journal.running(*nodes) as supervisor:
        assert journal.lines == ["here database", "here service", "here edge"]
        assert {state.health for state in supervisor.states} == {Health.HEALTHY}
    assert journal.lines[3:] == ["gone edge", "gone service", "gone database"]
    assert {state.health for state in supervisor.states} == {Health.STOPPED}


async def test_process_that_another_outlives_starts_without_it_and_stops_before_it(journal: Journal) -> None:
    """Each is healthy only when both are there, so neither could start if it waited for the other's health."""

    async def both_are_there() -> None:
        assert {"here worker", "here service"} <= set(journal.lines)

    worker = journal.process("worker", outlived_by=("service",), probe=both_are_there)
    service = journal.process("service", probe=both_are_there)
    async with journal.running(worker, service):
        pass
    assert journal.lines[2:] == ["gone worker", "gone service"]


async def test_independent_processes_start_side_by_side(journal: Journal) -> None:
    """Neither of two is healthy before both are there, so one after the other would never get there."""

    async def both_are_there() -> None:
        assert {"here left", "here right"} <= set(journal.lines)

    nodes = [journal.process(name, probe=both_are_there, ready_within_seconds=10.0) for name in ("left", "right")]
    async with journal.running(*nodes) as supervisor:
        assert [state.health for state in supervisor.states] == [Health.HEALTHY, Health.HEALTHY]


async def test_step_runs_once_between_what_it_needs_and_what_needs_it(journal: Journal) -> None:
    async def migrate() -> None:
        with journal.path.open("a", encoding="utf-8") as stream:
            stream.write("migrated\n")

    step = Step("migrations", migrate, ("database",))
    async with journal.running(journal.process("service", "migrations"), step, journal.process("database")):
        assert journal.lines == ["here database", "migrated", "here service"]


async def test_failing_step_stops_what_was_started(journal: Journal) -> None:
    async def fail() -> None:
        raise StackError("the migration failed", advice="Read its log.")

    nodes = (
        journal.process("database"),
        Step("migrations", fail, ("database",)),
        journal.process("service", "migrations"),
    )
    with pytest.raises(StackError, match="the migration failed"):
        await Supervisor(nodes, timings=QUICK).start()
    assert journal.lines == ["here database", "gone database"]


async def test_killed_process_is_reported_with_its_log_and_started_again(journal: Journal) -> None:
    code = _STAYS.replace('write("here")', 'write("here"); print("listening", flush=True)')
    async with journal.running(journal.process("service", code=code)) as supervisor:
        first = pid_of(supervisor, "service")
        supervisor.send("service", signal.SIGKILL)
        await until(lambda: len(journal.of_kind(EventKind.READY)) == 2)
        assert pid_of(supervisor, "service") != first
    (death,) = journal.of_kind(EventKind.DIED)
    assert (death.name, death.detail, death.log_tail) == ("service", "was killed by SIGKILL", "listening")


async def test_death_report_holds_at_most_twenty_lines_of_this_run(journal: Journal) -> None:
    (journal.folder / "service.log").write_text("words of an earlier run\n", encoding="utf-8")
    code = "for number in range(50): print('line', number)"
    with pytest.raises(StackError) as failure:
        await Supervisor([journal.process("service", code=code)], timings=QUICK).start()
    assert failure.value.log_tail.splitlines() == [f"line {number}" for number in range(30, 50)]


async def test_process_that_never_gets_healthy_is_given_up_after_five_deaths(journal: Journal) -> None:
    nodes = (journal.process("database"), journal.process("service", "database", code=_DIES))
    supervisor = Supervisor(nodes, listen=journal.events.append, timings=QUICK)
    with pytest.raises(StackError) as failure:
        await supervisor.start()
    assert failure.value.happened == "service died 5 times without ever becoming healthy"
    assert failure.value.log_tail == "cannot read the configuration"
    assert [event.detail for event in journal.of_kind(EventKind.DIED)] == ["exited with status 3"] * 5
    assert journal.lines == ["here database", "gone database"]


async def test_process_that_stays_unhealthy_fails_the_start(journal: Journal) -> None:
    async def never() -> None:
        raise ConnectionRefusedError

    with pytest.raises(StackError, match=r"service was not healthy within 0\.2 s"):
        await Supervisor([journal.process("service", probe=never, ready_within_seconds=0.2)], timings=QUICK).start()


async def test_process_that_stops_answering_is_shown_as_unhealthy_and_left_alone(journal: Journal) -> None:
    answers = True

    async def probe() -> None:
        assert answers

    async with journal.running(journal.process("service", probe=probe)) as supervisor:
        pid = pid_of(supervisor, "service")
        answers = False
        await until(lambda: supervisor.states[0].health is Health.UNHEALTHY)
        answers = True
        await until(lambda: supervisor.states[0].health is Health.HEALTHY)
        assert pid_of(supervisor, "service") == pid
    assert [event.kind for event in journal.events[2:4]] == [EventKind.UNHEALTHY, EventKind.HEALTHY_AGAIN]


async def test_held_process_stays_down_until_it_is_allowed_again(journal: Journal) -> None:
    async with journal.running(journal.process("service")) as supervisor:
        supervisor.hold_restarts("service")
        supervisor.send("service", signal.SIGKILL)
        await until(lambda: len(journal.of_kind(EventKind.DIED)) == 1)
        # Far longer than the backoff; nothing is to happen in it, so there is no condition to wait for.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10 * QUICK.longest_backoff):
                await until(lambda: len(journal.of_kind(EventKind.STARTED)) == 2)
        supervisor.allow_restarts("service")
        await until(lambda: len(journal.of_kind(EventKind.READY)) == 2)


async def test_process_deaf_to_sigterm_is_killed_after_its_grace(journal: Journal) -> None:
    deaf = journal.process("deaf", code=_STAYS_THROUGH_SIGTERM, stop_within_seconds=0.3)
    async with journal.running(deaf, journal.process("polite")):
        pass
    assert [event.name for event in journal.of_kind(EventKind.KILLED)] == ["deaf"]
    assert [event.name for event in journal.of_kind(EventKind.STOPPED)] == ["polite"]


async def test_process_under_sigstop_is_stopped_like_any_other(journal: Journal) -> None:
    async with journal.running(journal.process("service")) as supervisor:
        supervisor.send("service", signal.SIGSTOP)
    assert journal.lines == ["here service", "gone service"]


async def test_stop_leaves_no_grandchild_behind(journal: Journal) -> None:
    code = _STAYS.replace(
        'write("here")',
        "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); write('here')",
    )
    async with journal.running(journal.process("service", code=code)):
        grandchild = int((journal.folder / "service.log").read_text(encoding="utf-8"))
        assert psutil.pid_exists(grandchild)
    await until(
        lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
    )


async def test_taken_port_is_named_with_who_needs_it_and_what_to_do(journal: Journal, taken_port: int) -> None:
    process = journal.process("svc_user", listeners=(Listener(taken_port, "public calls"),))
    with pytest.raises(StackError) as failure:
        await Supervisor([process], timings=QUICK).start()
    assert f"port {taken_port} (public calls of svc_user) is taken" in failure.value.happened
    assert f"(pid {os.getpid()})" in failure.value.happened
    assert "--port-base" in failure.value.advice
    assert journal.lines == []


async def test_two_supervisors_work_side_by_side(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / name) for name in ("first", "second")]
    for each in journals:
        each.folder.mkdir()
    async with journals[0].running(journals[0].process("service")) as first:
        async with journals[1].running(journals[1].process("service")):
            pass
        assert first.states[0].health is Health.HEALTHY
    assert [each.lines for each in journals] == [["here service", "gone service"]] * 2


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ([("a", "b"), ("b", "a")], "circle"),
        ([("a", "nobody")], "nobody declared"),
        ([("a",), ("a",)], "used twice"),
    ],
)
async def test_impossible_graph_is_refused(journal: Journal, declared: list[tuple[str, ...]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Supervisor([journal.process(*names) for names in declared])


def _supervise_until_killed(folder: str) -> str:
    """Returns a program that starts one child under a supervisor, prints its pid, and stays."""
    return f"""
import asyncio
from pathlib import Path
from tests.integration.test_supervisor import Journal, QUICK

async def main():
    journal = Journal(Path({folder!r}))
    async with journal.running(journal.process("service")) as supervisor:
        print(supervisor.states[0].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    handle = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _supervise_until_killed(str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert handle.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        child = int(await handle.stdout.readline())
    assert psutil.pid_exists(child)
    handle.kill()
    await handle.wait()
    await until(lambda: not psutil.pid_exists(child))


async def test_process_without_room_is_shown_as_full_until_there_is_some(journal: Journal, tmp_path: Path) -> None:
    free = [1000]
    gauge = FolderGauge(tmp_path, WaterMarks(low_bytes=100, high_bytes=200), free=lambda _: free[0])
    born = journal.process("store")
    store = journal.process("store", probe=with_room(born.probe, gauge))
    async with journal.running(store) as supervisor:

        def state() -> ProcessState:
            return supervisor.states[0]

        assert (state().health, state().detail) == (Health.HEALTHY, "")
        free[0] = 99
        await until(lambda: state().health is Health.FULL)
        assert f"0 MiB are free in {tmp_path}; new jobs and uploads are refused" in state().detail
        free[0] = 200
        await until(lambda: state().health is Health.HEALTHY)
        assert state().detail == ""
    (full,), (again,) = journal.of_kind(EventKind.FULL), journal.of_kind(EventKind.HEALTHY_AGAIN)
    assert full.detail
    assert not again.detail
    assert journal.of_kind(EventKind.DIED) == []


async def test_stack_starts_on_a_full_disk(journal: Journal, tmp_path: Path) -> None:
    gauge = FolderGauge(tmp_path, WaterMarks(low_bytes=1 << 62, high_bytes=1 << 62))
    born = journal.process("store")
    store = journal.process("store", probe=with_room(born.probe, gauge))
    async with journal.running(store) as supervisor:
        assert {state.health for state in supervisor.states} == {Health.FULL}
