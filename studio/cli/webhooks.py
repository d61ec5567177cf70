"""`pingvas webhooks`: the addresses to which this account's events are sent, and what became of each delivery."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pingvas.generation.v1 import webhook_endpoint_service_pb2 as service_pb2
from pingvas.generation.v1.webhook_endpoint_service_pb2_grpc import WebhookEndpointServiceStub
from pingvas.generation.v1.webhook_pb2 import DeliveryState, WebhookDelivery, WebhookEndpoint, WebhookEvent

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options

_EVENT_PREFIX = "WEBHOOK_EVENT_"
_JOB_PREFIX = "WEBHOOK_EVENT_JOB_"
# A job's event by what happened to it, any other as the contract has it.
_EVENTS = {
    name.removeprefix(_JOB_PREFIX).removeprefix(_EVENT_PREFIX).lower().replace("_", "-"): number
    for name, number in WebhookEvent.items()
    if number not in (WebhookEvent.WEBHOOK_EVENT_UNSPECIFIED, WebhookEvent.WEBHOOK_EVENT_TEST)
}
_USUAL_EVENTS = ("completed", "failed", "cancelled")
_JOB_EVENTS = tuple(event for event in _EVENTS if event != "credits-low")

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class JobWebhook(TypedDict):
    """The arguments of `request_of` that give a job's events an address."""

    webhook_url: str
    webhook_events: Sequence[WebhookEvent.ValueType]


def webhook_options(command: CommandT) -> CommandT:
    """Gives a command that makes a job the options that `webhook_of` reads."""
    for option in (
        click.option(
            "--webhook-event",
            "webhook_events",
            multiple=True,
            type=click.Choice(_JOB_EVENTS),
            help="What is sent there; can be given more than once. Default: completed, failed and cancelled.",
        ),
        click.option(
            "--webhook",
            "webhook_url",
            default="",
            metavar="URL",
            help="Send the job's events to this https address, signed with the secret of `pingvas webhooks secret`.",
        ),
    ):
        command = option(command)
    return command


def webhook_of(webhook_url: str, webhook_events: Sequence[str]) -> JobWebhook:
    """Returns what the options name.

    Raises:
        click.UsageError: events without an address.
    """
    if webhook_events and not webhook_url:
        raise click.UsageError("--webhook-event needs --webhook.")
    return {"webhook_url": webhook_url, "webhook_events": [_EVENTS[event] for event in webhook_events]}


@click.group()
def webhooks() -> None:
    """Have events of your jobs and credits sent to an address of yours."""


@webhooks.command()
@shared_options
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(tuple(_EVENTS)),
    default=_USUAL_EVENTS,
    help="What is sent; can be given more than once. Default: completed, failed and cancelled.",
)
@click.option("--description", default="", help="A text by which you know it.")
@click.option("--named-jobs-only", is_flag=True, help="Send the events of jobs that name the endpoint only.")
@json_option
@pass_shared
def create(
    shared: Shared, *, url: str, events: tuple[str, ...], description: str, named_jobs_only: bool, as_json: bool
) -> None:
    """Register an https address and print its secret, for the only time."""
    request = service_pb2.CreateWebhookEndpointRequest(
        url=url,
        events=[_EVENTS[event] for event in events],
        description=description,
        named_jobs_only=named_jobs_only,
    )
    with connect(shared) as client:
        made = client.call(WebhookEndpointServiceStub(client.channel).CreateWebhookEndpoint, request)
    click.echo(_json(made) if as_json else f"{made.endpoint_id}\n{made.secret}")


@webhooks.command("list")
@shared_options
@json_option
@pass_shared
def list_(shared: Shared, *, as_json: bool) -> None:
    """List the endpoints, newest first."""
    request = service_pb2.ListWebhookEndpointsRequest(page_size=200)
    with connect(shared) as client:
        found = client.call(WebhookEndpointServiceStub(client.channel).ListWebhookEndpoints, request).endpoints
    if as_json:
        click.echo(json.dumps([_document(each) for each in found], indent=2))
        return
    if not found:
        click.echo("There is no webhook endpoint.")
    for each in found:
        click.echo(endpoint_line(each))


@webhooks.command()
@shared_options
@click.argument("endpoint_id")
@pass_shared
def delete(shared: Shared, endpoint_id: str) -> None:
    """Delete an endpoint by its id."""
    request = service_pb2.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id)
    with connect(shared) as client:
        client.call(WebhookEndpointServiceStub(client.channel).DeleteWebhookEndpoint, request)
    click.echo(f"The endpoint {endpoint_id} is deleted.")


@webhooks.command()
@shared_options
@click.argument("endpoint_id")
@pass_shared
def enable(shared: Shared, endpoint_id: str) -> None:
    """Send to an endpoint again that is disabled."""
    _set_disabled(shared, endpoint_id, disabled=False)
    click.echo(f"The endpoint {endpoint_id} is enabled.")


@webhooks.command()
@shared_options
@click.argument("endpoint_id")
@pass_shared
def disable(shared: Shared, endpoint_id: str) -> None:
    """Send nothing to an endpoint until it is enabled."""
    _set_disabled(shared, endpoint_id, disabled=True)
    click.echo(f"The endpoint {endpoint_id} is disabled.")


@webhooks.command()
@shared_options
@click.argument("endpoint_id")
@json_option
@pass_shared
def rotate(shared: Shared, endpoint_id: str, *, as_json: bool) -> None:
    """Make a new secret and print it; the old one signs as well for a day."""
    request = service_pb2.RotateWebhookSecretRequest(endpoint_id=endpoint_id)
    with connect(shared) as client:
        made = client.call(WebhookEndpointServiceStub(client.channel).RotateWebhookSecret, request)
    click.echo(_json(made) if as_json else made.secret)


@webhooks.command()
@shared_options
@click.option("--rotate", "rotates", is_flag=True, help="Make a new one; the old one signs as well for a day.")
@json_option
@pass_shared
def secret(shared: Shared, *, rotates: bool, as_json: bool) -> None:
    """Print the secret that signs what jobs with an address of their own send: `pingvas generate --webhook`."""
    with connect(shared) as client:
        stub = WebhookEndpointServiceStub(client.channel)
        if rotates:
            found = client.call(stub.RotateAccountWebhookSecret, service_pb2.RotateAccountWebhookSecretRequest())
        else:
            found = client.call(stub.GetAccountWebhookSecret, service_pb2.GetAccountWebhookSecretRequest())
    click.echo(_json(found) if as_json else found.secret)


@webhooks.command("test")
@shared_options
@click.argument("endpoint_id")
@json_option
@pass_shared
def test_(shared: Shared, endpoint_id: str, *, as_json: bool) -> None:
    """Send a test event."""
    request = service_pb2.TestWebhookEndpointRequest(endpoint_id=endpoint_id)
    with connect(shared) as client:
        sent = client.call(WebhookEndpointServiceStub(client.channel).TestWebhookEndpoint, request)
    click.echo(_json(sent) if as_json else f"{sent.delivery_id} is on its way. `pingvas webhooks log` shows its end.")


@webhooks.command()
@shared_options
@click.argument("endpoint_id")
@json_option
@pass_shared
def log(shared: Shared, endpoint_id: str, *, as_json: bool) -> None:
    """List what was sent to an endpoint, or for a job with --webhook to its address, and what became of it."""
    request = service_pb2.ListWebhookDeliveriesRequest(endpoint_id=endpoint_id, page_size=50)
    with connect(shared) as client:
        found = client.call(WebhookEndpointServiceStub(client.channel).ListWebhookDeliveries, request).deliveries
    if as_json:
        click.echo(json.dumps([_document(each) for each in found], indent=2))
        return
    if not found:
        click.echo("Nothing was sent.")
    for each in found:
        click.echo(delivery_line(each))


@webhooks.command()
@shared_options
@click.argument("delivery_id")
@json_option
@pass_shared
def replay(shared: Shared, delivery_id: str, *, as_json: bool) -> None:
    """Send an event again."""
    request = service_pb2.ReplayWebhookDeliveryRequest(delivery_id=delivery_id)
    with connect(shared) as client:
        sent = client.call(WebhookEndpointServiceStub(client.channel).ReplayWebhookDelivery, request)
    click.echo(_json(sent) if as_json else f"{sent.delivery_id} is on its way.")


def endpoint_line(endpoint: WebhookEndpoint) -> str:
    """Returns an endpoint as one line for people."""
    names = {number: name for name, number in _EVENTS.items()}
    events = ",".join(names[event] for event in endpoint.events)
    state = "disabled" if endpoint.disabled else "failing" if endpoint.HasField("failing_since") else "ok"
    why = f": {endpoint.disable_reason}" if endpoint.disable_reason else ""
    return f"{endpoint.endpoint_id}  {endpoint.url}  {events}  {state}{why}"


def delivery_line(delivery: WebhookDelivery) -> str:
    """Returns a delivery as one line for people."""
    event = WebhookEvent.Name(delivery.event).removeprefix("WEBHOOK_EVENT_").lower().replace("_", ".")
    state = DeliveryState.Name(delivery.state).removeprefix("DELIVERY_STATE_").lower()
    what = delivery.last_error or (str(delivery.last_http_status) if delivery.last_http_status else "")
    line = f"{delivery.delivery_id}  {event}  {delivery.job_id or '-'}  {state}  attempts: {delivery.attempt_count}  {what}"
    return line.rstrip()


def _set_disabled(shared: Shared, endpoint_id: str, *, disabled: bool) -> None:
    request = service_pb2.UpdateWebhookEndpointRequest(endpoint_id=endpoint_id, disabled=disabled)
    request.update_mask.paths.append("disabled")
    with connect(shared) as client:
        client.call(WebhookEndpointServiceStub(client.channel).UpdateWebhookEndpoint, request)


def _json(message: Message) -> str:
    return json.dumps(_document(message), indent=2)


def _document(message: Message) -> dict[str, object]:
    document: dict[str, object] = MessageToDict(message, preserving_proto_field_name=True)
    return document
