"""`pingvas credits`, `credits history` and `credits notices`, and `statement`: what is left, and what became of the rest."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pingvas.payment.v1.credit_service_pb2 import (
    CreditNotices,
    ExportBalanceRequest,
    ExportTransactionsRequest,
    GetBalanceRequest,
    GetCreditNoticesRequest,
    GetStatementRequest,
    GrantKind,
    ListTransactionsRequest,
    SetCreditNoticesRequest,
    Transaction,
    TransactionFilter,
    TransactionKind,
)
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.statement_pb2 import Statement, StatementTotals

from studio.cli.client import Client, connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from svc_common.tiers import tier_name

_PAGE_SIZE: Final = 200
_PREFIX: Final = "TRANSACTION_KIND_"
_KINDS: Final = tuple(name.removeprefix(_PREFIX).lower() for name, number in TransactionKind.items() if number)

_GIVEN: Final = frozenset({"promotional", "plan", "purchased"})
_JOBS: Final = "charged_jobs"

csv_option: Final = click.option("--csv", "as_csv", is_flag=True, help="Print lines of CSV for a spreadsheet.")


@click.group(invoke_without_command=True)
@shared_options
@json_option
@csv_option
@pass_shared
@click.pass_context
def credits(context: click.Context, shared: Shared, as_json: bool, as_csv: bool) -> None:  # noqa: A001 - its name
    """Show how many credits you have, and what moved them (history)."""
    if context.invoked_subcommand:
        return
    with connect(shared) as client:
        service = CreditServiceStub(client.channel)
        if as_csv:
            click.echo(client.call(service.ExportBalance, ExportBalanceRequest()).csv, nl=False)
            return
        balance = client.call(service.GetBalance, GetBalanceRequest())
    if as_json:
        click.echo(json.dumps(_document(balance), indent=2))
        return
    click.echo(f"{balance.available} credits available, {balance.held} held, tier {tier_name(balance.tier)}")
    for grant in balance.grants:
        kind = GrantKind.Name(grant.kind).removeprefix("GRANT_KIND_").lower()
        expiry = f", until {grant.expire_time.ToDatetime():%Y-%m-%d}" if grant.HasField("expire_time") else ""
        click.echo(f"  {grant.remaining:>14} of {grant.amount} {kind}{expiry}")


@credits.command()
@shared_options
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only movements of this kind; repeatable."
)
@click.option("--job", "job_id", default="", metavar="ID", help="Only what this job held and was charged.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only movements of this day (UTC).")
@json_option
@csv_option
@pass_shared
def history(
    shared: Shared, kinds: tuple[str, ...], job_id: str, day: datetime | None, as_json: bool, as_csv: bool
) -> None:
    """List what moved your credits, newest first."""
    selected = TransactionFilter(
        kinds=[TransactionKind.Value(f"{_PREFIX}{kind.upper()}") for kind in kinds], job_id=job_id
    )
    if day is not None:
        selected.start_time.FromDatetime(day.replace(tzinfo=UTC))
        selected.end_time.FromDatetime(day.replace(tzinfo=UTC) + timedelta(days=1))
    with connect(shared) as client:
        service = CreditServiceStub(client.channel)
        if as_csv:
            for page in _pages(client, service.ExportTransactions, ExportTransactionsRequest(filter=selected)):
                click.echo(page.csv, nl=False)
            return
        request = ListTransactionsRequest(filter=selected, page_size=_PAGE_SIZE)
        found = [each for page in _pages(client, service.ListTransactions, request) for each in page.transactions]
    if as_json:
        click.echo(json.dumps({"transactions": [_document(each) for each in found]}, indent=2))
        return
    if not found:
        click.echo("Nothing has moved your credits yet." if selected == TransactionFilter() else "No such movement.")
    for each in found:
        click.echo(_line(each))


@credits.command()
@shared_options
@click.option(
    "--low-balance", metavar="CREDITS", help="Warn when your balance falls below this many credits; off: don't."
)
@click.option("--statements/--no-statements", "mails_statements", default=None, help="Mail a statement each month.")
@json_option
@pass_shared
def notices(shared: Shared, low_balance: str | None, mails_statements: bool | None, as_json: bool) -> None:
    """Show or change what you are notified of: by mail, and by the webhook event credits.low."""
    with connect(shared) as client:
        service = CreditServiceStub(client.channel)
        chosen = client.call(service.GetCreditNotices, GetCreditNoticesRequest())
        if low_balance is not None or mails_statements is not None:
            request = SetCreditNoticesRequest(
                low_balance=chosen.low_balance if low_balance is None else low_balance.removeprefix("off"),
                mails_statements=chosen.mails_statements if mails_statements is None else mails_statements,
            )
            chosen = client.call(service.SetCreditNotices, request)
    click.echo(json.dumps(_document(chosen), indent=2) if as_json else notices_line(chosen))


@click.command()
@shared_options
@click.argument("month", required=False, metavar="[YYYY-MM]")
@json_option
@pass_shared
def statement(shared: Shared, month: str | None, as_json: bool) -> None:
    """Show what a month did to your credits, by kind and by day (UTC); without MONTH, the present one."""
    request = GetStatementRequest(month=month or f"{datetime.now(UTC):%Y-%m}")
    with connect(shared) as client:
        found = client.call(CreditServiceStub(client.channel).GetStatement, request)
    if as_json:
        click.echo(json.dumps(_document(found), indent=2))
        return
    for line in statement_lines(found):
        click.echo(line)


def statement_lines(found: Statement) -> Iterator[str]:
    """Yields what `pingvas statement` prints: the month altogether, then its days."""
    yield f"{'opening':<12} {found.opening:>14}"
    for field, amount in found.totals.ListFields():
        if amount != "0.000" and field.name != _JOBS:
            yield f"{field.name:<12} {_signed(field.name, amount):>14}"
    yield f"{'closing':<12} {found.closing:>14}"
    for day in found.days:
        yield f"{day.date}  {', '.join(_parts(day.totals))}"


def _parts(totals: StatementTotals) -> Iterator[str]:
    for field, amount in totals.ListFields():
        if field.name == _JOBS:
            yield f"{amount} job{'' if amount == 1 else 's'}"
        elif amount != "0.000":
            yield f"{field.name} {_signed(field.name, amount)}"


def _signed(kind: str, amount: str) -> str:
    return f"{'+' if kind in _GIVEN else '-'}{amount}"


def notices_line(chosen: CreditNotices) -> str:
    """Returns what `pingvas credits notices` prints."""
    warning = f"a warning below {chosen.low_balance} credits" if chosen.low_balance else "no warning of a low balance"
    return f"{warning}, {'a statement each month' if chosen.mails_statements else 'no statements'}"


def _line(moved: Transaction) -> str:
    job = f" {moved.job_id}" if moved.job_id else ""
    return f"{moved.create_time.ToDatetime():%Y-%m-%d %H:%M} {moved.amount:>14}  {moved.description}{job}"


def _pages(client: Client, method: Callable[..., Any], request: Any) -> Iterator[Any]:
    while True:
        page = client.call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _document(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
