"""`pingvas models`: the models and LoRAs that one's tier reaches."""

import json

import click
from google.protobuf.json_format import MessageToDict
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.models.v1.model_pb2 import Model, ModelKind, Operation
from pingvas.models.v1.model_service_pb2 import ListModelsRequest
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options

_PAGE_SIZE = 200
_MEBIBYTE = 2**20


@click.command()
@shared_options
@json_option
@pass_shared
def models(shared: Shared, as_json: bool) -> None:
    """List the models and LoRAs that you can use."""
    with connect(shared) as client:
        found = list(client.items(ModelServiceStub(client.channel).ListModels, ListModelsRequest(page_size=_PAGE_SIZE)))
    if as_json:
        click.echo(json.dumps([MessageToDict(model, preserving_proto_field_name=True) for model in found], indent=2))
        return
    if not found:
        click.echo("Your tier reaches no models yet.")
    for model in found:
        click.echo(line_of(model))


def line_of(model: Model) -> str:
    """Returns what a list says of a model."""
    kind = ModelKind.Name(model.kind).removeprefix("MODEL_KIND_").lower()
    operations = ", ".join(Operation.Name(each).removeprefix("OPERATION_").lower() for each in model.operations)
    tier = Tier.Name(model.minimum_tier).removeprefix("TIER_").lower()
    details = operations or ", ".join(model.trigger_words) or "-"
    size = f"{model.size_bytes / _MEBIBYTE:,.1f} MiB"
    return f"{model.model_id:<24} {model.family:<8} {kind:<10} {tier:<10} {size:>14}  {details}"
