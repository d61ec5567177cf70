"""`pingvas down`, `status` and `logs`: the local stack that runs, or ran."""

import json
import os
import signal
import time
from pathlib import Path

import click

from studio.cli.context import Shared, json_option, local_options, pass_shared
from studio.cli.failures import CommandError, ExitCode
from studio.stack import log_tail, state
from studio.stack.layout import Layout

_STOP_SECONDS = 90.0


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
    full = [process for process in running.processes if process.health is state.Health.FULL]
    if full:
        click.echo("\nNo room is left. What was accepted goes on when there is some:")
        for process in full:
            click.echo(f"  {process.name}: {process.detail}")


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
            # A log that is shorter than before was rotated.
            start = position if position <= grown_to else 0
            if grown_to > start:
                with log.open("rb") as stream:
                    stream.seek(start)
                    text = stream.read(grown_to - start).decode(errors="replace")
                click.echo(_with_name(log, text.rstrip("\n"), show_name=show_name))
            positions[log] = grown_to
        time.sleep(0.2)


def _with_name(log: Path, text: str, *, show_name: bool) -> str:
    if not show_name:
        return text
    return "\n".join(f"{log.stem:<16} | {line}" for line in text.splitlines())
