"""`pingvas admin rotate-keys`: other keys for users' access tokens, without a restart of anything."""

from datetime import UTC, datetime

import click

from edge_envoy.token_check import publish_keys
from studio.cli.context import Shared, pass_shared, shared_options
from studio.cli.failures import CommandError
from studio.stack.keys import ensure_secrets
from studio.stack.layout import Layout
from studio.stack.user_keys import FORMER_KEY_LIFE


@click.command("rotate-keys")
@shared_options
@click.option(
    "--compromised",
    is_flag=True,
    help="Give up every key at once: all access tokens end, and clients get new ones with their refresh tokens.",
)
@pass_shared
def rotate_keys(shared: Shared, *, compromised: bool) -> None:
    """Let the next key sign users' access tokens. Nobody is logged out, and nothing restarts."""
    if shared.endpoint is not None:
        raise CommandError(
            "keys are files, and those of another deployment aren't on this machine",
            advice="There `python -m studio.deployment FOLDER --rotate-keys` rotates them, where its secrets were made.",
        )
    layout = Layout(shared.data_dir)
    secrets = ensure_secrets(layout.keys)

    def announce() -> None:
        # Services look at the file of keys themselves. Without a stack there is no edge yet, and none to be told.
        if layout.edge_token_check.exists():
            publish_keys(layout.edge_token_check, secrets.user_jwks)

    rotate = secrets.user_keys.replace_compromised if compromised else secrets.user_keys.rotate
    kid = rotate(datetime.now(UTC), announce)
    click.echo(f"The key {kid} signs access tokens now.")
    if compromised:
        click.echo("All access tokens of the former keys have ended.")
    else:
        minutes = FORMER_KEY_LIFE.total_seconds() / 60
        click.echo(
            f"Tokens of the former key stay good until they expire; the key is retired in {minutes:.0f} minutes."
        )
