"""Recipes of pictures: read by the deployment, changed by what was given, and what of them isn't taken over is said."""

import hashlib
import uuid
from pathlib import Path
from typing import Final

import click
import httpx
from google.protobuf.message import Message
from pingvas.gallery.v1.gallery_service_pb2 import GetImageRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1.job_pb2 import ImageSource, ImageToImage, Inpaint, TextToImage, Upscale
from pingvas.generation.v1.recipe_pb2 import Recipe, RecipeOrigin, RemarkKind
from pingvas.generation.v1.recipe_service_pb2 import ReadRecipeRequest
from pingvas.generation.v1.recipe_service_pb2_grpc import RecipeServiceStub

from studio.cli.client import Client
from studio.cli.failures import CommandError, ExitCode
from studio.cli.operations import Operation
from svc_common.picture_notes import NoteFaultError, without_pixels

_DOWNLOAD_SECONDS: Final = 60.0
_PROGRAMS: Final = {
    RecipeOrigin.RECIPE_ORIGIN_PINGVAS: "Pingvas Studio",
    RecipeOrigin.RECIPE_ORIGIN_INVOKEAI: "InvokeAI",
    RecipeOrigin.RECIPE_ORIGIN_A1111: "AUTOMATIC1111's web UI",
    RecipeOrigin.RECIPE_ORIGIN_COMFYUI: "ComfyUI",
}
_VERBS: Final = {
    RemarkKind.REMARK_KIND_LEFT_OUT: "left out",
    RemarkKind.REMARK_KIND_CHANGED: "changed",
    RemarkKind.REMARK_KIND_NEEDED: "needed",
}


def recipe_of(client: Client, name: str) -> Recipe:
    """Returns the recipe of a picture: of a file of this machine, or of one of the gallery by its id.

    Of a file only the notes are sent, never the picture. Raises CommandError when there is no such picture or no recipe.
    """
    file = Path(name)
    try:
        picture = file.read_bytes() if file.is_file() else _of_gallery(client, name)
        bare = without_pixels(picture)
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", advice="Check its permissions.") from error
    except NoteFaultError as fault:
        raise CommandError(f"no recipe can be read from {name}: {fault}", advice="Use another picture.") from fault
    recipe: Recipe = client.call(RecipeServiceStub(client.channel).ReadRecipe, ReadRecipeRequest(picture=bare))
    return recipe


def tell(recipe: Recipe, name: str) -> None:
    """Says on standard error where a recipe comes from, and what of it isn't taken over as it is."""
    click.echo(f"Recipe of {name}, written by {_PROGRAMS.get(recipe.origin, 'an unknown program')}.", err=True)
    for remark in recipe.remarks:
        # What is needed is refused by its own name if it isn't given.
        if remark.kind != RemarkKind.REMARK_KIND_NEEDED:
            value = f" ({remark.value})" if remark.value else ""
            click.echo(f"  {_VERBS.get(remark.kind, 'note')}: {remark.part}{value}. {remark.message}", err=True)


def operation_from(
    recipe: Recipe, changes: dict[str, object], source: ImageSource | None = None, mask: ImageSource | None = None
) -> Operation:
    """Returns what a recipe makes, with what is given in place of what it says.

    Raises CommandError for what is missing, and for what the operation hasn't.
    """
    branch = recipe.WhichOneof("operation")
    recalled: Operation = getattr(recipe, branch or "text_to_image")
    operation = _on_pictures(recalled, source, mask)
    if not isinstance(operation, TextToImage):
        if source is None:
            raise _missing("--image", recipe.source_sha256)
        operation.source.CopyFrom(source)
    if isinstance(operation, Inpaint):
        if mask is None:
            raise _missing("--mask", recipe.mask_sha256)
        operation.mask.CopyFrom(mask)
    for field, value in changes.items():
        if value is not None:
            _set(operation, field, value)
    return operation


def check_source(recipe: Recipe, name: str | None) -> None:
    """Says on standard error that a file isn't the one that the picture was made from."""
    if name is None or not recipe.source_sha256 or not Path(name).is_file():
        return
    if hashlib.sha256(Path(name).read_bytes()).hexdigest() != recipe.source_sha256:
        click.echo(f"  {name} isn't the file that the picture was made from: the result will be another one.", err=True)


def _on_pictures(recalled: Operation, source: ImageSource | None, mask: ImageSource | None) -> Operation:
    """Returns a copy of an operation, as the one that works on the pictures which are given."""
    kind: type[Operation] = type(recalled)
    if not isinstance(recalled, Upscale):
        if mask is not None:
            kind = Inpaint
        elif source is not None and isinstance(recalled, TextToImage):
            kind = ImageToImage
    # Fields of one name have one number in all that draw by a prompt.
    return kind.FromString(recalled.SerializeToString())


def _set(operation: Message, field: str, value: object) -> None:
    if field not in operation.DESCRIPTOR.fields_by_name:
        raise CommandError(
            f"the picture was made by an operation that has no {field}",
            advice="Leave the option out, or leave --from out.",
            exit_code=ExitCode.USAGE,
        )
    try:
        if isinstance(value, list):
            operation.ClearField(field)
            getattr(operation, field).extend(value)
        else:
            setattr(operation, field, value)
    except ValueError as error:
        raise CommandError(
            str(error), advice="Use a number that fits into 32 bits.", exit_code=ExitCode.USAGE
        ) from error


def _missing(option: str, sha256: str) -> CommandError:
    which = f" with the SHA-256 {sha256}" if sha256 else ""
    return CommandError(
        f"the picture was made from another one{which}, which isn't in its recipe",
        advice=f"Name that one with {option}: a file, or an id of the gallery.",
        exit_code=ExitCode.USAGE,
    )


def _of_gallery(client: Client, name: str) -> bytes:
    try:
        image_id = str(uuid.UUID(name))
    except ValueError:
        raise CommandError(
            f"{name} is neither a file nor the id of a picture",
            advice="Name a PNG, JPEG or WebP file, or an id that `pingvas images list` shows.",
            exit_code=ExitCode.USAGE,
        ) from None
    image = client.call(GalleryServiceStub(client.channel).GetImage, GetImageRequest(image_id=image_id))
    try:
        return httpx.get(image.content_url, timeout=_DOWNLOAD_SECONDS).raise_for_status().content
    except httpx.HTTPError as error:
        # Never the address: its query is a credential.
        raise CommandError(
            f"the picture {image_id} could not be downloaded", advice="Try again.", exit_code=ExitCode.UNREACHABLE
        ) from error
