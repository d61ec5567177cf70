"""Serves GalleryService: the caller's own pictures, and places to put others to."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias
from uuid import UUID

from pingvas.gallery.v1 import gallery_service_pb2, gallery_service_pb2_grpc, image_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.limits.allowances import Allowances
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens, page_size
from svc_gallery.domain.images import BIN_LIFETIME, ImageCursor, clean_tags, image_not_found
from svc_gallery.domain.search import searched_for
from svc_gallery.domain.storage import check_overage
from svc_gallery.domain.uploads import UPLOAD_LIFETIME, check_count, check_quota
from svc_gallery.messages.images import batch_message, image_message, upload_message
from svc_gallery.servicer.filters import image_filter
from svc_gallery.store import boards, queries, storage, uploads
from svc_gallery.store.models import Upload

_Change: TypeAlias = Callable[[AsyncSession, UUID, Sequence[UUID]], Awaitable[Collection[UUID]]]
"""Changes pictures of an account and returns the ids of those that it found."""


class GalleryServicer(gallery_service_pb2_grpc.GalleryServiceServicer):
    """Implements pingvas.gallery.v1.GalleryService."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        page_tokens: PageTokens,
        allowances: Allowances,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        require_room: Callable[[], None],
    ) -> None:
        """Takes the database under the requests role, where the bytes lie, the maker of page tokens, quotas, clock and ids.

        `require_room` raises when a store is full that an upload would need.
        """
        self._database = database
        self._objects = objects
        self._page_tokens = page_tokens
        self._allowances = allowances
        self._now = now
        self._new_id = new_id
        self._require_room = require_room

    async def ListImages(
        self, request: gallery_service_pb2.ListImagesRequest, _context: object
    ) -> gallery_service_pb2.ListImagesResponse:
        """Returns a page of the caller's pictures, newest first."""
        account_id, now = current_account(), self._now()
        chosen = image_filter(request, account_id)
        scope = chosen.scope(account_id)
        after = self._place(request.page_token, scope)
        size = page_size(request.page_size)
        async with self._database.transaction(account_id) as transaction:
            if chosen.board_id is not None:
                await boards.find_board(transaction, account_id, chosen.board_id)
            # One more than the page holds tells whether another page follows.
            found = await queries.list_images(transaction, account_id, chosen, after=after, limit=size + 1, now=now)
        images, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda image: ImageCursor(image.create_time, image.image_id).parts()
        )
        messages = [await image_message(image, self._objects, now) for image in images]
        return gallery_service_pb2.ListImagesResponse(images=messages, next_page_token=next_page_token)

    async def GetImage(self, request: gallery_service_pb2.GetImageRequest, _context: object) -> image_pb2.Image:
        """Returns one of the caller's pictures."""
        account_id, image_id, now = current_account(), UUID(request.image_id), self._now()
        async with self._database.transaction(account_id) as transaction:
            image = await queries.find_image_or_deleted(transaction, account_id, image_id, now)
        if image is None:
            raise image_not_found(image_id)
        return await image_message(image, self._objects, now)

    async def UpdateImage(self, request: gallery_service_pb2.UpdateImageRequest, _context: object) -> image_pb2.Image:
        """Changes what the owner says of a picture."""
        account_id, image_id = current_account(), UUID(request.image_id)
        tags = clean_tags(request.tags.values) if request.HasField("tags") else None
        async with self._database.transaction(account_id) as transaction:
            image = await queries.lock_image(transaction, account_id, image_id)
            if image is None:
                raise image_not_found(image_id)
            image.title = request.title if request.HasField("title") else image.title
            image.note = request.note if request.HasField("note") else image.note
            image.rating = request.rating if request.HasField("rating") else image.rating
            image.tags = image.tags if tags is None else tags
            lexemes = searched_for(account_id, [image.prompt, image.title, image.note], image.tags)
            await queries.write_search(transaction, account_id, image_id, lexemes)
        return await image_message(image, self._objects, self._now())

    async def StarImage(self, request: gallery_service_pb2.StarImageRequest, _context: object) -> image_pb2.Image:
        """Stars a picture."""
        return await self._changed(request.image_id, partial(queries.star_images, starred=True))

    async def UnstarImage(self, request: gallery_service_pb2.UnstarImageRequest, _context: object) -> image_pb2.Image:
        """Takes the star from a picture."""
        return await self._changed(request.image_id, partial(queries.star_images, starred=False))

    async def DeleteImage(self, request: gallery_service_pb2.DeleteImageRequest, _context: object) -> image_pb2.Image:
        """Puts a picture into the bin, or deletes it for good."""
        return await self._changed(request.image_id, self._deletion(permanently=request.permanently))

    async def RestoreImage(self, request: gallery_service_pb2.RestoreImageRequest, _context: object) -> image_pb2.Image:
        """Takes a picture out of the bin."""
        return await self._changed(request.image_id, partial(queries.restore_images, now=self._now()))

    async def BatchStarImages(
        self, request: gallery_service_pb2.BatchStarImagesRequest, _context: object
    ) -> gallery_service_pb2.BatchImagesResponse:
        """Stars pictures, or takes their stars."""
        return await self._batch(request.image_ids, partial(queries.star_images, starred=not request.unstar))

    async def BatchDeleteImages(
        self, request: gallery_service_pb2.BatchDeleteImagesRequest, _context: object
    ) -> gallery_service_pb2.BatchImagesResponse:
        """Puts pictures into the bin, or deletes them for good."""
        return await self._batch(request.image_ids, self._deletion(permanently=request.permanently))

    async def BatchRestoreImages(
        self, request: gallery_service_pb2.BatchRestoreImagesRequest, _context: object
    ) -> gallery_service_pb2.BatchImagesResponse:
        """Takes pictures out of the bin."""
        return await self._batch(request.image_ids, partial(queries.restore_images, now=self._now()))

    async def CreateUpload(
        self, request: gallery_service_pb2.CreateUploadRequest, _context: object
    ) -> gallery_service_pb2.Upload:
        """Opens an upload; its row is there before anybody can put bytes to it."""
        account_id, now, key = current_account(), self._now(), idempotency_key(request.request_id)
        quota_bytes = (await self._allowances.exactly(account_id)).storage_bytes
        async with self._database.transaction(account_id) as transaction:
            await uploads.take_turn(transaction, account_id)
            upload = await uploads.find_request(transaction, account_id, key) if key else None
            if upload is None:
                self._require_room()
                open_uploads = await uploads.open_uploads(transaction, account_id, now)
                check_count(open_uploads, now)
                check_overage(await storage.note_overage(transaction, account_id, quota_bytes, now), now)
                stored_bytes = await queries.stored_bytes(transaction, account_id)
                check_quota(request.size_bytes, open_uploads, stored_bytes, quota_bytes)
                upload = self._new_upload(request, account_id, key, now)
                transaction.add(upload)
        if (upload.content_type, upload.size_bytes) != (request.content_type, request.size_bytes):
            raise idempotency_key_reused(key)
        return await upload_message(upload, self._objects, now)

    def _deletion(self, *, permanently: bool) -> _Change:
        now = self._now()
        return partial(queries.delete_images, now=now, purge_time=now if permanently else now + BIN_LIFETIME)

    async def _changed(self, image_id: str, change: _Change) -> image_pb2.Image:
        """Changes one picture of the caller and returns it as it is then."""
        account_id, now, sought = current_account(), self._now(), UUID(image_id)
        async with self._database.transaction(account_id) as transaction:
            # Before the change: what is deleted for good can't be read afterwards.
            image = await queries.find_image_or_deleted(transaction, account_id, sought, now)
            if image is None or sought not in await change(transaction, account_id, [sought]):
                raise image_not_found(sought)
            await transaction.refresh(image)
            return await image_message(image, self._objects, now)

    async def _batch(self, image_ids: Sequence[str], change: _Change) -> gallery_service_pb2.BatchImagesResponse:
        """Changes pictures of the caller in one transaction, and tells of each whether it was there."""
        account_id, sought = current_account(), list(map(UUID, image_ids))
        async with self._database.transaction(account_id) as transaction:
            return batch_message(sought, await change(transaction, account_id, sought))

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
