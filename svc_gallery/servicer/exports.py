"""Serves ExportService: zips of pictures, which tasks make."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import export_pb2, export_service_pb2, export_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.errors import invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_gallery.domain.exports import (
    EXPORT_LIFETIME,
    LARGEST_EXPORT,
    ExportState,
    check_export_room,
    check_selection,
    zip_key,
)
from svc_gallery.domain.images import URL_LIFETIME, ImageFilter, image_not_found
from svc_gallery.servicer.filters import image_filter
from svc_gallery.store import boards, exports, queries
from svc_gallery.store.models import Export


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """Implements pingvas.gallery.v1.ExportService."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        require_room: Callable[[], None],
    ) -> None:
        """Takes the database under the requests role, where zips lie, the maker of page tokens, clock and ids.

        `require_room` raises when a store is full that an export would need.
        """
        self._database = database
        self._objects = objects
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id
        self._require_room = require_room

    async def CreateImageExport(
        self, request: export_service_pb2.CreateImageExportRequest, _context: object
    ) -> export_pb2.ImageExport:
        """Selects pictures and has a zip made of them."""
        account_id, now, key = current_account(), self._now(), idempotency_key(request.request_id)
        async with self._database.transaction(account_id) as transaction:
            await exports.take_turn(transaction, account_id)
            export = await exports.find_request(transaction, account_id, key, now) if key else None
            if export is None:
                self._require_room()
                check_export_room(await exports.count_exports(transaction, account_id, now))
                selected = await self._selected(transaction, account_id, request)
                check_selection(len(selected))
                export = self._new_export(request, account_id, key, len(selected))
                await exports.add_export(transaction, export, selected)
            elif export.request_hash != _hash_of(request):
                raise idempotency_key_reused(key)
        return await self._message(export)

    async def GetImageExport(
        self, request: export_service_pb2.GetImageExportRequest, _context: object
    ) -> export_pb2.ImageExport:
        """Returns one of the caller's exports."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            export = await exports.find_export(transaction, account_id, UUID(request.export_id), self._now())
        return await self._message(export)

    async def ListImageExports(
        self, request: export_service_pb2.ListImageExportsRequest, _context: object
    ) -> export_service_pb2.ListImageExportsResponse:
        """Returns a page of the caller's exports, newest first."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"exports:{account_id}"
        before = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as transaction:
            found = await exports.list_exports(transaction, account_id, self._now(), before=before, limit=size + 1)
        page, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda export: (export.create_time.isoformat(), str(export.export_id))
        )
        messages = [await self._message(export) for export in page]
        return export_service_pb2.ListImageExportsResponse(exports=messages, next_page_token=next_page_token)

    async def DeleteImageExport(
        self, request: export_service_pb2.DeleteImageExportRequest, _context: object
    ) -> export_service_pb2.DeleteImageExportResponse:
        """Lets an export expire now."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            await exports.expire_export(transaction, account_id, UUID(request.export_id), self._now())
        return export_service_pb2.DeleteImageExportResponse()

    async def _selected(
        self, transaction: AsyncSession, account_id: UUID, request: export_service_pb2.CreateImageExportRequest
    ) -> Sequence[UUID]:
        """Returns the ids of what is selected, in the order in which it goes into the zip."""
        if request.WhichOneof("selection") == "images":
            sought = list(map(UUID, request.images.image_ids))
            there = await queries.shown_images(transaction, account_id, sought)
            for image_id in sought:
                if image_id not in there:
                    raise image_not_found(image_id)
            return sought
        if request.search.in_bin:
            raise invalid_field("search.in_bin", "must be absent: what is in the bin can't be exported")
        chosen = image_filter(request.search, account_id)
        if request.board_id:
            chosen = ImageFilter(board_id=UUID(request.board_id))
        if chosen.board_id is not None:
            await boards.find_board(transaction, account_id, chosen.board_id)
        found = await queries.list_images(
            transaction, account_id, chosen, after=None, limit=LARGEST_EXPORT + 1, now=self._now()
        )
        return [image.image_id for image in found]

    def _new_export(
        self, request: export_service_pb2.CreateImageExportRequest, account_id: UUID, key: str, image_count: int
    ) -> Export:
        now = self._now()
        return Export(
            export_id=self._new_id(),
            account_id=account_id,
            created_by=current_user(),
            request_id=key or None,
            request_hash=_hash_of(request),
            state=ExportState.QUEUED,
            with_recipes=request.with_recipes,
            image_count=image_count,
            done_count=0,
            left_out_count=0,
            size_bytes=0,
            attempt=0,
            create_time=now,
            expire_time=now + EXPORT_LIFETIME,
        )

    async def _message(self, export: Export) -> export_pb2.ImageExport:
        message = export_pb2.ImageExport(
            export_id=str(export.export_id),
            state=export.state,  # type: ignore[arg-type]
            image_count=export.image_count,
            done_count=export.done_count,
            left_out_count=export.left_out_count,
            with_recipes=export.with_recipes,
            size_bytes=export.size_bytes,
        )
        message.create_time.FromDatetime(export.create_time)
        message.expire_time.FromDatetime(export.expire_time)
        if export.state == ExportState.READY:
            key = zip_key(export.account_id, export.export_id, export.attempt)
            message.download_url = self._objects.public_address(await self._objects.presign_get(key, URL_LIFETIME))
            message.url_expire_time.FromDatetime(self._now() + URL_LIFETIME)
        return message


def _hash_of(request: export_service_pb2.CreateImageExportRequest) -> bytes:
    """Returns by what a repeated creation is recognised."""
    asked = export_service_pb2.CreateImageExportRequest()
    asked.CopyFrom(request)
    asked.ClearField("request_id")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).digest()
