"""`pingvas register`, `login` and `logout`: who this person is at a deployment."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from pingvas.user.v1.auth_service_pb2 import RegisterRequest
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from studio.cli.client import Client
from studio.cli.context import Shared, config_dir, json_option, pass_shared, shared_options
from studio.cli.credentials import Credentials
from studio.cli.failures import CommandError, ExitCode

Command = TypeVar("Command", bound=Callable[..., Any])


def _who(command: Command) -> Command:
    """Adds the options for the e-mail address and the password."""
    options = (
        click.argument("email_argument", metavar="[EMAIL]", required=False),
        click.option("--email", help="The e-mail address, if it is not given as an argument."),
        click.option("--password", envvar="PINGVAS_PASSWORD", help="Default: $PINGVAS_PASSWORD, or asked for."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@shared_options
@_who
@click.option("--name", "display_name", default="", help="The name that others see.")
@json_option
@pass_shared
def register(
    shared: Shared,
    *,
    email_argument: str | None,
    email: str | None,
    password: str | None,
    display_name: str,
    as_json: bool,
) -> None:
    """Register a new user, and log in."""
    address = _address(email_argument, email)
    secret = password or click.prompt(
        "Password (10 characters or more)", hide_input=True, confirmation_prompt=True, err=True
    )
    with connect(shared) as client:
        request = RegisterRequest(email=address, password=secret, display_name=display_name)
        user = client.call_anonymously(AuthServiceStub(client.channel).Register, request)
        client.login(address, secret)
    if as_json:
        click.echo(json.dumps(MessageToDict(user, preserving_proto_field_name=True), indent=2))
    else:
        click.echo(f"Registered {user.email} and logged in at {client.endpoint}.")


@click.command()
@shared_options
@_who
@pass_shared
def login(shared: Shared, email_argument: str | None, email: str | None, password: str | None) -> None:
    """Log in."""
    address = _address(email_argument, email)
    secret = password or click.prompt("Password", hide_input=True, err=True)
    with connect(shared) as client:
        client.login(address, secret)
    click.echo(f"Logged in as {address} at {client.endpoint}.")


@click.command()
@shared_options
@pass_shared
def logout(shared: Shared) -> None:
    """End the session on this machine."""
    with connect(shared) as client:
        client.logout()
    click.echo(f"Logged out at {client.endpoint}.")


def connect(shared: Shared) -> Client:
    """Returns a client of the deployment that the command means, with this person's session."""
    return Client(shared.require_endpoint(), Credentials(config_dir()))


def _address(argument: str | None, option: str | None) -> str:
    address = argument or option
    if not address:
        raise CommandError(
            "no e-mail address was given", advice="Write it after the command.", exit_code=ExitCode.USAGE
        )
    return address
