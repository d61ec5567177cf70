"""The entry of the `pingvas` command: finds the command that was asked for, and turns every failure into a message.

Each command's module is imported when it is called, so that `pingvas status` does not wait for what `pingvas generate`
needs.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Callable

import click

from studio.cli.context import Shared, default_shared, shared_options
from studio.cli.failures import CommandError, ExitCode
from studio.stack.failures import StackError

_COMMANDS = {
    "up": "studio.cli.up",
    "down": "studio.cli.stack",
    "status": "studio.cli.stack",
    "logs": "studio.cli.stack",
    "register": "studio.cli.account",
    "login": "studio.cli.account",
    "logout": "studio.cli.account",
    "account": "studio.cli.account",
    "profile": "studio.cli.profile",
    "usage": "studio.cli.profile",
    "keys": "studio.cli.keys",
    "webhooks": "studio.cli.webhooks",
    "mail": "studio.cli.mail",
    "generate": "studio.cli.generate",
    "upscale": "studio.cli.generate",
    "jobs": "studio.cli.jobs",
    "images": "studio.cli.images",
    "boards": "studio.cli.boards",
    "templates": "studio.cli.templates",
    "loras": "studio.cli.loras",
    "models": "studio.cli.models",
    "credits": "studio.cli.credits",
    "statement": "studio.cli.credits",
    "plans": "studio.cli.billing",
    "subscribe": "studio.cli.billing",
    "buy": "studio.cli.billing",
    "subscription": "studio.cli.billing",
    "invoices": "studio.cli.billing",
    "admin": "studio.cli.admin",
}
_REPORT_ADVICE = "This is a defect of pingvas. Run the command again with --debug and report what it shows."


class _LazyGroup(click.Group):
    """A group whose commands stand in the table above, in its order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of a command and returns the command; None for an unknown name."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.version_option(package_name="pingvas-studio", prog_name="pingvas")
def cli() -> None:
    """Run Pingvas Studio on this machine, and make pictures with any deployment of it."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 refused, 2 wrong usage, 3 unreachable, 130 interrupted."""
    shared = default_shared()
    sys.exit(guarded(lambda: cli.main(args=arguments, prog_name="pingvas", standalone_mode=False, obj=shared), shared))


def guarded(action: Callable[[], object], shared: Shared) -> int:
    """Does something and returns its exit code; failures become messages, and no exception leaves it."""
    try:
        result = action()
    except Exception as error:  # noqa: BLE001 - the last place where a failure can become a message
        return int(_report(error, debug=shared.debug))
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return result if isinstance(result, int) else 0


def _report(error: Exception, *, debug: bool) -> int:
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort():
            return ExitCode.INTERRUPTED
        case click.ClickException():
            error.show()
            return ExitCode.USAGE
        case BrokenPipeError():
            # The reader of our output left, as `head` does. Nothing more is to be said, not even at the interpreter's
            # end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.REFUSED
    if debug:
        traceback.print_exception(error)
    return _explain(error)


def _explain(error: Exception) -> ExitCode:
    match error:
        case CommandError():
            return _say(error.happened, error.advice, error.details, error.exit_code)
        case StackError():
            return _say(error.happened, error.advice, error.log_tail, ExitCode.REFUSED)
        case _:
            return _say(f"{type(error).__name__}: {error}", _REPORT_ADVICE, "", ExitCode.REFUSED)


def _say(happened: str, advice: str, details: str, code: ExitCode) -> ExitCode:
    click.echo(f"pingvas: {happened}", err=True)
    click.echo(f"  {advice}", err=True)
    for line in details.splitlines():
        click.echo(f"  | {line}", err=True)
    return code


if __name__ == "__main__":
    main()
