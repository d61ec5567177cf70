"""`pingvas images`: the gallery."""

import json

import click
from google.protobuf.json_format import MessageToDict
from pingvas.gallery.v1.gallery_service_pb2 import ListImagesRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub

from studio.cli.account import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options


@click.group()
def images() -> None:
    """Look at your pictures."""


@images.command("list")
@shared_options
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many, newest first.")
@json_option
@pass_shared
def list_images(shared: Shared, limit: int, as_json: bool) -> None:
    """List your pictures, newest first."""
    with connect(shared) as client:
        page = client.call(GalleryServiceStub(client.channel).ListImages, ListImagesRequest(page_size=limit))
    if as_json:
        click.echo(json.dumps(MessageToDict(page, preserving_proto_field_name=True), indent=2))
        return
    if not page.images:
        click.echo('No pictures yet. Make one: pingvas generate "the sea at sunset"')
    for image in page.images:
        made = image.create_time.ToDatetime()
        click.echo(f"{image.image_id}  {made:%Y-%m-%d %H:%M}  {image.width_px}x{image.height_px}  {image.prompt[:60]}")
