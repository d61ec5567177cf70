"""Turns rows of the gallery into messages of `pingvas.gallery.v1`, and imports into rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import board_pb2, gallery_service_pb2, image_pb2, import_service_pb2, sharing_service_pb2

from svc_common.object_keys import upload_key
from svc_common.objects import ObjectStore
from svc_common.status import to_status
from svc_gallery.domain.images import URL_LIFETIME, image_not_found, object_keys
from svc_gallery.domain.share_links import SHARED_URL_LIFETIME, ShareTokens
from svc_gallery.domain.uploads import PUT_LIFETIME
from svc_gallery.store.boards import ShownBoard
from svc_gallery.store.models import Image, ShareLink, Upload


async def image_message(image: Image, objects: ObjectStore, now: datetime) -> image_pb2.Image:
    """Returns the message of a picture, with addresses that are signed at `now`; signing asks nobody."""
    keys = object_keys(image.account_id, image.image_id)
    message = image_pb2.Image(
        image_id=str(image.image_id),
        job_id=str(image.job_id),
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        content_type=image.content_type,
        prompt=image.prompt,
        model_id=image.model_id,
        seed=image.seed,
        title=image.title,
        note=image.note,
        tags=image.tags,
        rating=image.rating,
        starred=image.starred,
        operation=image.operation,  # type: ignore[arg-type]
        parent_image_id=_id_or_empty(image.parent_image_id),
        content_url=objects.public_address(await objects.presign_get(keys.original, URL_LIFETIME)),
        thumbnail_url=objects.public_address(await objects.presign_get(keys.thumbnail, URL_LIFETIME)),
    )
    message.url_expire_time.FromDatetime(now + URL_LIFETIME)
    message.create_time.FromDatetime(image.create_time)
    if image.delete_time is not None and image.purge_time is not None:
        message.delete_time.FromDatetime(image.delete_time)
        message.purge_time.FromDatetime(image.purge_time)
    return message


def batch_message(image_ids: Sequence[UUID], done: Collection[UUID]) -> gallery_service_pb2.BatchImagesResponse:
    """Returns how a call for many pictures went: those that weren't done aren't there."""
    return gallery_service_pb2.BatchImagesResponse(
        results=[
            gallery_service_pb2.BatchImageResult(
                image_id=str(image_id), error=None if image_id in done else to_status(image_not_found(image_id))
            )
            for image_id in image_ids
        ]
    )


async def board_message(shown: ShownBoard, objects: ObjectStore, now: datetime) -> board_pb2.Board:
    """Returns the message of a board, with the address of its cover signed at `now`."""
    board = shown.board
    message = board_pb2.Board(
        board_id=str(board.board_id),
        name=board.name,
        parent_board_id=_id_or_empty(board.parent_board_id),
        image_count=shown.image_count,
        cover_image_id=_id_or_empty(board.cover_image_id),
        archived=board.archived,
    )
    if shown.cover_image_id is not None:
        thumbnail = object_keys(board.account_id, shown.cover_image_id).thumbnail
        message.cover_thumbnail_url = objects.public_address(await objects.presign_get(thumbnail, URL_LIFETIME))
        message.url_expire_time.FromDatetime(now + URL_LIFETIME)
    message.create_time.FromDatetime(board.create_time)
    message.update_time.FromDatetime(board.update_time)
    return message


async def upload_message(upload: Upload, objects: ObjectStore, now: datetime) -> gallery_service_pb2.Upload:
    """Returns the message of an upload, with an address that is signed at `now` for the announced type and size."""
    key = upload_key(upload.account_id, upload.upload_id)
    message = gallery_service_pb2.Upload(
        upload_id=str(upload.upload_id),
        put_url=objects.public_address(
            await objects.presign_upload(key, upload.content_type, upload.size_bytes, PUT_LIFETIME, now)
        ),
    )
    message.put_expire_time.FromDatetime(now + PUT_LIFETIME)
    message.expire_time.FromDatetime(upload.expire_time)
    return message


def share_link_message(link: ShareLink, tokens: ShareTokens) -> sharing_service_pb2.ShareLink:
    """Returns the message of a share link, with its secret, for the owner."""
    message = sharing_service_pb2.ShareLink(
        share_link_id=str(link.share_link_id),
        share_token=tokens.told_again(link.share_link_id, link.token_hash),
        with_recipe=link.with_recipe,
        view_limit=link.view_limit,
        view_count=link.view_count,
        has_password=link.password_hash is not None,
        no_download=link.no_download,
    )
    if link.expire_time is not None:
        message.expire_time.FromDatetime(link.expire_time)
    message.create_time.FromDatetime(link.create_time)
    return message


async def shared_image_message(
    image: Image, objects: ObjectStore, now: datetime, link: ShareLink
) -> sharing_service_pb2.SharedImage:
    """Returns the message of a picture for somebody who has a link, with addresses that are signed at `now`."""
    keys = object_keys(image.account_id, image.image_id)
    shown = keys.original if link.with_recipe else keys.recipe_free
    message = sharing_service_pb2.SharedImage(
        width_px=image.width_px,
        height_px=image.height_px,
        content_type=image.content_type,
        content_url=""
        if link.no_download
        else objects.public_address(await objects.presign_get(shown, SHARED_URL_LIFETIME)),
        thumbnail_url=objects.public_address(await objects.presign_get(keys.thumbnail, SHARED_URL_LIFETIME)),
    )
    message.url_expire_time.FromDatetime(now + SHARED_URL_LIFETIME)
    message.create_time.FromDatetime(image.create_time)
    if link.with_recipe:
        message.recipe.CopyFrom(
            sharing_service_pb2.SharedRecipe(prompt=image.prompt, model_id=image.model_id, seed=image.seed)
        )
    return message


def image_rows(request: import_service_pb2.ImportImagesRequest, create_time: datetime) -> list[Image]:
    """Returns the rows of the pictures that an import brings."""
    return [
        Image(
            image_id=UUID(image.image_id),
            account_id=UUID(request.account_id),
            created_by=UUID(request.created_by),
            job_id=UUID(request.job_id),
            position=position,
            width_px=image.width_px,
            height_px=image.height_px,
            size_bytes=image.size_bytes,
            sha256=image.sha256,
            content_type=image.content_type,
            prompt=request.prompt,
            model_id=request.model_id,
            seed=image.seed,
            create_time=create_time,
            operation=request.operation,
            parent_image_id=UUID(request.parent_image_id) if request.parent_image_id else None,
        )
        for position, image in enumerate(request.images)
    ]


def _id_or_empty(some_id: UUID | None) -> str:
    return "" if some_id is None else str(some_id)
