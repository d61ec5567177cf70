"""Owns the look into a bucket with models: whether a revision's files are there, and presigned addresses of them."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from svc_common.objects import ObjectStore
from svc_models.domain.manifest import ManifestFile
from svc_models.domain.storage import Located, model_not_stored

_ADDRESS_LIFETIME: Final = timedelta(hours=1)
_HEADS_AT_ONCE: Final = 8
# Workers that start together ask for the same model; what is stored is hardly ever taken away.
_REMEMBERED: Final = timedelta(seconds=30)


class StoredFiles:
    """Locates the files of revisions."""

    def __init__(
        self,
        bucket: ObjectStore,
        now: Callable[[], datetime],
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the models bucket, the time of day for expiry, and a clock that never goes back for what is remembered."""
        self._bucket = bucket
        self._now = now
        self._monotonic_seconds = monotonic_seconds
        self._stored_until: dict[str, float] = {}

    async def locate(self, model_id: str, folder: str, files: Iterable[ManifestFile]) -> Located:
        """Returns an address for each file below a folder of the bucket, good for an hour.

        Raises:
            ServiceError: MODEL_NOT_STORED, DEPENDENCY_UNAVAILABLE.
        """
        wanted = {f"{folder}/{file.path}": file for file in files}
        # The addresses are as old as this when they are given out.
        expire_time = self._now() + _ADDRESS_LIFETIME
        await self._see(model_id, folder, wanted)
        addresses = {file.path: await self._bucket.presign_get(key, _ADDRESS_LIFETIME) for key, file in wanted.items()}
        return Located(addresses, expire_time)

    async def _see(self, model_id: str, folder: str, wanted: dict[str, ManifestFile]) -> None:
        """Looks whether every file is there with its size; a file of another size is one that is being replaced."""
        started = self._monotonic_seconds()
        if started < self._stored_until.get(folder, 0.0):
            return
        free = asyncio.Semaphore(_HEADS_AT_ONCE)

        async def is_stored(key: str, file: ManifestFile) -> bool:
            async with free:
                stored = await self._bucket.head(key)
            return stored is not None and stored.size_bytes == file.size_bytes

        found = await asyncio.gather(*(is_stored(key, file) for key, file in wanted.items()))
        for file, is_there in zip(wanted.values(), found, strict=True):
            if not is_there:
                raise model_not_stored(model_id, file.path)
        self._stored_until[folder] = started + _REMEMBERED.total_seconds()
