"""`pingvas admin`: what the operator of a local stack may do.

These commands call the internal listeners, which the edge does not route, with the operator's own key. Both are on the
machine that runs the stack only, so a remote deployment can't be administered from here.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

import click
import grpc
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.payment.v1.credit_service_pb2 import GrantKind
from pingvas.payment.v1.ledger_service_pb2 import GrantCreditsRequest, SetTierRequest
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.user.v1.user_directory_service_pb2 import LookupUserRequest
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub

from studio.cli.context import Shared, pass_shared, shared_options
from studio.cli.endpoint import split_endpoint
from studio.cli.failures import CommandError
from studio.cli.model_push import admin_models
from studio.cli.refusals import command_error
from studio.stack.keys import OPERATOR_NAME, ensure_secrets
from studio.stack.layout import HOST, Layout, Ports
from svc_common.tokens import ServiceCredential

_CALL_SECONDS = 15.0
_MILLICREDITS = 1000
_TIERS = ("free", "starter", "pro", "studio", "enterprise")


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
    """Administer the local stack."""


admin.add_command(admin_models)


@admin.command()
@shared_options
@click.argument("email")
@click.argument("amount", metavar="CREDITS", type=CreditsType())
@pass_shared
def grant(shared: Shared, email: str, amount: int) -> None:
    """Give a user credits that do not expire."""
    operator = Operator(shared)
    operator.grant(operator.account_of(email), amount)
    click.echo(f"Granted {email} {Decimal(amount) / _MILLICREDITS} credits.")


@admin.command("set-tier")
@shared_options
@click.argument("email")
@click.argument("tier", type=click.Choice(_TIERS))
@pass_shared
def set_tier(shared: Shared, email: str, tier: str) -> None:
    """Put a user on a tier."""
    operator = Operator(shared)
    operator.set_tier(operator.account_of(email), tier)
    click.echo(f"{email} is on the tier {tier} now.")


class Operator:
    """Calls the internal listeners of the stack that runs on this machine."""

    def __init__(self, shared: Shared) -> None:
        """Finds the running stack and the operator's key; raises CommandError when another deployment is meant."""
        running = shared.require_running() if shared.endpoint is None else shared.running
        if running is None or (shared.endpoint and split_endpoint(shared.endpoint)[0] != running.grpc):
            raise CommandError(
                f"{shared.endpoint} can't be administered from here: admin commands call internal listeners, "
                "which a deployment's edge does not route, with a key that stays on its machine",
                advice="Run them on the machine of the stack, with its --data-dir and without --endpoint.",
            )
        self._ports = Ports(running.port_base)
        secrets = ensure_secrets(Layout(shared.data_dir).keys)
        self._credential = ServiceCredential.from_file(OPERATOR_NAME, secrets.service_key(OPERATOR_NAME))

    def account_of(self, email: str) -> str:
        """Returns the account of a user."""
        with self._calling("user") as (channel, metadata):
            lookup = UserDirectoryServiceStub(channel).LookupUser
            user = lookup(LookupUserRequest(email=email), timeout=_CALL_SECONDS, metadata=metadata)
        return str(user.account_id)

    def grant(self, account_id: str, amount_millicredits: int) -> None:
        """Gives an account promotional credits without an expiry."""
        request = GrantCreditsRequest(
            request_id=f"operator:{uuid.uuid4()}",
            account_id=account_id,
            kind=GrantKind.GRANT_KIND_PROMOTIONAL,
            amount_millicredits=amount_millicredits,
        )
        with self._calling("payment") as (channel, metadata):
            LedgerServiceStub(channel).GrantCredits(request, timeout=_CALL_SECONDS, metadata=metadata)

    def set_tier(self, account_id: str, tier: str) -> None:
        """Puts an account on a tier."""
        request = SetTierRequest(account_id=account_id, tier=Tier.Value(f"TIER_{tier.upper()}"))
        with self._calling("payment") as (channel, metadata):
            LedgerServiceStub(channel).SetTier(request, timeout=_CALL_SECONDS, metadata=metadata)

    @contextmanager
    def _calling(self, area: str) -> Iterator[tuple[grpc.Channel, tuple[tuple[str, str], ...]]]:
        address = f"{HOST}:{self._ports.internal(area)}"
        metadata = (("authorization", f"Bearer {self._credential.token()}"),)
        with grpc.insecure_channel(address) as channel:
            try:
                yield channel, metadata
            except grpc.RpcError as error:
                raise command_error(error, address) from error
