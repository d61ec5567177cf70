"""Serves LineageService: which pictures were made from which."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from pingvas.gallery.v1 import lineage_service_pb2, lineage_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.db import Database
from svc_common.objects import ObjectStore
from svc_gallery.domain.images import image_not_found
from svc_gallery.messages.images import image_message
from svc_gallery.store import lineage, queries

_MOST_DESCENDANTS: Final = 200


class LineageServicer(lineage_service_pb2_grpc.LineageServiceServicer):
    """Implements pingvas.gallery.v1.LineageService."""

    def __init__(self, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the database under the requests role, where the bytes lie, and the clock."""
        self._database = database
        self._objects = objects
        self._now = now

    async def GetImageLineage(
        self, request: lineage_service_pb2.GetImageLineageRequest, _context: object
    ) -> lineage_service_pb2.ImageLineage:
        """Returns the pictures around one of the caller's pictures."""
        account_id, image_id, now = current_account(), UUID(request.image_id), self._now()
        async with self._database.transaction(account_id) as transaction:
            if await queries.find_image_or_deleted(transaction, account_id, image_id, now) is None:
                raise image_not_found(image_id)
            above = await lineage.ancestors(transaction, account_id, image_id)
            below = await lineage.descendants(transaction, account_id, image_id, _MOST_DESCENDANTS + 1)
        return lineage_service_pb2.ImageLineage(
            image_id=request.image_id,
            ancestors=[await image_message(image, self._objects, now) for image in above],
            descendants=[await image_message(image, self._objects, now) for image in below[:_MOST_DESCENDANTS]],
            has_more_descendants=len(below) > _MOST_DESCENDANTS,
        )
