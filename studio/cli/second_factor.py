"""`pingvas account second-factor`: signing in with a code of an authenticator app as well."""

from collections.abc import Iterable
from datetime import UTC

import click
from pingvas.user.v1.second_factor_service_pb2 import (
    BeginSecondFactorRequest,
    ConfirmSecondFactorRequest,
    DisableSecondFactorRequest,
    GetSecondFactorRequest,
    ReplaceRecoveryCodesRequest,
)
from pingvas.user.v1.second_factor_service_pb2_grpc import SecondFactorServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, pass_shared, shared_options

_code_option = click.option("--code", envvar="PINGVAS_CODE", help="A code. Default: $PINGVAS_CODE, or asked for.")


@click.group("second-factor")
def second_factor() -> None:
    """Protect the account with an authenticator app."""


@second_factor.command()
@shared_options
@pass_shared
def status(shared: Shared) -> None:
    """Show whether it is on."""
    with connect(shared) as client:
        found = client.call(SecondFactorServiceStub(client.channel).GetSecondFactor, GetSecondFactorRequest())
    if found.is_on:
        since = found.confirm_time.ToDatetime(UTC).astimezone()
        click.echo(f"On since {since:%Y-%m-%d %H:%M}. Recovery codes left: {found.recovery_code_count}.")
    elif found.is_required:
        click.echo("Off. Your role counts only when it is on: run `pingvas account second-factor on`.")
    else:
        click.echo("Off.")


@second_factor.command()
@shared_options
@_code_option
@pass_shared
def on(shared: Shared, code: str | None) -> None:
    """Set it up, and end all other sessions."""
    with connect(shared) as client:
        setup = client.call(SecondFactorServiceStub(client.channel).BeginSecondFactor, BeginSecondFactorRequest())
        click.echo(
            f"Enter this secret into your authenticator app, or open the address on its device:\n  {setup.secret}",
            err=True,
        )
        click.echo(f"  {setup.otpauth_url}", err=True)
        request = ConfirmSecondFactorRequest(code=code or click.prompt("Code that the app shows", err=True))
        codes = client.call(SecondFactorServiceStub(client.channel).ConfirmSecondFactor, request).codes
    click.echo("It is on. Keep these recovery codes in a safe place; each works once:", err=True)
    _show(codes)


@second_factor.command()
@shared_options
@_code_option
@pass_shared
def off(shared: Shared, code: str | None) -> None:
    """Turn it off."""
    request = DisableSecondFactorRequest(code=code or _ask())
    with connect(shared) as client:
        client.call(SecondFactorServiceStub(client.channel).DisableSecondFactor, request)
    click.echo("It is off.")


@second_factor.command("recovery-codes")
@shared_options
@_code_option
@pass_shared
def recovery_codes(shared: Shared, code: str | None) -> None:
    """Replace the recovery codes."""
    request = ReplaceRecoveryCodesRequest(code=code or _ask())
    with connect(shared) as client:
        codes = client.call(SecondFactorServiceStub(client.channel).ReplaceRecoveryCodes, request).codes
    click.echo("The former ones don't work any more. Keep these in a safe place; each works once:", err=True)
    _show(codes)


def _show(codes: Iterable[str]) -> None:
    for code in codes:
        click.echo(code)


def _ask() -> str:
    return str(click.prompt("Code of your authenticator app, or a recovery code", err=True))
