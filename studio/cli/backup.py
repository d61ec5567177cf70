"""`pingvas admin backup|backups|restore`: all that a deployment holds, kept encrypted, and brought back.

They talk to the database and the object store themselves: the local stack's, or those that DATABASE_URL and
S3_ENDPOINT_URL name, as `pingvas up` has it.
"""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import click

from studio.backup import restoring, sealing, snapshots, taking
from studio.backup.repository import Repository
from studio.cli.context import Shared, local_options, pass_shared
from studio.cli.failures import CommandError
from studio.stack.keys import ensure_secrets
from studio.stack.layout import Layout, Ports
from studio.stack.local import servers
from studio.stack.ports import find_free_base

_PLACE = click.argument("place", metavar="DIR|s3://BUCKET/PREFIX")
_passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with the passphrase of the backups; without it you are asked.",
)
_SHORTEST_PASSPHRASE = 12
_MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"])


@click.command()
@local_options
@_PLACE
@_passphrase_option
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="age1...",
    help="A public key of age that may read the backups; the first backup of a place decides. Several are possible.",
)
@pass_shared
def backup(shared: Shared, place: str, passphrase_file: Path | None, recipients: tuple[str, ...]) -> None:
    """Back up database, objects and keys while everything runs.

    The first backup of a place asks for a passphrase, or takes public keys; the later ones need neither, and copy only
    objects that are new.
    """
    _require_a_stack(shared)
    repository = Repository.at(place)
    sealer = repository.sealer()
    if sealer is None:
        secret = _passphrase(passphrase_file, is_new=True) if passphrase_file or not recipients else None
        sealer = repository.create(list(recipients), secret)
    layout = shared.layout
    _, connections = servers(layout, ensure_secrets(layout.keys), os.environ)
    done = taking.take(repository, sealer, layout, connections, click.echo)
    click.echo(f"Backed up to {place} in {done.seconds:.1f} s, as of {done.time:%Y-%m-%d %H:%M:%S}Z.")


@click.command()
@_PLACE
def backups(place: str) -> None:
    """List the backups that a place holds."""
    found = snapshots.complete_snapshots(Repository.at(place))
    if not found:
        click.echo(f"{place} holds no complete backup.")
        return
    click.echo(f"{'as of':<20} {'database':>12} {'objects':>10} {'bytes':>12} {'took':>9}")
    for each in found:
        sizes = f"{each.database_bytes / 1e6:>9,.1f} MB {each.object_count:>10,} {each.object_bytes / 1e6:>9,.1f} MB"
        click.echo(f"{each.time:%Y-%m-%dT%H:%M:%SZ} {sizes} {each.seconds:>7.1f} s")


@click.command()
@local_options
@_PLACE
@_passphrase_option
@click.option(
    "--identity",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with a private key of age, for backups that were made for its public key.",
)
@click.option("--at", "moment", type=_MOMENT, help="Restore the last backup of before that time, not the last of all.")
@pass_shared
def restore(
    shared: Shared, place: str, passphrase_file: Path | None, identity: Path | None, moment: datetime | None
) -> None:
    """Restore a backup into an empty data folder, which `pingvas up` then starts."""
    repository = Repository.at(place)
    snapshot = snapshots.chosen(repository, moment and moment.replace(tzinfo=UTC))
    if identity:
        opener = sealing.Opener(sealing.read_identity(identity.read_text(encoding="utf-8")))
    else:
        opener = repository.opener(_passphrase(passphrase_file))
    # Its servers run for a moment only, so they keep out of the way of a stack that runs beside.
    layout = Layout(shared.data_dir, Ports(find_free_base(Ports().base + 1000, step=1000)))
    done = asyncio.run(restoring.restore(repository, snapshot, opener, layout, os.environ, click.echo))
    click.echo(
        f"Restored the backup of {snapshot.time:%Y-%m-%d %H:%M:%S}Z into {shared.data_dir} in {done.seconds:.1f} s."
    )
    if done.models:
        click.echo(f"  its models, which backups don't hold: {', '.join(done.models)}")
    click.echo("  next: pingvas up, then pingvas admin audit-ledger")


def _require_a_stack(shared: Shared) -> None:
    if not os.environ.get("DATABASE_URL"):
        shared.require_running()


def _passphrase(file: Path | None, *, is_new: bool = False) -> str:
    if file:
        secret = file.read_text(encoding="utf-8").strip()
    else:
        secret = click.prompt("Passphrase of the backups", hide_input=True, confirmation_prompt=is_new)
    if is_new and len(secret) < _SHORTEST_PASSPHRASE:
        raise CommandError(
            "the passphrase is too short",
            advice=f"Take at least {_SHORTEST_PASSPHRASE} characters; several words are good.",
        )
    return str(secret)
