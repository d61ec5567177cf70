"""`pingvas admin enterprise`: who asks for the enterprise plan, and the contracts by which accounts have it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice

import click
from google.protobuf.json_format import MessageToDict
from pingvas.payment.v1.enterprise_service_pb2 import ActivateEnterpriseRequest, ListEnterpriseLeadsRequest
from pingvas.payment.v1.enterprise_service_pb2_grpc import EnterpriseServiceStub

from studio.cli.administrator import Administrator
from studio.cli.context import Shared, json_option, pass_shared, shared_options

_GIB = 2**30
_CENTS = 100


@click.group()
def enterprise() -> None:
    """List requests for the enterprise plan, and activate contracts."""


@enterprise.command()
@shared_options
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to list at most."
)
@json_option
@pass_shared
def leads(shared: Shared, *, limit: int, as_json: bool) -> None:
    """List who has asked for the enterprise plan, the newest first."""
    request = ListEnterpriseLeadsRequest(page_size=min(limit, 200))
    with Administrator(shared) as administrator:
        listing = EnterpriseServiceStub(administrator.client.channel).ListEnterpriseLeads
        found = list(islice(administrator.client.items(listing, request), limit))
    if as_json:
        click.echo(json.dumps([MessageToDict(each, preserving_proto_field_name=True) for each in found], indent=2))
        return
    for each in found:
        moment = each.create_time.ToDatetime(UTC).astimezone()
        click.echo(f"{moment:%Y-%m-%d %H:%M}  {each.account_id}  {each.company}  {each.contact}")
        click.echo(f"  {each.message}")


@enterprise.command()
@shared_options
@click.argument("email")
@click.option("--reference", required=True, help="Name of the contract in your own books, such as 2026-014.")
@click.option("--credits", "credit_count", required=True, metavar="CREDITS", help="Credits for the whole term.")
@click.option(
    "--until", "end", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Day (UTC) on which the term ends."
)
@click.option("--storage", metavar="GIB", type=click.IntRange(1), help="Storage in GiB; as the tier has it by default.")
@click.option("--running-jobs", type=click.IntRange(1, 1000), help="Jobs at once; as the tier has it by default.")
@click.option(
    "--requests-per-second", type=click.IntRange(1, 100_000), help="API calls a second; as the tier has it by default."
)
@click.option("--price", default="0", metavar="AMOUNT", help="What is paid for it, such as 12000.00.")
@click.option("--currency", default="USD", show_default=True)
@json_option
@pass_shared
def activate(
    shared: Shared,
    *,
    email: str,
    reference: str,
    credit_count: str,
    end: datetime,
    storage: int | None,
    running_jobs: int | None,
    requests_per_second: int | None,
    price: str,
    currency: str,
    as_json: bool,
) -> None:
    """Activate a contract of the enterprise plan for a user. Doing it again with the same terms changes nothing."""
    request = ActivateEnterpriseRequest(
        reference=reference,
        credits=credit_count,
        storage_bytes=(storage or 0) * _GIB,
        running_jobs=running_jobs or 0,
        requests_per_second=requests_per_second or 0,
        amount_cents=int(Decimal(price) * _CENTS),
        currency=currency,
    )
    request.end_time.FromDatetime(end)
    with Administrator(shared) as administrator:
        request.account_id = administrator.account_of(email)
        stub = EnterpriseServiceStub(administrator.client.channel)
        contract = administrator.client.call(stub.ActivateEnterprise, request)
    if as_json:
        click.echo(json.dumps(MessageToDict(contract, preserving_proto_field_name=True), indent=2))
        return
    click.echo(f"{email} has the enterprise plan by contract {reference} until {end:%Y-%m-%d}.")
