"""Serves StorageService: whether an account's pictures leave it free to make more."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import storage_service_pb2, storage_service_pb2_grpc

from svc_common.db import Database
from svc_common.limits.allowances import Allowances
from svc_gallery.domain.storage import check_overage
from svc_gallery.store import storage


class StorageServicer(storage_service_pb2_grpc.StorageServiceServicer):
    """Implements pingvas.gallery.v1.StorageService."""

    def __init__(self, database: Database, allowances: Allowances, now: Callable[[], datetime]) -> None:
        """Takes the database under the requests role, quotas and the clock."""
        self._database = database
        self._allowances = allowances
        self._now = now

    async def CheckStorage(
        self, request: storage_service_pb2.CheckStorageRequest, _context: object
    ) -> storage_service_pb2.CheckStorageResponse:
        """Refuses an account that was above its quota for longer than the warning."""
        account_id, now = UUID(request.account_id), self._now()
        quota_bytes = (await self._allowances.exactly(account_id)).storage_bytes
        async with self._database.transaction(account_id) as transaction:
            overage = await storage.note_overage(transaction, account_id, quota_bytes, now)
        check_overage(overage, now)
        return storage_service_pb2.CheckStorageResponse()
