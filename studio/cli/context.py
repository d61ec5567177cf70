"""What every command shares: where the local stack lives, which deployment is meant, and the options that say so."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from studio.cli.failures import CommandError, ExitCode
from studio.stack.layout import Layout, Ports
from studio.stack.state import StackState, read_state

_DEFAULT_DATA_DIR = Path("~/.local/share/pingvas")
_DEFAULT_CONFIG_DIR = Path("~/.config/pingvas")

TRUST_VARIABLES: Final = ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
"""By which HTTP clients in Python, and gRPC, take other authorities than the usual ones."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Shared:
    """The values of the shared options, wherever on the command line they stood."""

    data_dir: Path
    endpoint: str | None = None
    debug: bool = False

    @property
    def layout(self) -> Layout:
        """The layout of the data directory, with the ports of the stack that runs there, if one does."""
        layout = Layout(self.data_dir)
        running = read_state(layout)
        return Layout(self.data_dir, Ports(running.port_base), tls=bool(running.ca_file)) if running else layout

    @property
    def running(self) -> StackState | None:
        """The stack that runs with the data directory."""
        return read_state(Layout(self.data_dir))

    def require_running(self) -> StackState:
        """Returns the stack that runs with the data directory; raises CommandError when none does."""
        running = self.running
        if running is None:
            raise CommandError(
                f"no stack runs with the data directory {self.data_dir}",
                advice="Start one with `pingvas up`, or name another directory with --data-dir.",
                exit_code=ExitCode.UNREACHABLE,
            )
        return running

    def require_endpoint(self) -> str:
        """Returns the deployment to call: --endpoint, else PINGVAS_ENDPOINT, else the local stack that runs."""
        if self.endpoint:
            return self.endpoint
        running = self.running
        if running is None:
            raise CommandError(
                "there is nothing to call: no endpoint was given, and no local stack runs",
                advice="Start one with `pingvas up`, or name a deployment with --endpoint or PINGVAS_ENDPOINT.",
                exit_code=ExitCode.UNREACHABLE,
            )
        return local_endpoint(running)


def local_endpoint(running: StackState) -> str:
    """Returns where to call a stack on this machine; one with TLS is believed by its own authority from then on."""
    if not running.ca_file:
        return running.grpc
    os.environ.update(dict.fromkeys(TRUST_VARIABLES, running.ca_file))
    return running.http


def config_dir() -> Path:
    """Returns the folder of what this person keeps between commands: PINGVAS_CONFIG_DIR, else ~/.config/pingvas."""
    return Path(os.environ.get("PINGVAS_CONFIG_DIR") or _DEFAULT_CONFIG_DIR).expanduser()


def default_shared() -> Shared:
    """Returns the values of the shared options when none of them is on the command line."""
    data_dir = Path(os.environ.get("PINGVAS_DATA_DIR") or _DEFAULT_DATA_DIR).expanduser().absolute()
    return Shared(data_dir=data_dir, endpoint=os.environ.get("PINGVAS_ENDPOINT") or None)


def shared_options(command: Command) -> Command:
    """Adds the shared options to a command, which stay out of its parameters: it takes them from its `Shared`."""
    for option in (_debug_option, _endpoint_option, _data_dir_option):
        command = option(command)
    return command


def local_options(command: Command) -> Command:
    """Adds those of the shared options that concern the local stack."""
    return _debug_option(_data_dir_option(command))


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    shared = context.find_object(Shared)
    if shared and value and parameter.name:
        setattr(shared, parameter.name, value.absolute() if isinstance(value, Path) else value)


_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    expose_value=False,
    callback=_remember,
    help="The folder of the local stack. Default: $PINGVAS_DATA_DIR or ~/.local/share/pingvas.",
)
_endpoint_option = click.option(
    "--endpoint",
    metavar="ADDRESS",
    expose_value=False,
    callback=_remember,
    help="The deployment to call. Default: $PINGVAS_ENDPOINT or the local stack that runs.",
)
_debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of a failure."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
pass_shared = click.make_pass_decorator(Shared)
