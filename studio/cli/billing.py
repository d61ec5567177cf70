"""`pingvas plans`, `subscribe`, `buy`, `subscription` and `invoices`: what can be bought, and what was."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pingvas.payment.v1.subscription_pb2 import Checkout, InvoiceReason, Subscription, SubscriptionState
from pingvas.payment.v1.subscription_service_pb2 import (
    CancelSubscriptionRequest,
    ChangePlanRequest,
    CreateCheckoutRequest,
    GetCurrentSubscriptionRequest,
    GetPortalRequest,
    ListInvoicesRequest,
    ListPacksRequest,
    ListPlansRequest,
    PauseSubscriptionRequest,
    ResumeSubscriptionRequest,
    SyncSubscriptionRequest,
)
from pingvas.payment.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from svc_common.tiers import tier_name

_PAGE_SIZE: Final = 200
_CENTS: Final = 100
_MOMENTS: Final = {"renew_time": "renewed", "end_time": "ends", "grace_end_time": "suspended"}
_ACTIONS: Final[Mapping[str, tuple[str, Callable[[], Message]]]] = {
    "show": ("GetCurrentSubscription", GetCurrentSubscriptionRequest),
    "cancel": ("CancelSubscription", CancelSubscriptionRequest),
    "pause": ("PauseSubscription", PauseSubscriptionRequest),
    "resume": ("ResumeSubscription", ResumeSubscriptionRequest),
    "sync": ("SyncSubscription", SyncSubscriptionRequest),
}


@click.command()
@shared_options
@json_option
@pass_shared
def plans(shared: Shared, as_json: bool) -> None:
    """List the plans and the packs of credits. Needs no log-in."""
    with connect(shared) as client:
        service = SubscriptionServiceStub(client.channel)
        found = client.call_anonymously(service.ListPlans, ListPlansRequest(page_size=_PAGE_SIZE)).plans
        packs = client.call_anonymously(service.ListPacks, ListPacksRequest(page_size=_PAGE_SIZE)).packs
    if as_json:
        click.echo(json.dumps({"plans": _documents(found), "packs": _documents(packs)}, indent=2))
        return
    for plan in found:
        price = f"{_money(plan.price_cents, plan.currency)} a month" if plan.HasField("price_cents") else "by contract"
        click.echo(f"{plan.plan_id:<12} {price:<20} {plan.credits:>12} credits{_unsold(plan)}")
    for pack in packs:
        price = f"{_money(pack.price_cents, pack.currency)} once"
        click.echo(f"{pack.pack_id:<12} {price:<20} {pack.credits:>12} credits{_unsold(pack)}")


@click.command()
@shared_options
@click.argument("plan_id", metavar="PLAN")
@pass_shared
def subscribe(shared: Shared, plan_id: str) -> None:
    """Subscribe to a plan, or move to it from the one you have."""
    with connect(shared) as client:
        service = SubscriptionServiceStub(client.channel)
        current = client.call(service.GetCurrentSubscription, GetCurrentSubscriptionRequest())
        if current.state != SubscriptionState.SUBSCRIPTION_STATE_NONE:
            click.echo(_line(client.call(service.ChangePlan, ChangePlanRequest(plan_id=plan_id))))
            return
        _send_to(client.call(service.CreateCheckout, _checkout_request(plan_id=plan_id)))


@click.command()
@shared_options
@click.argument("pack_id", metavar="PACK")
@pass_shared
def buy(shared: Shared, pack_id: str) -> None:
    """Buy a pack of credits."""
    with connect(shared) as client:
        service = SubscriptionServiceStub(client.channel)
        _send_to(client.call(service.CreateCheckout, _checkout_request(pack_id=pack_id)))


@click.command()
@shared_options
@click.argument("action", type=click.Choice(tuple(_ACTIONS)), default="show")
@json_option
@pass_shared
def subscription(shared: Shared, action: str, as_json: bool) -> None:
    """Show, cancel, pause or resume your subscription, or ask the payment provider again how it stands (sync)."""
    method, request = _ACTIONS[action]
    with connect(shared) as client:
        current = client.call(getattr(SubscriptionServiceStub(client.channel), method), request())
    click.echo(json.dumps(_document(current), indent=2) if as_json else _line(current))


@click.command()
@shared_options
@json_option
@pass_shared
def invoices(shared: Shared, as_json: bool) -> None:
    """List what you have paid, newest first, and where the documents are."""
    with connect(shared) as client:
        service = SubscriptionServiceStub(client.channel)
        found = list(client.items(service.ListInvoices, ListInvoicesRequest(page_size=_PAGE_SIZE)))
        has_portal = any(invoice.reason != InvoiceReason.INVOICE_REASON_PACK for invoice in found)
        portal = client.call(service.GetPortal, GetPortalRequest()).url if has_portal else ""
    if as_json:
        click.echo(json.dumps({"invoices": _documents(found), "portal_url": portal}, indent=2))
        return
    if not found:
        click.echo("You have paid nothing yet.")
    for invoice in found:
        reason = InvoiceReason.Name(invoice.reason).removeprefix("INVOICE_REASON_").lower().replace("_", " ")
        refund = f", {_money(invoice.refunded_cents, invoice.currency)} refunded" if invoice.refunded_cents else ""
        click.echo(
            f"{invoice.issue_time.ToDatetime():%Y-%m-%d} {_money(invoice.amount_cents, invoice.currency):>12}  "
            f"{invoice.item_id}, {reason}, {invoice.credits} credits{refund}"
        )
    if portal:
        click.echo(f"Documents and cards: {portal}")


def _checkout_request(**item: str) -> CreateCheckoutRequest:
    # The same one for the tries of this command, so that a lost reply opens no second page.
    return CreateCheckoutRequest(request_id=str(uuid.uuid4()), **item)


def _send_to(checkout: Checkout) -> None:
    click.echo("Pay on this page; what you bought is there a few seconds later:")
    click.echo(checkout.url)


def _line(current: Subscription) -> str:
    state = SubscriptionState.Name(current.state).removeprefix("SUBSCRIPTION_STATE_").lower()
    words = [f"plan {current.plan_id}", f"tier {tier_name(current.tier)}"]
    if state != "none":
        words.insert(1, state)
    moments = {field.name: moment for field, moment in current.ListFields() if field.name in _MOMENTS}
    words += [f"{_MOMENTS[name]} {moment.ToDatetime():%Y-%m-%d}" for name, moment in moments.items()]
    if current.next_plan_id:
        words.append(f"then {current.next_plan_id}")
    return ", ".join(words)


def _money(cents: int, currency: str) -> str:
    return f"{currency} {cents / _CENTS:.2f}"


def _unsold(item: Any) -> str:
    return "" if item.is_sold or not item.price_cents else "  (not sold here)"


def _document(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _documents(messages: Any) -> list[dict[str, Any]]:
    return [_document(message) for message in messages]
