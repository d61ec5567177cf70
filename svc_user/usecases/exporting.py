"""Makes copies of everything of an account: reads it from all services, writes a zip into the object store, and mails.

Each attempt has a number and an object of its own. A crash leaves a lease that lapses; the next attempt begins anew and deletes
what those before it may have left. What expires is deleted by the sweep: objects first, then rows.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.object_keys import ORIGINAL, image_key
from svc_common.objects import ObjectStore
from svc_common.zip_stream import ZipStream
from svc_user.domain import MailKind
from svc_user.domain.account_exports import (
    EXPORT_LIFETIME,
    FILE_NAME,
    LEASE,
    MOST_PICTURE_BYTES,
    PAUSE,
    README_NAME,
    AccountExportState,
    readme,
    zip_key,
    zip_keys,
)
from svc_user.store import account_exports, outbox
from svc_user.store.models import AccountExport

_log: Final = structlog.get_logger(__name__)

Fetch = Callable[[ExportAccountRequest], Awaitable[AccountPage]]
"""Returns a page of what a service has of an account."""

_PICTURES: Final = "images"
"""The collection whose records have files."""
_CHUNK_BYTES: Final = 1024 * 1024
_A_ROUND: Final = 200


class AccountExportLostError(Exception):
    """Another attempt has begun, or the account is being erased: this attempt has nothing more to say."""


class AccountExporter:
    """Makes copies, one at a time; any number of processes may do so."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        objects: ObjectStore,
        sources: Mapping[str, Fetch],
        announce_mail: Callable[[], None],
        clock: Callable[[], datetime],
        most_picture_bytes: int = MOST_PICTURE_BYTES,
    ) -> None:
        """Takes the database under the tasks role, and who is asked, by the folders of the zip.

        `most_picture_bytes` is how much of pictures a zip takes; the files beyond are left out.
        """
        self._database = tasks_database
        self._objects = objects
        self._sources = sources
        self._announce_mail = announce_mail
        self._clock = clock
        self._most_picture_bytes = most_picture_bytes

    async def make_next(self) -> bool:
        """Makes the copy whose turn it is; returns whether there was one."""
        async with self._database.transaction() as transaction:
            export = await account_exports.claim_export(transaction, self._clock())
        if export is None:
            return False
        try:
            await self._make(export)
        except AccountExportLostError:
            await self._objects.delete([_key(export)])
        except ServiceError as error:
            _log.warning("account_export.postponed", export_id=str(export.export_id), error=str(error))
            async with self._database.transaction() as transaction:
                await account_exports.report(transaction, export, self._clock() + PAUSE)
        return True

    async def delete_expired(self) -> int:
        """Deletes the zips of copies that are over or failed, then says so in their rows; returns how many there were."""
        async with self._database.transaction() as transaction:
            lost = await account_exports.give_up(transaction, self._clock())
            expired = await account_exports.list_expired(transaction, self._clock(), _A_ROUND)
            await account_exports.forget_old(transaction, self._clock())
        for state, rows in ((AccountExportState.FAILED, lost), (AccountExportState.EXPIRED, expired)):
            keys = [key for row in rows for key in zip_keys(row.account_id, row.export_id, row.attempt)]
            if keys:
                await self._objects.delete(keys)
                async with self._database.transaction() as transaction:
                    await account_exports.end_exports(transaction, [row.export_id for row in rows], state)
        return len(lost) + len(expired)

    async def _make(self, export: AccountExport) -> None:
        if earlier := zip_keys(export.account_id, export.export_id, export.attempt - 1):
            await self._objects.delete(earlier)
        file_name = FILE_NAME.format(day=f"{export.create_time:%Y-%m-%d}")
        await self._objects.write_stream(_key(export), self._zip(export), "application/zip", file_name)
        stored = await self._objects.head(_key(export))
        now = self._clock()
        async with self._database.transaction() as transaction:
            is_ours = await account_exports.report(
                transaction,
                export,
                None,
                state=AccountExportState.READY.value,
                size_bytes=stored.size_bytes if stored else 0,
                ready_time=now,
                expire_time=now + EXPORT_LIFETIME,
            )
            if not is_ours:
                raise AccountExportLostError
            # An address that nobody confirmed may be a stranger's. Its owner finds the copy in the studio.
            email = await account_exports.find_confirmed_email(transaction, export.user_id)
            if email is not None:
                await outbox.insert_mail(transaction, export.export_id, email, MailKind.ACCOUNT_EXPORT, now)
        self._announce_mail()
        _log.info("account_export.ready", export_id=str(export.export_id))

    async def _zip(self, export: AccountExport) -> AsyncIterator[bytes]:
        writer = _Writer(export, self._objects, self._most_picture_bytes)
        for folder, fetch in self._sources.items():
            pages = _Pages(fetch, export.account_id)
            page: AccountPage | None = await pages.first()
            while page is not None:
                content = writer.pictures(pages) if page.collection == _PICTURES else writer.records(folder, pages)
                async for grown in content:
                    if pages.has_turned():
                        await self._show_life(export, writer)
                    yield grown
                page = pages.page
        async for grown in writer.readme():
            yield grown
        await self._show_life(export, writer)
        yield writer.zip.end()

    async def _show_life(self, export: AccountExport, writer: "_Writer") -> None:
        counts = {"image_count": writer.image_count, "left_out_count": writer.left_out_count}
        async with self._database.transaction() as transaction:
            if not await account_exports.report(transaction, export, self._clock() + LEASE, **counts):
                raise AccountExportLostError


class _Pages:
    """What a service has of an account, of which one page is in memory."""

    def __init__(self, fetch: Fetch, account_id: UUID) -> None:
        self._fetch = fetch
        self._account_id = str(account_id)
        self._has_turned = False
        self.page: AccountPage | None = None

    async def first(self) -> AccountPage:
        """Returns the first page."""
        self.page = await self._fetch(ExportAccountRequest(account_id=self._account_id))
        self._has_turned = True
        return self.page

    async def records(self) -> AsyncIterator[str]:
        """Yields the records of the present collection, and is then at the next one."""
        page = self.page
        collection = page.collection if page else ""
        while page is not None and page.collection == collection:
            for record in page.records:
                yield record
            token = page.next_page_token
            request = ExportAccountRequest(account_id=self._account_id, page_token=token)
            self.page = page = await self._fetch(request) if token else None
            self._has_turned = True

    def noted(self) -> None:
        """Notes that something happened that takes as long as a page."""
        self._has_turned = True

    def has_turned(self) -> bool:
        """Returns whether a page was turned since the last time."""
        turned, self._has_turned = self._has_turned, False
        return turned


class _Writer:
    """Writes the files of a copy, and counts its pictures."""

    def __init__(self, export: AccountExport, objects: ObjectStore, most_picture_bytes: int) -> None:
        self._export = export
        self._objects = objects
        self._room = most_picture_bytes
        self.zip = ZipStream()
        self.image_count = 0
        self.left_out_count = 0

    async def records(self, folder: str, pages: _Pages) -> AsyncIterator[bytes]:
        """Adds the present collection as a JSON array."""
        name = f"{folder}/{pages.page.collection if pages.page else ''}.json"
        async for grown in self._text(name, _array(pages.records())):
            yield grown

    async def pictures(self, pages: _Pages) -> AsyncIterator[bytes]:
        """Adds each picture of the present collection, with what is known of it beside it."""
        async for record in pages.records():
            image_id = UUID(json.loads(record)["image_id"])
            async for grown in self._text(f"pictures/{image_id}.json", _once(record + "\n")):
                yield grown
            found = await self._objects.open(image_key(self._export.account_id, image_id, ORIGINAL), _CHUNK_BYTES)
            if found is None or found.size_bytes > self._room:
                self.left_out_count += 1
                continue
            self._room -= found.size_bytes
            self.image_count += 1
            pages.noted()
            name = f"pictures/{image_id}.png"
            async for grown in self.zip.entry(name, self._export.create_time, found.size_bytes, found.chunks):
                yield grown

    async def readme(self) -> AsyncIterator[bytes]:
        """Adds what explains the files."""
        text = readme(f"{self._export.create_time:%Y-%m-%d}", self.image_count, self.left_out_count)
        async for grown in self._text(README_NAME, _once(text)):
            yield grown

    async def _text(self, name: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for grown in self.zip.entry(name, self._export.create_time, None, chunks, is_compressed=True):
            yield grown


async def _array(records: AsyncIterator[str]) -> AsyncIterator[bytes]:
    separator = "[\n"
    async for record in records:
        yield f"{separator}{record}".encode()
        separator = ",\n"
    yield b"[]\n" if separator == "[\n" else b"\n]\n"


async def _once(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


def _key(export: AccountExport) -> str:
    return zip_key(export.account_id, export.export_id, export.attempt)
