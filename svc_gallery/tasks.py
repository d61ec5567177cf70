"""Deletes uploads and exports that have expired and pictures that are gone for good, with their bytes, and makes exports."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import structlog
from pingvas.user.v1 import account_notice_service_pb2, account_notice_service_pb2_grpc

from svc_common.db import Database
from svc_common.limits.allowances import Allowances
from svc_common.object_keys import upload_key
from svc_common.objects import ObjectStore
from svc_common.sweeps import Sweep
from svc_gallery.domain.images import object_keys
from svc_gallery.domain.storage import Overage
from svc_gallery.store import boards, queries, storage, uploads
from svc_gallery.usecases.exporting import Exporter

_log: Final = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(minutes=1)
_PAGE: Final = 500
_CHECK_EVERY: Final = timedelta(hours=1)
"""How long after a downgrade the owner is warned at the latest; who makes a job or looks at the usage is so at once."""
_LOOK_SECONDS: Final = 1.0
"""How soon a new export is found."""


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


class ImagePurger:
    """Owns the sweep of pictures whose time in the bin is over."""

    def __init__(self, *, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the tasks' database, which shows the pictures of every account."""
        self._database = database
        self._objects = objects
        self._now = now

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweep with its interval."""
        return (Sweep("gallery.purge_images", _INTERVAL, self.purge),)

    async def purge(self) -> int:
        """Deletes pictures that are gone for good, the bytes before the rows, as those of uploads."""
        count = 0
        while True:
            now = self._now()
            async with self._database.transaction() as transaction:
                page = await queries.list_purged(transaction, now, _PAGE)
            if not page:
                return count
            keys = [key for row in page for key in object_keys(row.account_id, row.image_id).all()]
            await self._objects.delete(keys)
            async with self._database.transaction() as transaction:
                await boards.hold_boards_of(transaction, [row.image_id for row in page])
                await queries.delete_purged(transaction, [row.image_id for row in page], now)
            count += len(page)


class OverageWatcher:
    """Owns the sweep that finds accounts whose pictures take more than their tiers store, and tells their owners."""

    def __init__(
        self,
        *,
        database: Database,
        allowances: Allowances,
        people: "account_notice_service_pb2_grpc.AccountNoticeServiceAsyncStub",
        now: Callable[[], datetime],
    ) -> None:
        """Takes the tasks' database, which shows what the pictures of every account take, quotas, and who writes mails."""
        self._database = database
        self._allowances = allowances
        self._people = people
        self._now = now

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweep with its interval."""
        return (Sweep("gallery.watch_storage", _INTERVAL, self.watch),)

    async def watch(self) -> int:
        """Looks at the accounts that weren't looked at for an hour, and sends the mails that are due."""
        return await self._check() + await self._mail()

    async def _check(self) -> int:
        count = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await storage.list_unchecked(transaction, self._now() - _CHECK_EVERY, _PAGE)
            if not page:
                return count
            for account_id in page:
                quota_bytes = (await self._allowances.exactly(account_id)).storage_bytes
                async with self._database.transaction() as transaction:
                    now = self._now()
                    await storage.note_overage(transaction, account_id, quota_bytes, now)
                    await storage.note_check(transaction, account_id, now)
            count += len(page)

    async def _mail(self) -> int:
        """Sends mails until none is due; one that fails ends the round, and goes out with the next."""
        count = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await storage.list_unmailed(transaction, _PAGE)
            if not page:
                return count
            for account_id, image_bytes, since in page:
                quota_bytes = (await self._allowances.exactly(account_id)).storage_bytes
                overage = Overage(since, image_bytes, quota_bytes)
                await self._people.SendAccountMail(_overage_mail(account_id, overage))
                async with self._database.transaction() as transaction:
                    await storage.note_mail(transaction, account_id, since, self._now())
            count += len(page)


def _overage_mail(account_id: UUID, overage: Overage) -> account_notice_service_pb2.SendAccountMailRequest:
    """Writes what the mail is about; its id is that of the overage, so that a repetition is known as one."""
    letter = account_notice_service_pb2.StorageOverageLetter(
        image_bytes=overage.image_bytes, quota_bytes=overage.quota_bytes
    )
    letter.stop_time.FromDatetime(overage.stop_time)
    return account_notice_service_pb2.SendAccountMailRequest(
        request_id=str(uuid5(account_id, overage.since.isoformat())),
        account_id=str(account_id),
        letter=account_notice_service_pb2.AccountLetter(storage_overage=letter),
    )


class ExportMaker:
    """Makes exports in the background, and owns the sweep of those that have expired."""

    def __init__(self, exporter: Exporter) -> None:
        """Takes what makes one."""
        self._exporter = exporter

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweep with its interval."""
        return (Sweep("gallery.delete_expired_exports", _INTERVAL, self._exporter.delete_expired),)

    async def run(self) -> None:
        """Makes exports until it is cancelled; one that is being made then is taken up when its lease is over."""
        while True:
            if not await self._made_one():
                await asyncio.sleep(_LOOK_SECONDS)

    async def _made_one(self) -> bool:
        try:
            return await self._exporter.make_next()
        except Exception as error:  # noqa: BLE001 - one export that fails must not keep the others waiting
            _log.error("export.failed", exc_info=error)
            return False
