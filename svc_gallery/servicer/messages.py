"""Turns rows of the gallery into messages of `pingvas.gallery.v1`, and imports into rows."""

from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import gallery_service_pb2, image_pb2, import_service_pb2

from svc_common.objects import ObjectStore
from svc_gallery.domain.images import URL_LIFETIME, object_keys
from svc_gallery.domain.uploads import PUT_LIFETIME, upload_key
from svc_gallery.store.models import Image, Upload


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
        content_url=objects.public_address(await objects.presign_get(keys.original, URL_LIFETIME)),
        thumbnail_url=objects.public_address(await objects.presign_get(keys.thumbnail, URL_LIFETIME)),
    )
    message.url_expire_time.FromDatetime(now + URL_LIFETIME)
    message.create_time.FromDatetime(image.create_time)
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
        )
        for position, image in enumerate(request.images)
    ]
