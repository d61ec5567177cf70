"""Deletes uploads that have expired, and their bytes."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from svc_common.db import Database
from svc_common.objects import ObjectStore
from svc_common.sweeps import Sweep
from svc_gallery.domain.uploads import upload_key
from svc_gallery.store import uploads

_INTERVAL: Final = timedelta(minutes=1)
_PAGE: Final = 500


class UploadSweeper:
    """Owns the sweep of uploads."""

    def __init__(self, *, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the tasks' database, which shows the uploads of every account."""
        self._database = database
        self._objects = objects
        self._now = now

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweep with its interval."""
        return (Sweep("gallery.delete_expired_uploads", _INTERVAL, self.delete_expired),)

    async def delete_expired(self) -> int:
        """Deletes expired uploads, the bytes before the rows: nothing is left behind that no row tells of."""
        count = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await uploads.list_expired(transaction, self._now(), _PAGE)
            if not page:
                return count
            await self._objects.delete([upload_key(row.account_id, row.upload_id) for row in page])
            async with self._database.transaction() as transaction:
                await uploads.delete_uploads(transaction, [row.upload_id for row in page])
            count += len(page)
