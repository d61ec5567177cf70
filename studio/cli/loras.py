"""`pingvas loras`: LoRAs of one's own."""

import json
import time
from pathlib import Path
from typing import Final

import click
import httpx
from google.protobuf.json_format import MessageToDict
from pingvas.models.v1.lora_pb2 import Lora, LoraState
from pingvas.models.v1.lora_service_pb2 import (
    CheckLoraRequest,
    CompleteLoraRequest,
    CreateLoraRequest,
    DeleteLoraRequest,
    GetLoraRequest,
    GetLoraUploadRequest,
    ListLorasRequest,
    LoraPart,
)
from pingvas.models.v1.lora_service_pb2_grpc import LoraServiceStub

from studio.cli.client import Client, connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.failures import CommandError, ExitCode
from svc_common import clock

_LOOK_SECONDS: Final = 1.0
_PART_SECONDS: Final = 300.0
_TRIES: Final = 4
_MEBIBYTE: Final = 2**20
_PAGE_SIZE: Final = 200


@click.group()
def loras() -> None:
    """Keep LoRAs of your own, which nobody else sees."""


@loras.command("list")
@shared_options
@json_option
@pass_shared
def list_loras(shared: Shared, as_json: bool) -> None:
    """List your LoRAs, newest first."""
    with connect(shared) as client:
        service, found, page_token = LoraServiceStub(client.channel), list[Lora](), ""
        while True:
            page = client.call(service.ListLoras, ListLorasRequest(page_size=_PAGE_SIZE, page_token=page_token))
            found += page.loras
            if not (page_token := page.next_page_token):
                break
    if as_json:
        click.echo(json.dumps([MessageToDict(lora, preserving_proto_field_name=True) for lora in found], indent=2))
        return
    for lora in found:
        click.echo(_line_of(lora))
    click.echo(f"{page.count} of {page.limit} LoRAs that your tier allows")


@loras.command()
@shared_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--family", required=True, help="The family of the models that it changes, such as sdxl.")
@click.option("--name", default="", help="The name to show.  [default: that of the file]")
@click.option(
    "--trigger-word", "trigger_words", multiple=True, help="A word that brings out what it is for; repeatable."
)
@json_option
@pass_shared
def upload(shared: Shared, file: Path, family: str, name: str, trigger_words: tuple[str, ...], as_json: bool) -> None:
    """Upload the safetensors FILE, and wait until it can be used."""
    request = CreateLoraRequest(
        display_name=name or file.stem,
        family=family,
        size_bytes=file.stat().st_size,
        trigger_words=trigger_words,
        request_id=str(clock.new_id()),
    )
    with connect(shared) as client:
        service = LoraServiceStub(client.channel)
        model_id = client.call(service.CreateLora, request).lora.model_id
        # What can't be applied is refused by its first part, before gigabytes are sent.
        _send(client, file, model_id, below=1)
        client.call(service.CheckLora, CheckLoraRequest(model_id=model_id))
        _send(client, file, model_id, below=request.size_bytes)
        lora = _made(client, client.call(service.CompleteLora, CompleteLoraRequest(model_id=model_id)))
    if as_json:
        click.echo(json.dumps(MessageToDict(lora, preserving_proto_field_name=True), indent=2))
        return
    left_out = f", {lora.unmatched_module_count} left out" if lora.unmatched_module_count else ""
    click.echo(f"{lora.model_id} is ready: {lora.module_count} modules of rank {lora.rank} at most{left_out}")


@loras.command()
@shared_options
@click.argument("model_id")
@pass_shared
def delete(shared: Shared, model_id: str) -> None:
    """Delete the LoRA MODEL_ID, unless your jobs need it."""
    with connect(shared) as client:
        client.call(LoraServiceStub(client.channel).DeleteLora, DeleteLoraRequest(model_id=model_id))
    click.echo(f"{model_id} is deleted.")


def _line_of(lora: Lora) -> str:
    state = LoraState.Name(lora.state).removeprefix("LORA_STATE_").lower()
    size = f"{lora.size_bytes / _MEBIBYTE:,.1f} MiB"
    details = lora.refusal or ", ".join(lora.trigger_words) or "-"
    return f"{lora.model_id:<41} {lora.family:<8} {state:<10} {size:>14}  {lora.display_name}  {details}"


def _send(client: Client, file: Path, model_id: str, below: int) -> None:
    """Sends the missing parts that begin below an offset; after a failure goes on with what is missing then."""
    service, failure = LoraServiceStub(client.channel), ""
    for _ in range(_TRIES):
        missing = client.call(service.GetLoraUpload, GetLoraUploadRequest(model_id=model_id))
        try:
            for part in missing.parts:
                if part.offset_bytes < below:
                    _put(file, part, missing.content_type)
        except httpx.HTTPError as error:
            # Never the address: its query is a credential.
            failure = f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else repr(error)
        else:
            return
    raise CommandError(f"{file} could not be uploaded: {failure}", advice="Try again.", exit_code=ExitCode.UNREACHABLE)


def _put(file: Path, part: LoraPart, content_type: str) -> None:
    with file.open("rb") as stream:
        stream.seek(part.offset_bytes)
        content = stream.read(part.size_bytes)
    headers = {"content-type": content_type}
    httpx.put(part.put_url, content=content, headers=headers, timeout=_PART_SECONDS).raise_for_status()


def _made(client: Client, lora: Lora) -> Lora:
    """Waits until a file is put together."""
    while lora.state == LoraState.LORA_STATE_ASSEMBLING:
        time.sleep(_LOOK_SECONDS)
        lora = client.call(LoraServiceStub(client.channel).GetLora, GetLoraRequest(model_id=lora.model_id))
    if lora.state != LoraState.LORA_STATE_READY:
        raise CommandError(lora.refusal, advice="Upload another file.", exit_code=ExitCode.REFUSED)
    return lora
