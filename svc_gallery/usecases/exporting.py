"""Makes the zips of exports: claims one, streams its pictures into the object store, and says how far it is.

Each attempt has a number and an object of its own. A crash leaves a lease that lapses; the next attempt begins anew and deletes
what those before it may have left. What expires is deleted by the sweep: objects first, then rows.
"""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Row

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.objects import ObjectStore, OpenObject
from svc_common.zip_stream import ZipStream
from svc_gallery.domain.exports import EXPORT_LIFETIME, ExportState, FileNames, zip_key, zip_keys
from svc_gallery.domain.images import object_keys
from svc_gallery.store import exports
from svc_gallery.store.models import Export, Image

_log: Final = structlog.get_logger(__name__)

_CHUNK_BYTES: Final = 1024 * 1024
_PAGE: Final = 200


class ExportLostError(Exception):
    """Another attempt has begun, or the export was deleted: this attempt has nothing more to say."""


class Exporter:
    """Makes exports, one at a time; any number of processes may do so."""

    def __init__(self, *, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the tasks' database, which shows the exports of every account."""
        self._database = database
        self._objects = objects
        self._now = now

    async def make_next(self) -> bool:
        """Makes the export whose turn it is; returns whether there was one."""
        async with self._database.transaction() as transaction:
            export = await exports.claim_export(transaction, self._now())
        if export is None:
            return False
        try:
            await self._make(export)
        except ExportLostError:
            await self._objects.delete([self._key(export)])
        except ServiceError as error:
            # A store is away: the lease lapses, and another attempt follows.
            _log.warning("export.interrupted", export_id=str(export.export_id), error=str(error))
        return True

    async def delete_expired(self) -> int:
        """Deletes exports that have expired, the zips before the rows: nothing is left behind that no row tells of."""
        async with self._database.transaction() as transaction:
            count = await exports.give_up(transaction, self._now())
        while True:
            async with self._database.transaction() as transaction:
                page = await exports.list_expired(transaction, self._now(), _PAGE)
            if not page:
                return count
            keys = [key for row in page for key in zip_keys(row.account_id, row.export_id, row.attempt)]
            if keys:
                await self._objects.delete(keys)
            async with self._database.transaction() as transaction:
                await exports.delete_exports(transaction, [row.export_id for row in page])
            count += len(page)

    async def _make(self, export: Export) -> None:
        if earlier := zip_keys(export.account_id, export.export_id, export.attempt - 1):
            await self._objects.delete(earlier)
        key = self._key(export)
        file_name = f"pingvas-{export.create_time:%Y-%m-%d}-{export.image_count}.zip"
        await self._objects.write_stream(key, self._zip(export), "application/zip", file_name)
        stored = await self._objects.head(key)
        size_bytes = stored.size_bytes if stored else 0
        await self._report(
            export, state=ExportState.READY, size_bytes=size_bytes, expire_time=self._now() + EXPORT_LIFETIME
        )

    async def _zip(self, export: Export) -> AsyncIterator[bytes]:
        stream, names, position, left_out = ZipStream(), FileNames(), -1, 0
        while page := await self._page(export, position):
            for row in page:
                position, image = row[0], row[1]
                found = (
                    None if image is None else await self._open(object_keys(image.account_id, image.image_id).original)
                )
                if image is None or found is None:
                    left_out += 1
                else:
                    async for grown in self._picture(stream, names, image, found, with_recipe=export.with_recipes):
                        yield grown
                await self._report(export, done_count=position + 1, left_out_count=left_out)
        yield stream.end()

    async def _picture(
        self, stream: ZipStream, names: FileNames, image: Image, original: OpenObject, *, with_recipe: bool
    ) -> AsyncIterator[bytes]:
        """Adds a picture and, if it is wanted, its recipe; yields what the zip has grown by."""
        stem = names.stem_for(image.title or image.prompt, image.seed)
        async for grown in stream.entry(f"{stem}.png", image.create_time, original.size_bytes, original.chunks):
            yield grown
        recipe = await self._open(object_keys(image.account_id, image.image_id).metadata) if with_recipe else None
        if recipe is not None:
            async for grown in stream.entry(f"{stem}.json", image.create_time, recipe.size_bytes, recipe.chunks):
                yield grown

    async def _open(self, key: str) -> OpenObject | None:
        return await self._objects.open(key, _CHUNK_BYTES)

    async def _page(self, export: Export, after: int) -> "list[Row[int, Image]]":
        async with self._database.transaction() as transaction:
            return list(await exports.selected_images(transaction, export, after, _PAGE))

    async def _report(self, export: Export, **values: object) -> None:
        async with self._database.transaction() as transaction:
            if not await exports.report(transaction, export, self._now(), **values):
                raise ExportLostError

    def _key(self, export: Export) -> str:
        return zip_key(export.account_id, export.export_id, export.attempt)
