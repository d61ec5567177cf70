"""`pingvas register`, `login`, `logout` and `account`: who this person is at a deployment."""

import json
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from pingvas.user.v1.account_export_service_pb2 import AccountExportState, ExportMeRequest, GetMyExportRequest
from pingvas.user.v1.account_export_service_pb2_grpc import AccountExportServiceStub
from pingvas.user.v1.auth_service_pb2 import (
    ChangePasswordRequest,
    ForgotPasswordRequest,
    RegisterRequest,
    ResendVerificationRequest,
    ResetPasswordRequest,
    VerifyEmailRequest,
)
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from pingvas.user.v1.deletion_service_pb2 import CancelDeletionRequest, DeleteMeRequest
from pingvas.user.v1.deletion_service_pb2_grpc import DeletionServiceStub
from pingvas.user.v1.email_service_pb2 import (
    ChangeEmailRequest,
    ConfirmEmailChangeRequest,
    UndoEmailChangeRequest,
)
from pingvas.user.v1.email_service_pb2_grpc import EmailServiceStub
from pingvas.user.v1.user_service_pb2 import (
    GetMeRequest,
    ListSessionsRequest,
    RevokeSessionRequest,
    RevokeSessionsRequest,
)
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.downloads import download
from studio.cli.failures import CommandError, ExitCode
from studio.cli.provider_login import PROVIDERS, login_at_provider
from studio.cli.second_factor import second_factor

Command = TypeVar("Command", bound=Callable[..., Any])

_LOOK_SECONDS: Final = 2.0
_TOKEN_IN_LINK = "#token="  # noqa: S105 - where a token stands


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
    secret = password or _ask_for_new_password()
    with connect(shared) as client:
        request = RegisterRequest(email=address, password=secret, display_name=display_name)
        user = client.call_anonymously(AuthServiceStub(client.channel).Register, request)
        try:
            client.login(address, secret)
        except CommandError as error:
            raise CommandError(
                f"you registered {user.email}, but are not logged in yet: {error.happened}",
                advice=f"Read the mail to {user.email}, open the link in it, then log in with `pingvas login EMAIL`.",
                exit_code=error.exit_code,
            ) from error
    if as_json:
        click.echo(json.dumps(MessageToDict(user, preserving_proto_field_name=True), indent=2))
    else:
        click.echo(f"Registered {user.email} and logged in at {client.endpoint}.")


@click.command()
@shared_options
@_who
@click.option("--with", "provider", type=click.Choice(PROVIDERS), help="Log in at a provider, in a browser.")
@pass_shared
def login(
    shared: Shared, *, email_argument: str | None, email: str | None, password: str | None, provider: str | None
) -> None:
    """Log in."""
    if provider:
        if email_argument or email:
            raise click.UsageError("--with takes no e-mail address: the provider says who you are.")
        with connect(shared) as client:
            session = login_at_provider(client, provider)
        click.echo(f"Logged in as {session.email} at {client.endpoint}.")
        return
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


@click.group()
def account() -> None:
    """Confirm or change the e-mail address, change the password, and see who is logged in."""


@account.command()
@shared_options
@click.argument("link", metavar="LINK")
@pass_shared
def verify(shared: Shared, link: str) -> None:
    """Confirm the e-mail address with the link that was mailed, or its token."""
    with connect(shared) as client:
        request = VerifyEmailRequest(token=_token(link))
        email = client.call_anonymously(AuthServiceStub(client.channel).VerifyEmail, request).email
    click.echo(f"{email} is confirmed.")


@account.command()
@shared_options
@click.argument("email")
@pass_shared
def resend(shared: Shared, email: str) -> None:
    """Ask for another link that confirms an e-mail address."""
    with connect(shared) as client:
        request = ResendVerificationRequest(email=email)
        client.call_anonymously(AuthServiceStub(client.channel).ResendVerification, request)
    click.echo(f"If {email} is registered and not confirmed yet, a mail is on its way.")


@account.command()
@shared_options
@click.argument("email")
@pass_shared
def forgot(shared: Shared, email: str) -> None:
    """Ask for a link that sets a new password."""
    with connect(shared) as client:
        client.call_anonymously(AuthServiceStub(client.channel).ForgotPassword, ForgotPasswordRequest(email=email))
    click.echo(f"If {email} is registered, a mail is on its way.")


@account.command()
@shared_options
@click.argument("link", metavar="LINK")
@click.option("--password", envvar="PINGVAS_NEW_PASSWORD", help="Default: $PINGVAS_NEW_PASSWORD, or asked for.")
@pass_shared
def reset(shared: Shared, link: str, password: str | None) -> None:
    """Set a new password with the link that was mailed, log in, and end all other sessions."""
    secret = password or _ask_for_new_password()
    with connect(shared) as client:
        request = ResetPasswordRequest(token=_token(link), new_password=secret)
        email = client.call_anonymously(AuthServiceStub(client.channel).ResetPassword, request).email
        client.login(email, secret)
    click.echo(f"The password of {email} is changed, and you are logged in at {client.endpoint}.")


@account.command("change-password")
@shared_options
@click.option(
    "--password", envvar="PINGVAS_PASSWORD", help="The present one. Default: $PINGVAS_PASSWORD, or asked for."
)
@click.option("--new-password", envvar="PINGVAS_NEW_PASSWORD", help="Default: $PINGVAS_NEW_PASSWORD, or asked for.")
@pass_shared
def change_password(shared: Shared, password: str | None, new_password: str | None) -> None:
    """Replace the password, and end all other sessions."""
    current = password or click.prompt("Present password", hide_input=True, err=True)
    secret = new_password or _ask_for_new_password()
    with connect(shared) as client:
        request = ChangePasswordRequest(current_password=current, new_password=secret)
        client.call(AuthServiceStub(client.channel).ChangePassword, request)
    click.echo("The password is changed. All other sessions have ended.")


@account.command("change-email")
@shared_options
@click.argument("new_email")
@click.option("--password", envvar="PINGVAS_PASSWORD", help="Default: $PINGVAS_PASSWORD, or asked for.")
@click.option("--code", default="", help="A code of your authenticator app, if you have a second factor.")
@pass_shared
def change_email(shared: Shared, *, new_email: str, password: str | None, code: str) -> None:
    """Ask for a link that makes a new e-mail address yours."""
    secret = password or click.prompt("Password (empty if you have just logged in)", "", hide_input=True, err=True)
    with connect(shared) as client:
        request = ChangeEmailRequest(new_email=new_email, current_password=secret, code=code)
        client.call(EmailServiceStub(client.channel).ChangeEmail, request)
    click.echo(f"A mail is on its way to {new_email}. Confirm it with `pingvas account confirm-email LINK`.")


@account.command("confirm-email")
@shared_options
@click.argument("link", metavar="LINK")
@pass_shared
def confirm_email(shared: Shared, link: str) -> None:
    """Make the new address yours with the link that was mailed to it, and end all other sessions."""
    with connect(shared) as client:
        request = ConfirmEmailChangeRequest(token=_token(link))
        email = client.call(EmailServiceStub(client.channel).ConfirmEmailChange, request).email
    click.echo(f"Your address is {email}. All other sessions have ended.")


@account.command("undo-email")
@shared_options
@click.argument("link", metavar="LINK")
@pass_shared
def undo_email(shared: Shared, link: str) -> None:
    """Take your old address back with the link that was mailed to it, and end every other way into the account."""
    with connect(shared) as client:
        request = UndoEmailChangeRequest(token=_token(link))
        email = client.call_anonymously(EmailServiceStub(client.channel).UndoEmailChange, request).email
    click.echo(f"Your address is {email} again. A mail to set a new password is on its way.")


@account.command()
@shared_options
@click.option("--password", envvar="PINGVAS_PASSWORD", help="Default: $PINGVAS_PASSWORD, or asked for.")
@click.option("--yes", is_flag=True, help="Don't ask whether you are sure.")
@pass_shared
def delete(shared: Shared, *, password: str | None, yes: bool) -> None:
    """Close the account. It is erased with all that is in it 30 days later."""
    if not yes:
        click.confirm("Close the account, to be erased with all pictures and jobs?", abort=True, err=True)
    secret = password or click.prompt("Password (empty if you have just logged in)", "", hide_input=True, err=True)
    with connect(shared) as client:
        if secret:
            email = client.call(UserServiceStub(client.channel).GetMe, GetMeRequest()).email
            client.login(email, secret)
        closed = client.call(DeletionServiceStub(client.channel).DeleteMe, DeleteMeRequest())
    when = closed.erase_time.ToDatetime(UTC).astimezone()
    click.echo(
        f"The account is closed. It is erased on {when:%Y-%m-%d}; until then log in and use `pingvas account keep`."
    )


@account.command("export")
@shared_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--password", envvar="PINGVAS_PASSWORD", help="Default: $PINGVAS_PASSWORD, or asked for.")
@pass_shared
def export_account(shared: Shared, file: Path, *, password: str | None) -> None:
    """Download everything that the platform has of you as the zip FILE. Its address is mailed as well."""
    secret = password or click.prompt("Password (empty if you have just logged in)", "", hide_input=True, err=True)
    with connect(shared) as client:
        if secret:
            email = client.call(UserServiceStub(client.channel).GetMe, GetMeRequest()).email
            client.login(email, secret)
        stub = AccountExportServiceStub(client.channel)
        export = client.call(stub.ExportMe, ExportMeRequest())
        while export.state == AccountExportState.ACCOUNT_EXPORT_STATE_PENDING:
            click.echo(f"Pictures so far: {export.image_count}", err=True)
            time.sleep(_LOOK_SECONDS)
            export = client.call(stub.GetMyExport, GetMyExportRequest())
        if not export.download_url:
            raise CommandError("the copy could not be made", advice="Run the command again later.")
        download(export.download_url, file)
    click.echo(f"Saved {file}: {export.image_count} pictures, {export.left_out_count} without their files")


@account.command()
@shared_options
@pass_shared
def keep(shared: Shared) -> None:
    """Open a closed account again."""
    with connect(shared) as client:
        client.call(DeletionServiceStub(client.channel).CancelDeletion, CancelDeletionRequest())
        client.renew_soon()
    click.echo("The account stays.")


@account.command()
@shared_options
@json_option
@pass_shared
def sessions(shared: Shared, *, as_json: bool) -> None:
    """List the sessions that go on, and from where they are used."""
    with connect(shared) as client:
        listed = client.call(UserServiceStub(client.channel).ListSessions, ListSessionsRequest(page_size=200)).sessions
    if as_json:
        documents = [MessageToDict(each, preserving_proto_field_name=True) for each in listed]
        click.echo(json.dumps(documents, indent=2))
        return
    for each in listed:
        seen = each.last_seen_time.ToDatetime(UTC).astimezone()
        mark = "  (this one)" if each.is_current else ""
        click.echo(f"{each.session_id}  {seen:%Y-%m-%d %H:%M}  {each.network or '-'}  {each.device}{mark}")


@account.command("end-session")
@shared_options
@click.argument("session_id", required=False)
@click.option("--others", is_flag=True, help="End all sessions but this one.")
@pass_shared
def end_session(shared: Shared, *, session_id: str | None, others: bool) -> None:
    """End a session by its id, or all but this one."""
    if others == bool(session_id):
        raise CommandError(
            "it isn't said which sessions to end", advice="Name one, or give --others.", exit_code=ExitCode.USAGE
        )
    with connect(shared) as client:
        stub = UserServiceStub(client.channel)
        if session_id:
            client.call(stub.RevokeSession, RevokeSessionRequest(session_id=session_id))
            click.echo("The session has ended.")
        else:
            count = client.call(stub.RevokeSessions, RevokeSessionsRequest(keep_current=True)).revoked_count
            click.echo(f"Sessions ended: {count}.")


account.add_command(second_factor)


def _address(argument: str | None, option: str | None) -> str:
    address = argument or option
    if not address:
        raise CommandError(
            "no e-mail address was given", advice="Write it after the command.", exit_code=ExitCode.USAGE
        )
    return address


def _ask_for_new_password() -> str:
    return str(
        click.prompt("New password (10 characters or more)", hide_input=True, confirmation_prompt=True, err=True)
    )


def _token(link: str) -> str:
    """Returns the token of a link, or what is a token already."""
    return link.strip().rpartition(_TOKEN_IN_LINK)[2]
