"""`pingvas profile` and `usage`: who one is to others, and what one's jobs have used."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import httpx
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pingvas.gallery.v1.gallery_service_pb2 import GetImageRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.library_service_pb2 import GetStorageUsageRequest, StorageUsage
from pingvas.gallery.v1.library_service_pb2_grpc import LibraryServiceStub
from pingvas.generation.v1.usage_service_pb2 import GetMyUsageRequest, ModelUsage, Usage
from pingvas.generation.v1.usage_service_pb2_grpc import UsageServiceStub
from pingvas.user.v1.user_pb2 import User
from pingvas.user.v1.user_service_pb2 import GetMeRequest, UpdateMeRequest
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub

from studio.cli.client import Client, connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.failures import CommandError, ExitCode

_DOWNLOAD_SECONDS = 60.0
_SECONDS_A_MINUTE = 60
_MIB = 1024**2
_GIB = 1024**3


@click.group()
def profile() -> None:
    """See and change your name, your picture and the language of your mails."""


@profile.command()
@shared_options
@json_option
@pass_shared
def show(shared: Shared, *, as_json: bool) -> None:
    """Show your profile."""
    with connect(shared) as client:
        _print(client.call(UserServiceStub(client.channel).GetMe, GetMeRequest()), as_json=as_json)


@profile.command("set")
@shared_options
@click.option("--name", help="The name to show.")
@click.option("--locale", type=click.Choice(["en", "ko"]), help="The language of mails to you.")
@click.option(
    "--avatar", metavar="FILE|IMAGE_ID", help="A picture that stands for you: a file, or one of your gallery."
)
@click.option("--no-avatar", is_flag=True, help="Remove the picture.")
@json_option
@pass_shared
def set_(
    shared: Shared, *, name: str | None, locale: str | None, avatar: str | None, no_avatar: bool, as_json: bool
) -> None:
    """Change your profile; what isn't given stays as it is."""
    if avatar and no_avatar:
        raise click.UsageError("--avatar and --no-avatar contradict each other.")
    if name is None and locale is None and avatar is None and not no_avatar:
        raise click.UsageError("Give --name, --locale, --avatar or --no-avatar.")
    request = UpdateMeRequest(display_name=name, locale=locale, avatar=b"" if no_avatar else None)
    with connect(shared) as client:
        if avatar:
            request.avatar = _picture(client, avatar)
        _print(client.call(UserServiceStub(client.channel).UpdateMe, request), as_json=as_json)


@click.command()
@shared_options
@click.option("--days", type=click.IntRange(1, 92), default=30, show_default=True, help="How many, up to today.")
@json_option
@pass_shared
def usage(shared: Shared, *, days: int, as_json: bool) -> None:
    """Show what your jobs have used, by day and model, how they ended and waited, and what your pictures take."""
    request = GetMyUsageRequest(day_count=days, utc_offset_minutes=_utc_offset_minutes())
    with connect(shared) as client:
        used = client.call(UsageServiceStub(client.channel).GetMyUsage, request)
        stored = client.call(LibraryServiceStub(client.channel).GetStorageUsage, GetStorageUsageRequest())
    if as_json:
        click.echo(json.dumps({**_document(used), "storage": _document(stored)}, indent=2))
        return
    click.echo(f"{used.first_day} to {used.last_day}: {_amounts(used)}")
    for line in (*ends_lines(used), *usage_lines(used.models), *storage_lines(stored)):
        click.echo(line)


def ends_lines(used: Usage) -> list[str]:
    """Returns lines that say how jobs ended and how long they waited; none without jobs."""
    if not used.job_count:
        return []
    ends = f"completed: {used.completed_count}, failed: {used.failed_count}, cancelled: {used.cancelled_count}"
    if not used.HasField("median_wait_seconds"):
        return [ends]
    waits = f"half waited up to {used.median_wait_seconds:.1f} s, nine in ten up to {used.p90_wait_seconds:.1f} s"
    return [ends, waits]


def usage_lines(models: Sequence[ModelUsage]) -> list[str]:
    """Returns a line for each day and model."""
    width = max((len(each.model_id) for each in models), default=0)
    return [f"{each.day}  {each.model_id:<{width}}  {_amounts(each)}" for each in models]


def storage_lines(stored: StorageUsage) -> list[str]:
    """Returns a line that tells what pictures take, and one that warns when that is more than the tier stores."""
    taken = [f"storage: {_size(stored.image_bytes)} of {_size(stored.quota_bytes)}"]
    if not stored.HasField("overage_stop_time"):
        return taken
    day = stored.overage_stop_time.ToDatetime(UTC).astimezone()
    warning = f"That is more than your tier stores: from {day:%Y-%m-%d} on new jobs and uploads are refused."
    return [*taken, warning, "Nothing is deleted by us. Delete pictures and empty the bin, or upgrade."]


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:,.2f} GiB" if size_bytes >= _GIB else f"{size_bytes / _MIB:,.1f} MiB"


def _amounts(used: Message) -> str:
    return f"{used.credits} credits, jobs: {used.job_count}, pictures: {used.image_count}"  # type: ignore[attr-defined]


def _utc_offset_minutes() -> int:
    offset = datetime.now().astimezone().utcoffset()
    return int(offset.total_seconds() // _SECONDS_A_MINUTE) if offset else 0


def _print(user: User, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_document(user), indent=2))
        return
    confirmed = "confirmed" if user.email_verified else "not confirmed"
    click.echo(f"{user.display_name} <{user.email}> ({confirmed})")
    click.echo(f"Mails in: {user.locale}. Picture: {'yes' if user.avatar else 'none'}.")
    click.echo(f"Here since {user.create_time.ToDatetime(UTC).astimezone():%Y-%m-%d}. Id: {user.user_id}")


def _picture(client: Client, name: str) -> bytes:
    """Returns the bytes of a file, or of the thumbnail of a picture in the gallery."""
    if Path(name).is_file():
        return Path(name).read_bytes()
    try:
        image_id = str(UUID(name))
    except ValueError:
        raise CommandError(
            f"{name} is neither a file nor the id of a picture",
            advice="Name a PNG, JPEG or WebP file, or an id that `pingvas images list` shows.",
            exit_code=ExitCode.USAGE,
        ) from None
    image = client.call(GalleryServiceStub(client.channel).GetImage, GetImageRequest(image_id=image_id))
    try:
        return httpx.get(image.thumbnail_url, timeout=_DOWNLOAD_SECONDS).raise_for_status().content
    except httpx.HTTPError as error:
        # Never the address: its query is a credential.
        raise CommandError(
            f"the picture {image_id} could not be fetched", advice="Try again.", exit_code=ExitCode.UNREACHABLE
        ) from error


def _document(message: Message) -> dict[str, object]:
    document: dict[str, object] = MessageToDict(message, preserving_proto_field_name=True)
    return document
