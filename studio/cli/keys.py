"""`pingvas keys`: the API keys with which programs call in this person's name."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from pingvas.common.v1.scope_pb2 import Scope
from pingvas.user.v1.api_key_pb2 import ApiKey, ApiKeyLimits
from pingvas.user.v1.api_key_service_pb2 import (
    CreateApiKeyRequest,
    DeleteApiKeyRequest,
    ListApiKeysRequest,
    UpdateApiKeyRequest,
)
from pingvas.user.v1.api_key_service_pb2_grpc import ApiKeyServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options

_PREFIX = "SCOPE_"
_SCOPES = [
    name.removeprefix(_PREFIX).lower()
    for name in Scope.DESCRIPTOR.values_by_name
    if name not in {"SCOPE_UNSPECIFIED", "SCOPE_RECOVER"}
]


Command = TypeVar("Command", bound=Callable[..., Any])


def _limits(command: Command) -> Command:
    """Adds the options for the limits of a key."""
    options = (
        click.option(
            "--credits-a-day", default="", help="What its jobs may cost in a day of UTC.  [default: no limit]"
        ),
        click.option("--credits-a-month", default="", help="What they may cost in a month.  [default: no limit]"),
        click.option(
            "--model", "model_ids", multiple=True, help="A model that they may use; can be repeated.  [default: all]"
        ),
        click.option(
            "--largest-side", type=click.IntRange(1, 100_000), help="Longest side of pictures, px.  [default: no limit]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def keys() -> None:
    """Make, limit and delete API keys, with which programs call in your name."""


@keys.command()
@shared_options
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    default=("read", "generate"),
    help="What it may be used for; can be given more than once. Default: read and generate.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="After how many days it ends. Default: never.")
@_limits
@json_option
@pass_shared
def create(
    shared: Shared, /, *, name: str, scopes: tuple[str, ...], days: int | None, as_json: bool, **limits: Any
) -> None:
    """Make a key and print it, for the only time."""
    request = CreateApiKeyRequest(
        name=name, scopes=[Scope.Value(_PREFIX + scope.upper()) for scope in scopes], limits=_message(**limits)
    )
    if days:
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    with connect(shared) as client:
        made = client.call(ApiKeyServiceStub(client.channel).CreateApiKey, request)
    click.echo(json.dumps(_document(made), indent=2) if as_json else made.key)


@keys.command("list")
@shared_options
@json_option
@pass_shared
def list_(shared: Shared, *, as_json: bool) -> None:
    """List the keys, those first that were made last."""
    with connect(shared) as client:
        listed = client.call(ApiKeyServiceStub(client.channel).ListApiKeys, ListApiKeysRequest(page_size=200)).api_keys
    if as_json:
        click.echo(json.dumps([_document(key) for key in listed], indent=2))
        return
    if not listed:
        click.echo("There is no key.")
    for key in listed:
        scopes = ",".join(Scope.Name(scope).removeprefix(_PREFIX).lower() for scope in key.scopes)
        used = (
            f"{key.last_use_time.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M}"
            if key.HasField("last_use_time")
            else "never"
        )
        click.echo(f"{key.api_key_id}  {key.name}  {scopes}  used: {used}{limits_text(key.limits)}")


@keys.command()
@shared_options
@click.argument("api_key_id")
@_limits
@json_option
@pass_shared
def limit(shared: Shared, /, *, api_key_id: str, as_json: bool, **limits: Any) -> None:
    """Replace all limits of a key by those that are given. It counts within a minute."""
    request = UpdateApiKeyRequest(api_key_id=api_key_id, limits=_message(**limits))
    with connect(shared) as client:
        changed = client.call(ApiKeyServiceStub(client.channel).UpdateApiKey, request)
    if as_json:
        click.echo(json.dumps(_document(changed), indent=2))
    else:
        click.echo(f"The key {api_key_id} has these limits now:{limits_text(changed.limits) or ' none'}")


@keys.command()
@shared_options
@click.argument("api_key_id")
@pass_shared
def delete(shared: Shared, api_key_id: str) -> None:
    """Delete a key by its id."""
    with connect(shared) as client:
        client.call(ApiKeyServiceStub(client.channel).DeleteApiKey, DeleteApiKeyRequest(api_key_id=api_key_id))
    click.echo(f"The key {api_key_id} is deleted.")


def limits_text(limits: ApiKeyLimits) -> str:
    """Returns the limits of a key as they stand behind it in a list; empty for a key without any."""
    parts = (
        f"{limits.credits_a_day} credits a day" if limits.credits_a_day else "",
        f"{limits.credits_a_month} credits a month" if limits.credits_a_month else "",
        f"models: {','.join(limits.model_ids)}" if limits.model_ids else "",
        f"at most {limits.largest_side_px} px" if limits.largest_side_px else "",
    )
    return "".join(f"  {part}" for part in parts if part)


def _message(
    *, credits_a_day: str, credits_a_month: str, model_ids: tuple[str, ...], largest_side: int | None
) -> ApiKeyLimits:
    return ApiKeyLimits(
        credits_a_day=credits_a_day,
        credits_a_month=credits_a_month,
        model_ids=model_ids,
        largest_side_px=largest_side or 0,
    )


def _document(key: ApiKey) -> dict[str, object]:
    document: dict[str, object] = MessageToDict(key, preserving_proto_field_name=True)
    return document
