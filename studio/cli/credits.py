"""`pingvas credits`: what is left."""

import json

import click
from google.protobuf.json_format import MessageToDict
from pingvas.payment.v1.credit_service_pb2 import GetBalanceRequest, GrantKind
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub

from studio.cli.account import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from svc_common.tiers import tier_name


@click.command()
@shared_options
@json_option
@pass_shared
def credits(shared: Shared, as_json: bool) -> None:  # noqa: A001 - the command has this name
    """Show how many credits you have."""
    with connect(shared) as client:
        balance = client.call(CreditServiceStub(client.channel).GetBalance, GetBalanceRequest())
    if as_json:
        document = MessageToDict(balance, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{balance.available} credits available, {balance.held} held, tier {tier_name(balance.tier)}")
    for grant in balance.grants:
        kind = GrantKind.Name(grant.kind).removeprefix("GRANT_KIND_").lower()
        expiry = f", until {grant.expire_time.ToDatetime():%Y-%m-%d}" if grant.HasField("expire_time") else ""
        click.echo(f"  {grant.remaining:>14} of {grant.amount} {kind}{expiry}")
