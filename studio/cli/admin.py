"""`pingvas admin`: what administrators may do with any deployment, and the operator of a local stack with its models.

On the machine of a local stack they act as its own administrator; elsewhere as who is logged in.
"""

from decimal import Decimal, InvalidOperation

import click

from studio.cli.admin_accounts import audit, reinstate, reset_second_factor, set_role, suspend, users
from studio.cli.admin_enterprise import enterprise
from studio.cli.admin_keys import rotate_keys
from studio.cli.admin_queue import drain, job, pause, queue, requeue, resume, workers
from studio.cli.administrator import TIERS, Administrator
from studio.cli.backup import backup, backups, restore
from studio.cli.context import Shared, pass_shared, shared_options
from studio.cli.failures import ExitCode
from studio.cli.model_push import admin_models

_MILLICREDITS = 1000


class CreditsType(click.ParamType[int]):
    """An amount of credits on the command line, as integer millicredits."""

    name = "credits"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the amount in millicredits; fails for what is no positive number with three digits at most."""
        try:
            millicredits = Decimal(str(value)) * _MILLICREDITS
        except InvalidOperation:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not millicredits.is_finite() or millicredits <= 0 or millicredits != millicredits.to_integral_value():
            self.fail(f"{value!r} is not a positive number with three digits after the point at most", param, ctx)
        return int(millicredits)


@click.group()
def admin() -> None:
    """Administer a deployment: accounts, credits, models."""


for command in (
    *(users, set_role, suspend, reinstate, reset_second_factor, audit),
    *(queue, workers, drain, job, requeue, pause, resume),
    *(admin_models, rotate_keys, enterprise),
    *(backup, backups, restore),
):
    admin.add_command(command)


@admin.command()
@shared_options
@click.argument("email")
@click.argument("amount", metavar="CREDITS", type=CreditsType())
@pass_shared
def grant(shared: Shared, email: str, amount: int) -> None:
    """Give a user credits that do not expire."""
    with Administrator(shared) as administrator:
        administrator.grant(administrator.account_of(email), amount)
    click.echo(f"Granted {email} {Decimal(amount) / _MILLICREDITS} credits.")


@admin.command("set-tier")
@shared_options
@click.argument("email")
@click.argument("tier", type=click.Choice(TIERS))
@pass_shared
def set_tier(shared: Shared, email: str, tier: str) -> None:
    """Put a user on a tier."""
    with Administrator(shared) as administrator:
        administrator.set_tier(administrator.account_of(email), tier)
    click.echo(f"{email} is on the tier {tier} now.")


@admin.command("audit-ledger")
@shared_options
@pass_shared
def audit_ledger(shared: Shared) -> int:
    """Check that every credit is accounted for. Exits with 1 when one isn't."""
    with Administrator(shared) as administrator:
        breaches = administrator.breaches()
    for breach in breaches:
        click.echo(f"{breach.invariant}: {breach.reference}")
    click.echo(f"{len(breaches)} breaches." if breaches else "Every credit is accounted for.")
    return ExitCode.REFUSED if breaches else 0
