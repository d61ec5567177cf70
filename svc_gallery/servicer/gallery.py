"""Serves GalleryService: the caller's own pictures, and places to put others to."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import gallery_service_pb2, gallery_service_pb2_grpc, image_pb2

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens, page_size
from svc_gallery.domain.images import ImageCursor, image_not_found
from svc_gallery.domain.uploads import UPLOAD_LIFETIME, check_room
from svc_gallery.servicer.messages import image_message, upload_message
from svc_gallery.store import queries, uploads
from svc_gallery.store.models import Upload


class GalleryServicer(gallery_service_pb2_grpc.GalleryServiceServicer):
    """Implements pingvas.gallery.v1.GalleryService."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the database under the requests role, where the bytes lie, the maker of page tokens, clock and ids."""
        self._database = database
        self._objects = objects
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id

    async def ListImages(
        self, request: gallery_service_pb2.ListImagesRequest, _context: object
    ) -> gallery_service_pb2.ListImagesResponse:
        """Returns a page of the caller's pictures, newest first."""
        account_id = current_account()
        job_id = UUID(request.job_id) if request.job_id else None
        scope = f"images:{account_id}:{job_id}"
        after = self._place(request.page_token, scope)
        size = page_size(request.page_size)
        async with self._database.transaction(account_id) as transaction:
            # One more than the page holds tells whether another page follows.
            found = await queries.list_images(transaction, account_id, job_id=job_id, after=after, limit=size + 1)
        images, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda image: ImageCursor(image.create_time, image.image_id).parts()
        )
        now = self._now()
        messages = [await image_message(image, self._objects, now) for image in images]
        return gallery_service_pb2.ListImagesResponse(images=messages, next_page_token=next_page_token)

    async def GetImage(self, request: gallery_service_pb2.GetImageRequest, _context: object) -> image_pb2.Image:
        """Returns one of the caller's pictures."""
        account_id, image_id = current_account(), UUID(request.image_id)
        async with self._database.transaction(account_id) as transaction:
            image = await queries.find_image(transaction, account_id, image_id)
        if image is None:
            raise image_not_found(image_id)
        return await image_message(image, self._objects, self._now())

    async def CreateUpload(
        self, request: gallery_service_pb2.CreateUploadRequest, _context: object
    ) -> gallery_service_pb2.Upload:
        """Opens an upload; its row is there before anybody can put bytes to it."""
        account_id, now, key = current_account(), self._now(), idempotency_key(request.request_id)
        async with self._database.transaction(account_id) as transaction:
            await uploads.take_turn(transaction, account_id)
            upload = await uploads.find_request(transaction, account_id, key) if key else None
            if upload is None:
                check_room(*await uploads.count_open(transaction, account_id, now), now)
                upload = self._new_upload(request, account_id, key, now)
                transaction.add(upload)
        if (upload.content_type, upload.size_bytes) != (request.content_type, request.size_bytes):
            raise idempotency_key_reused(key)
        return await upload_message(upload, self._objects, now)

    def _new_upload(
        self, request: gallery_service_pb2.CreateUploadRequest, account_id: UUID, key: str, now: datetime
    ) -> Upload:
        return Upload(
            upload_id=self._new_id(),
            account_id=account_id,
            created_by=current_user(),
            request_id=key or None,
            content_type=request.content_type,
            size_bytes=request.size_bytes,
            create_time=now,
            expire_time=now + UPLOAD_LIFETIME,
        )

    def _place(self, page_token: str, scope: str) -> ImageCursor | None:
        return ImageCursor.from_parts(*self._page_tokens.decode(page_token, scope)) if page_token else None
