"""`pingvas mail`: the mails that a local stack would have sent."""

import json

import click

from studio.cli.context import Shared, json_option, local_options, pass_shared
from studio.cli.failures import CommandError
from studio.stack.mailbox import Mailbox, StoredMail

_argument = click.argument("name", metavar="[MAIL]", required=False)


@click.group()
def mail() -> None:
    """Read the mails of the local stack, which keeps them instead of sending them."""


@mail.command("list")
@local_options
@click.option("--to", default="", metavar="EMAIL", help="Only mails to this address.")
@json_option
@pass_shared
def list_(shared: Shared, *, to: str, as_json: bool) -> None:
    """List mails, the newest first."""
    mails = _mailbox(shared).mails(to)
    if as_json:
        click.echo(json.dumps([_document(each) for each in mails], indent=2, ensure_ascii=False))
        return
    if not mails:
        click.echo("There is no mail.")
    for each in mails:
        click.echo(f"{each.name}  {each.time.astimezone():%Y-%m-%d %H:%M:%S}  {each.to}  {each.subject}")


@mail.command()
@local_options
@_argument
@json_option
@pass_shared
def show(shared: Shared, *, name: str | None, as_json: bool) -> None:
    """Show a mail by its name or the beginning of it; without one, the newest."""
    found = _find(shared, name)
    if as_json:
        document = {**_document(found), "text": found.text, "link": found.link}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(f"To: {found.to}\nSubject: {found.subject}\n\n{found.text.rstrip()}")


@mail.command("open")
@local_options
@_argument
@pass_shared
def open_(shared: Shared, name: str | None) -> None:
    """Open the link of a mail in the browser; without a name, of the newest."""
    found = _find(shared, name)
    click.echo(found.link)
    click.launch(found.link)


def _mailbox(shared: Shared) -> Mailbox:
    return Mailbox(shared.layout.mail)


def _find(shared: Shared, name: str | None) -> StoredMail:
    mailbox = _mailbox(shared)
    found = mailbox.find(name) if name else next(iter(mailbox.mails()), None)
    if found is None:
        raise CommandError(
            f"there is no mail named {name}" if name else "there is no mail yet",
            advice="`pingvas mail list` shows what there is.",
        )
    return found


def _document(found: StoredMail) -> dict[str, str]:
    return {"name": found.name, "time": found.time.isoformat(), "to": found.to, "subject": found.subject}
