"""Serves SourceService: looking at pictures that jobs work on."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import source_service_pb2, source_service_pb2_grpc

from svc_common.db import Database
from svc_common.object_keys import upload_key
from svc_common.objects import ObjectStore, OpenObject
from svc_gallery.domain.images import object_keys
from svc_gallery.domain.picture_head import PictureHead, read_head
from svc_gallery.domain.uploads import (
    CHUNK_BYTES,
    check_source,
    check_source_bytes,
    source_not_found,
)
from svc_gallery.servicer.masks import MaskChecker
from svc_gallery.store import queries, uploads


class SourceServicer(source_service_pb2_grpc.SourceServiceServicer):
    """Implements pingvas.gallery.v1.SourceService."""

    def __init__(self, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the database under the requests role, since a source is one account's, the bytes, and the clock."""
        self._database = database
        self._objects = objects
        self._now = now
        self._masks = MaskChecker(objects)

    async def ResolveSource(
        self, request: source_service_pb2.ResolveSourceRequest, _context: object
    ) -> source_service_pb2.Source:
        """Returns what a picture or an upload of an account is."""
        account_id = UUID(request.account_id)
        if request.HasField("image_id"):
            source = await self._image(account_id, UUID(request.image_id))
        else:
            source = await self._upload(account_id, UUID(request.upload_id))
        if request.is_mask:
            await self._masks.check(source)
        return source

    async def _image(self, account_id: UUID, image_id: UUID) -> source_service_pb2.Source:
        """Answers by the row alone: type, size and SHA-256 of a picture that we made were checked when it came in."""
        async with self._database.transaction(account_id) as transaction:
            image = await queries.find_image(transaction, account_id, image_id)
        if image is None:
            raise source_not_found("image_id", image_id)
        head = PictureHead(image.content_type, image.width_px, image.height_px)
        return _checked(object_keys(account_id, image_id).original, image.size_bytes, head)

    async def _upload(self, account_id: UUID, upload_id: UUID) -> source_service_pb2.Source:
        async with self._database.transaction(account_id) as transaction:
            upload = await uploads.find_upload(transaction, account_id, upload_id, self._now())
        key = upload_key(account_id, upload_id)
        found = await self._objects.open(key, CHUNK_BYTES) if upload else None
        if found is None:
            raise source_not_found("upload_id", upload_id)
        check_source_bytes(found.size_bytes)
        return _checked(key, found.size_bytes, await _head(found))


async def _head(found: OpenObject) -> PictureHead:
    """Reads on as far as the head goes, and keeps no more of it than is asked for.

    A reading asks forward only, so one stream answers it. It isn't done by ranges, which S3 servers are at variance
    about; see `ObjectStore.open`.
    """
    reading, start, window = read_head(), 0, bytearray()
    try:
        at, length = next(reading)
        while True:
            while at + length > start + len(window):
                if at > start:
                    passed = min(at - start, len(window))
                    start, window = start + passed, window[passed:]
                chunk = await anext(found.chunks, b"")
                if not chunk:
                    break
                window += chunk
            at, length = reading.send(bytes(window[max(0, at - start) : max(0, at - start + length)]))
    except StopIteration as end:
        head: PictureHead = end.value
        return head


def _checked(key: str, size_bytes: int, head: PictureHead) -> source_service_pb2.Source:
    check_source(size_bytes, head)
    return source_service_pb2.Source(
        object_key=key,
        width_px=head.width_px,
        height_px=head.height_px,
        size_bytes=size_bytes,
        content_type=head.content_type,
    )
