"""Serves LibraryService: what a gallery holds as a whole."""

from collections.abc import Callable
from datetime import datetime

from pingvas.gallery.v1 import library_service_pb2, library_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.db import Database
from svc_common.limits.allowances import Allowances
from svc_common.paging import PageTokens, page_size
from svc_gallery.store import library, queries, storage, uploads


class LibraryServicer(library_service_pb2_grpc.LibraryServiceServicer):
    """Implements pingvas.gallery.v1.LibraryService."""

    def __init__(
        self, database: Database, page_tokens: PageTokens, allowances: Allowances, now: Callable[[], datetime]
    ) -> None:
        """Takes the database under the requests role, the maker of page tokens, quotas and the clock."""
        self._database = database
        self._page_tokens = page_tokens
        self._allowances = allowances
        self._now = now

    async def GetStorageUsage(
        self, _request: library_service_pb2.GetStorageUsageRequest, _context: object
    ) -> library_service_pb2.StorageUsage:
        """Returns how much the caller's gallery holds."""
        account_id, now = current_account(), self._now()
        quota_bytes = (await self._allowances.exactly(account_id)).storage_bytes
        async with self._database.transaction(account_id) as transaction:
            image_count, bin_count = await library.count_images(transaction, account_id)
            image_bytes = await queries.stored_bytes(transaction, account_id)
            open_uploads = await uploads.open_uploads(transaction, account_id, now)
            overage = await storage.note_overage(transaction, account_id, quota_bytes, now)
        usage = library_service_pb2.StorageUsage(
            image_count=image_count,
            bin_count=bin_count,
            image_bytes=image_bytes,
            upload_bytes=open_uploads.size_bytes,
            quota_bytes=quota_bytes,
        )
        if overage is not None:
            usage.overage_stop_time.FromDatetime(overage.stop_time)
        return usage

    async def ListTags(
        self, request: library_service_pb2.ListTagsRequest, _context: object
    ) -> library_service_pb2.ListTagsResponse:
        """Returns a page of the caller's tags."""
        account_id, size = current_account(), page_size(request.page_size)
        scope, after = f"tags:{account_id}", ""
        if request.page_token:
            (after,) = self._page_tokens.decode(request.page_token, scope)
        async with self._database.transaction(account_id) as transaction:
            found = await library.list_tags(transaction, account_id, after=after, limit=size + 1)
        page, next_page_token = self._page_tokens.cut(found, size, scope, lambda row: (row[0],))
        return library_service_pb2.ListTagsResponse(
            tags=[library_service_pb2.TagCount(tag=row[1], image_count=row[2]) for row in page],
            next_page_token=next_page_token,
        )
