"""Serves GalleryErasureService: erases pictures and all else of accounts that are deleted."""

from typing import Final
from uuid import UUID

from pingvas.gallery.v1 import gallery_erasure_service_pb2, gallery_erasure_service_pb2_grpc

from svc_common.db import Database
from svc_common.object_keys import account_prefix
from svc_common.objects import ObjectStore
from svc_gallery.store import erasure

_OBJECTS_A_PART: Final = 500


class GalleryErasureServicer(gallery_erasure_service_pb2_grpc.GalleryErasureServiceServicer):
    """Implements pingvas.gallery.v1.GalleryErasureService."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        """Takes the database under the tasks role, which may delete, and the store of the bytes."""
        self._database = database
        self._objects = objects

    async def EraseGallery(
        self, request: gallery_erasure_service_pb2.EraseGalleryRequest, _context: object
    ) -> gallery_erasure_service_pb2.EraseGalleryResponse:
        """Erases a part of an account's objects, or its rows when there is no object left."""
        account_id = UUID(request.account_id)
        keys: list[str] = []
        async for found in self._objects.list_prefix(account_prefix(account_id)):
            keys.append(found.key)
            if len(keys) == _OBJECTS_A_PART:
                break
        if keys:
            await self._objects.delete(keys)
            return gallery_erasure_service_pb2.EraseGalleryResponse(has_more=True)
        async with self._database.transaction() as session:
            await erasure.delete_account(session, account_id)
        return gallery_erasure_service_pb2.EraseGalleryResponse()
