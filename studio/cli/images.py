"""`pingvas images`: the gallery."""

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf.json_format import MessageToDict
from pingvas.gallery.v1.export_pb2 import ExportState, ImageExport
from pingvas.gallery.v1.export_service_pb2 import (
    CreateImageExportRequest,
    DeleteImageExportRequest,
    GetImageExportRequest,
    ImageIds,
)
from pingvas.gallery.v1.export_service_pb2_grpc import ExportServiceStub
from pingvas.gallery.v1.gallery_service_pb2 import ListImagesRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.sharing_service_pb2 import CreateShareLinkRequest, RevokeShareLinksRequest
from pingvas.gallery.v1.sharing_service_pb2_grpc import SharingServiceStub

from studio.cli.client import Client, connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.downloads import download
from studio.cli.endpoint import page_address
from studio.cli.failures import CommandError
from svc_common import clock

_LOOK_SECONDS: Final = 1.0


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


@images.command("share")
@shared_options
@click.argument("image_id")
@click.option("--with-recipe", is_flag=True, help="Show prompt, model and seed as well.")
@click.option("--days", type=click.IntRange(1, 3650), help="When the link ends.  [default: never]")
@click.option("--views", type=click.IntRange(1, 1_000_000), help="How often it may be viewed.  [default: always]")
@click.option("--password", default="", help="What whoever opens the link is asked for; 6 characters or more.")
@click.option("--no-download", is_flag=True, help="Show a small copy only, which nobody can download in full.")
@pass_shared
def share_image(shared: Shared, /, image_id: str, days: int | None, views: int | None, **terms: Any) -> None:
    """Make a link that shows one of your pictures to anybody who has it."""
    request = CreateShareLinkRequest(image_id=image_id, view_limit=views or 0, request_id=str(clock.new_id()), **terms)
    if days is not None:
        request.expire_time.FromDatetime(clock.now() + timedelta(days=days))
    with connect(shared) as client:
        link = client.call(SharingServiceStub(client.channel).CreateShareLink, request)
    click.echo(f"{page_address(client.endpoint)}/shared/{link.share_token}")


@images.command("unshare")
@shared_options
@click.argument("image_id")
@pass_shared
def unshare_image(shared: Shared, image_id: str) -> None:
    """Take all links of one of your pictures back."""
    with connect(shared) as client:
        client.call(SharingServiceStub(client.channel).RevokeShareLinks, RevokeShareLinksRequest(image_id=image_id))
    click.echo("No link shows this picture any more.")


@images.command("export")
@shared_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("image_ids", nargs=-1)
@click.option("--board", "board_id", default="", help="The pictures of this board.")
@click.option("--query", default="", help="The pictures with these words.  [default: all of your pictures]")
@click.option("--recipes", "with_recipes", is_flag=True, help="Put the recipe of each picture beside it.")
@pass_shared
def export_images(
    shared: Shared, file: Path, image_ids: Sequence[str], board_id: str, query: str, with_recipes: bool
) -> None:
    """Download pictures as the zip FILE: those of IMAGE_IDS, of a board, or with words."""
    if sum(map(bool, (image_ids, board_id, query))) > 1:
        raise click.UsageError("give IMAGE_IDS, --board or --query, not several of them.")
    request = CreateImageExportRequest(with_recipes=with_recipes, request_id=str(clock.new_id()))
    if image_ids:
        request.images.CopyFrom(ImageIds(image_ids=image_ids))
    elif board_id:
        request.board_id = board_id
    else:
        request.search.CopyFrom(ListImagesRequest(query=query))
    with connect(shared) as client:
        export = client.call(ExportServiceStub(client.channel).CreateImageExport, request)
        try:
            ready = _made(client, export)
            download(ready.download_url, file)
        finally:
            forget = DeleteImageExportRequest(export_id=export.export_id)
            client.call(ExportServiceStub(client.channel).DeleteImageExport, forget)
    click.echo(f"Saved {file}: {ready.image_count - ready.left_out_count} pictures")


def _made(client: Client, export: ImageExport) -> ImageExport:
    """Waits until a zip is made."""
    while export.state in (ExportState.EXPORT_STATE_QUEUED, ExportState.EXPORT_STATE_RUNNING):
        time.sleep(_LOOK_SECONDS)
        sought = GetImageExportRequest(export_id=export.export_id)
        export = client.call(ExportServiceStub(client.channel).GetImageExport, sought)
    if export.state != ExportState.EXPORT_STATE_READY:
        raise CommandError("the zip could not be made", advice="Try again, or export fewer pictures at once.")
    return export
