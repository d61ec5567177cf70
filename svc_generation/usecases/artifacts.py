"""The objects of an attempt: where its pictures go, where it finds what it works on, and whether what it reports is there."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from pingvas.worker.v1 import worker_service_pb2 as worker

from svc_common.errors import Reason, ServiceError
from svc_common.object_keys import METADATA, ORIGINAL, THUMBNAIL, image_key
from svc_common.objects import ObjectStore
from svc_generation.domain.objects import OBJECT_NAMES, SOURCE_LIFETIME, UPLOAD_LIFETIME

_SMALL_BYTES: Final = 64 * 1024
"""So many are hashed in a fraction of a millisecond: the way to another thread and back takes longer under load."""


class Artifacts:
    """Signs the addresses of objects, and looks at those that workers have put."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the object store."""
        self._objects = objects

    async def slot(self, account_id: UUID, image_id: UUID) -> worker.UploadSlot:
        """Returns the addresses to put one picture's objects to."""
        urls = [
            await self._objects.presign_put(image_key(account_id, image_id, name), UPLOAD_LIFETIME)
            for name in OBJECT_NAMES
        ]
        original, thumbnail, metadata = urls
        return worker.UploadSlot(
            image_id=str(image_id), original_url=original, thumbnail_url=thumbnail, metadata_url=metadata
        )

    async def source_address(self, key: str | None) -> str:
        """Returns the address of what a job works on, or "" for nothing."""
        return "" if key is None else await self._objects.presign_get(key, SOURCE_LIFETIME)

    async def check(self, account_id: UUID, images: Iterable[worker.ReportedImage]) -> None:
        """Reads each object back and compares size and SHA-256 with the report: what was acknowledged must be there.

        Raises:
            ServiceError: ARTIFACT_MISSING, ARTIFACT_MISMATCH.
        """
        checks = [
            self._check_object(image_key(account_id, UUID(image.image_id), name), reported)
            for image in images
            for name, reported in ((ORIGINAL, image.original), (THUMBNAIL, image.thumbnail), (METADATA, image.metadata))
        ]
        await asyncio.gather(*checks)

    async def _check_object(self, key: str, reported: worker.ReportedObject) -> None:
        data = await self._objects.read(key)
        if data is None:
            raise ServiceError(Reason.ARTIFACT_MISSING, "An object was not uploaded.", metadata={"key": key})
        sha256 = _sha256(data) if len(data) <= _SMALL_BYTES else await asyncio.to_thread(_sha256, data)
        if len(data) != reported.size_bytes or sha256 != reported.sha256:
            raise ServiceError(
                Reason.ARTIFACT_MISMATCH, "A stored object differs from the report.", metadata={"key": key}
            )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
