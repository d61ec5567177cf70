"""`pingvas up`, `down`, `status` and `logs`: the local stack."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from studio.cli.context import Shared, json_option, local_options, pass_shared
from studio.cli.failures import CommandError, ExitCode
from studio.stack import log_tail, state
from studio.stack.events import Event, EventKind
from studio.stack.layout import DEFAULT_PORT_BASE, MAX_WORKERS, Layout, Ports
from studio.stack.local import LocalStack, StackOptions
from studio.stack.state import StackState

_DETACHED_START_SECONDS = 600.0
_STOP_SECONDS = 90.0
_SUPERVISOR_LOG = "supervisor"


@click.command()
@local_options
@click.option("--port-base", type=click.IntRange(1024, 65000), default=DEFAULT_PORT_BASE, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(0, MAX_WORKERS),
    default=1,
    show_default=True,
    help="How many GPU workers to start.",
)
@click.option("--detach", is_flag=True, help="Return once the stack is up, and leave it running.")
@pass_shared
def up(shared: Shared, port_base: int, workers: int, detach: bool) -> None:
    """Start the whole platform on this machine.

    DATABASE_URL, REDIS_URL and S3_ENDPOINT_URL (with S3_ACCESS_KEY and S3_SECRET_KEY) make it use a server that runs
    already instead of starting its own.
    """
    layout = Layout(shared.data_dir, Ports(port_base))
    if detach:
        _start_detached(layout, workers)
    else:
        asyncio.run(_run_until_stopped(layout, StackOptions(worker_count=workers)))


@click.command()
@local_options
@pass_shared
def down(shared: Shared) -> None:
    """Stop the local stack."""
    layout = Layout(shared.data_dir)
    running = state.read_state(layout)
    if running is None:
        click.echo(f"No stack runs with the data directory {shared.data_dir}.")
        return
    os.kill(running.supervisor_pid, signal.SIGTERM)
    if not state.wait_until_stopped(layout, within_seconds=_STOP_SECONDS):
        raise CommandError(
            f"the stack did not stop within {_STOP_SECONDS:g} s",
            advice=f"See `pingvas logs`, or end its supervisor with `kill -9 {running.supervisor_pid}`.",
        )
    click.echo("Stopped.")


@click.command()
@local_options
@json_option
@pass_shared
def status(shared: Shared, as_json: bool) -> None:
    """Show the processes of the local stack."""
    running = shared.require_running()
    if as_json:
        click.echo(json.dumps(running.to_json(), indent=2))
        return
    click.echo(f"{running.http}   data in {running.data_dir}\n")
    click.echo(f"{'NAME':<16}{'PID':>8}  {'ADDRESS':<18}{'HEALTH':<12}LOG")
    for process in running.processes:
        pid = process.pid or "-"
        click.echo(f"{process.name:<16}{pid:>8}  {process.address:<18}{process.health:<12}{process.log}")


@click.command()
@local_options
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(1, 10000), default=log_tail.TAIL_LINES, show_default=True)
@pass_shared
def logs(shared: Shared, name: str | None, follow: bool, lines: int) -> None:
    """Show the end of the log of a process, or of all of them."""
    chosen = _logs_of(Layout(shared.data_dir), name)
    for log in chosen:
        click.echo(_with_name(log, log_tail.tail(log, lines=lines), show_name=name is None))
    if follow:
        _follow(chosen, show_name=name is None)


async def _run_until_stopped(layout: Layout, options: StackOptions) -> None:
    started_at = time.monotonic()
    stopped = asyncio.Event()
    running = asyncio.current_task()
    loop = asyncio.get_running_loop()
    stack = LocalStack(layout, environment=os.environ, options=options, listen=_tell)

    def stop() -> None:
        # During the start there is nobody to wait for the event: the start itself is called off, which stops what runs.
        if stopped.is_set() or running is None or stack.is_ready:
            stopped.set()
        else:
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with stack:
            _welcome(stack.state, time.monotonic() - started_at)
            await stopped.wait()
            click.echo("Stopping.")
    except asyncio.CancelledError:
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


def _tell(event: Event) -> None:
    match event.kind:
        case EventKind.READY:
            click.echo(f"  {event.name:<16} ready in {event.seconds:.1f} s")
        case EventKind.DIED:
            click.echo(f"  {event.name:<16} {event.detail} after {event.seconds:.1f} s; the end of its log:", err=True)
            for line in event.log_tail.splitlines():
                click.echo(f"    | {line}", err=True)
        case EventKind.UNHEALTHY | EventKind.HEALTHY_AGAIN | EventKind.KILLED:
            click.echo(f"  {event.name:<16} {event.kind}", err=True)
        case _:
            pass


def _welcome(running: StackState, seconds: float) -> None:
    click.echo(f"\nPingvas Studio is up after {seconds:.1f} s: {running.http} (HTTP, JSON, gRPC-web and gRPC)")
    click.echo(f"  data in {running.data_dir}")
    click.echo('  next: pingvas register you@example.com, then pingvas generate "a lighthouse at dawn"')
    click.echo("  stop: Ctrl-C, or pingvas down")


def _start_detached(layout: Layout, workers: int) -> None:
    layout.create()
    if state.is_running(layout):
        # Says so in the words of the lock.
        with state.StackLock(layout):
            pass
    log = layout.log(_SUPERVISOR_LOG)
    log_start = log_tail.size(log)
    arguments = [
        "up",
        "--data-dir",
        str(layout.data_dir),
        "--port-base",
        str(layout.ports.base),
        "--workers",
        str(workers),
    ]
    output = log_tail.open_for_append(log)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "studio.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)
    _wait_until_ready(layout, child, log, log_start)


def _wait_until_ready(layout: Layout, child: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
    deadline = time.monotonic() + _DETACHED_START_SECONDS
    while time.monotonic() < deadline:
        running = state.read_state(layout)
        if running and running.ready and running.supervisor_pid == child.pid:
            click.echo(
                f"Pingvas Studio is up: {running.http} (data in {running.data_dir}); stop it with `pingvas down`."
            )
            return
        if child.poll() is not None:
            # It has said what happened and what to do in its own words.
            click.echo(log_tail.tail(log, since_byte=log_start, lines=40), err=True)
            raise click.exceptions.Exit(ExitCode.REFUSED)
        time.sleep(0.05)
    child.terminate()
    raise CommandError(f"the stack was not up within {_DETACHED_START_SECONDS:g} s", advice=f"See {log}.")


def _logs_of(layout: Layout, name: str | None) -> list[Path]:
    known = sorted(layout.logs.glob("*.log"))
    if name is None and known:
        return known
    chosen = [log for log in known if log.stem == name]
    if not chosen:
        names = ", ".join(log.stem for log in known) or "none yet; start the stack with `pingvas up`"
        raise CommandError(
            f"there is no log of {name or 'any process'} in {layout.logs}",
            advice=f"Known names: {names}.",
            exit_code=ExitCode.USAGE,
        )
    return chosen


def _follow(chosen: list[Path], *, show_name: bool) -> None:
    positions = {log: log_tail.size(log) for log in chosen}
    while True:
        for log, position in positions.items():
            grown_to = log_tail.size(log)
            if grown_to > position:
                with log.open("rb") as stream:
                    stream.seek(position)
                    text = stream.read(grown_to - position).decode(errors="replace")
                click.echo(_with_name(log, text.rstrip("\n"), show_name=show_name))
            positions[log] = grown_to
        time.sleep(0.2)


def _with_name(log: Path, text: str, *, show_name: bool) -> str:
    if not show_name:
        return text
    return "\n".join(f"{log.stem:<16} | {line}" for line in text.splitlines())
