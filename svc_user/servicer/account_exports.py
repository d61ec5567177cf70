"""Serves AccountExportService: takes requests for copies of everything, and shows them. Making them is a task's."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from pingvas.user.v1 import account_export_service_pb2, account_export_service_pb2_grpc

from svc_common.caller import current_account, current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.objects import ObjectStore
from svc_user.domain.account_exports import DOWNLOAD_LIFETIME, AccountExportState, is_current, zip_key
from svc_user.domain.audit import AuditKind
from svc_user.servicer.proof import OwnerProof
from svc_user.servicer.users import get_caller
from svc_user.store import account_exports
from svc_user.store.models import AccountExport
from svc_user.usecases.audit import AuditTrail

_STATES: Final = {
    AccountExportState.PENDING: account_export_service_pb2.ACCOUNT_EXPORT_STATE_PENDING,
    AccountExportState.READY: account_export_service_pb2.ACCOUNT_EXPORT_STATE_READY,
    AccountExportState.FAILED: account_export_service_pb2.ACCOUNT_EXPORT_STATE_FAILED,
    AccountExportState.EXPIRED: account_export_service_pb2.ACCOUNT_EXPORT_STATE_EXPIRED,
}


class AccountExportServicer(account_export_service_pb2_grpc.AccountExportServiceServicer):
    """Implements pingvas.user.v1.AccountExportService."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        proof: OwnerProof,
        audit: AuditTrail,
        require_room: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role, and what refuses while a store is full."""
        self._database = database
        self._objects = objects
        self._proof = proof
        self._audit = audit
        self._require_room = require_room
        self._clock = clock

    async def ExportMe(
        self, _request: account_export_service_pb2.ExportMeRequest, context: object
    ) -> account_export_service_pb2.AccountExport:
        """Has a copy of everything made, unless there is one of today."""
        account_id, now = current_account(), self._clock()
        async with self._database.transaction(account_id) as transaction:
            user = await get_caller(transaction, current_user())
        await self._proof.require(user, context)
        self._require_room()
        async with self._database.transaction(account_id) as transaction:
            # The lock lets the calls of an account follow each other.
            user = await get_caller(transaction, current_user(), is_locked=True)
            export = await account_exports.find_newest(transaction, account_id)
            if export is None or not is_current(AccountExportState(export.state), export.ready_time, now):
                export = _new_export(user.user_id, user.account_id, now)
                await account_exports.insert_export(transaction, export)
                after = {"export_id": str(export.export_id)}
                await self._audit.add(transaction, AuditKind.ACCOUNT_EXPORT_REQUESTED, account_id, after=after)
        return await self._message(export)

    async def GetMyExport(
        self, _request: account_export_service_pb2.GetMyExportRequest, _context: object
    ) -> account_export_service_pb2.AccountExport:
        """Returns the caller's newest copy."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            export = await account_exports.find_newest(transaction, account_id)
        return await self._message(export)

    async def _message(self, export: AccountExport | None) -> account_export_service_pb2.AccountExport:
        if export is None:
            none = account_export_service_pb2.ACCOUNT_EXPORT_STATE_NONE
            return account_export_service_pb2.AccountExport(state=none)
        state = AccountExportState(export.state)
        message = account_export_service_pb2.AccountExport(
            export_id=str(export.export_id),
            state=_STATES[state],
            image_count=export.image_count,
            left_out_count=export.left_out_count,
            size_bytes=export.size_bytes,
        )
        message.create_time.FromDatetime(export.create_time)
        if export.expire_time is None:
            return message
        message.expire_time.FromDatetime(export.expire_time)
        left = export.expire_time - self._clock()
        if state is AccountExportState.READY and left.total_seconds() >= 1:
            key = zip_key(export.account_id, export.export_id, export.attempt)
            url = await self._objects.presign_get(key, min(left, DOWNLOAD_LIFETIME))
            message.download_url = self._objects.public_address(url)
        elif state is AccountExportState.READY:
            # Its time is over; the sweep deletes it within a minute.
            message.state = account_export_service_pb2.ACCOUNT_EXPORT_STATE_EXPIRED
        return message


def _new_export(user_id: UUID, account_id: UUID, now: datetime) -> AccountExport:
    return AccountExport(
        export_id=new_id(),
        account_id=account_id,
        user_id=user_id,
        state=AccountExportState.PENDING.value,
        attempt=0,
        image_count=0,
        left_out_count=0,
        size_bytes=0,
        create_time=now,
    )
