"""`pingvas up`: starts the local stack, in the foreground or detached, and tells what happens."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from studio.cli.context import TRUST_VARIABLES, Shared, local_options, pass_shared
from studio.cli.failures import CommandError, ExitCode
from studio.stack import log_tail, state
from studio.stack.administrator import ensure_administrator, password_file
from studio.stack.events import Event, EventKind
from studio.stack.layout import DEFAULT_PORT_BASE, HIGHEST_OFFSET, MAX_WORKERS, Layout, Ports
from studio.stack.local import LocalStack, StackOptions
from studio.stack.state import StackState

_DETACHED_START_SECONDS = 600.0
_SUPERVISOR_LOG = "supervisor"
# Below are the ports that only root may take; above there would not be enough.
_PORT_BASES = click.IntRange(1024, 65535 - HIGHEST_OFFSET)


@click.command()
@local_options
@click.option("--port-base", type=_PORT_BASES, default=DEFAULT_PORT_BASE, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(0, MAX_WORKERS),
    default=1,
    show_default=True,
    help="How many GPU workers to start.",
)
@click.option("--tls", is_flag=True, help="Serve https, with certificates of the stack's own authority.")
@click.option("--detach", is_flag=True, help="Return once the stack is up, and leave it running.")
@pass_shared
def up(shared: Shared, port_base: int, workers: int, tls: bool, detach: bool) -> None:
    """Start the whole platform on this machine.

    DATABASE_URL, REDIS_URL and S3_ENDPOINT_URL (with S3_ACCESS_KEY and S3_SECRET_KEY) make it use a server that runs
    already instead of starting its own.
    """
    layout = Layout(shared.data_dir, Ports(port_base), tls=tls)
    if detach:
        _start_detached(layout, workers)
    else:
        asyncio.run(_run_until_stopped(layout, StackOptions(worker_count=workers)))


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
        case EventKind.FULL:
            click.echo(f"  {event.name:<16} {event.kind}: {event.detail}", err=True)
        case EventKind.UNHEALTHY | EventKind.HEALTHY_AGAIN | EventKind.KILLED:
            click.echo(f"  {event.name:<16} {event.kind}", err=True)
        case _:
            pass


def _welcome(running: StackState, seconds: float) -> None:
    click.echo(f"\nPingvas Studio is up after {seconds:.1f} s: {running.http}")
    click.echo("  open it in a browser, or call it: JSON, gRPC-web and gRPC are served there too")
    click.echo(f"  data in {running.data_dir}")
    if running.ca_file:
        _tell_authority(running.ca_file)
    click.echo(f"  its administrator is {_administrator(running)}; `pingvas admin` acts as them")
    click.echo('  next: pingvas register you@example.com, then pingvas generate "the sea at sunset"')
    click.echo("  stop: Ctrl-C, or pingvas down")


def _tell_authority(ca_file: str) -> None:
    """Says how to trust the stack's own authority; the commands of `pingvas` do already."""
    click.echo(f"  its certificates are signed by {ca_file}, for no other name than localhost; to trust it:")
    click.echo("    browsers: import the file among the authorities (on macOS into the keychain)")
    click.echo(f"    programs: export {' '.join(f'{name}={ca_file}' for name in TRUST_VARIABLES)}")
    click.echo(f"    curl: --cacert {ca_file}   the SDKs: ca_file")


def _administrator(running: StackState) -> str:
    keys = Layout(Path(running.data_dir)).keys
    return f"{ensure_administrator(keys).email}, with the password in {password_file(keys)}"


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
        *(["--tls"] if layout.tls else []),
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
