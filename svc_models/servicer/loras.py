"""Serves LoraService: the LoRAs that accounts have of their own."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pingvas.generation.v1.model_use_service_pb2 import CountLoraJobsRequest
from pingvas.models.v1 import lora_pb2, lora_service_pb2, lora_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.entitlements import Entitlements
from svc_common.errors import invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.lora_files.names import DENOISERS
from svc_common.objects import ObjectStore
from svc_common.own_models import own_lora_id, own_model_id
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_common.tiers import tier_name
from svc_models.domain.access import model_not_found
from svc_models.domain.lora_check import LoraRefusedError, lora_invalid
from svc_models.domain.lora_keys import part_key
from svc_models.domain.loras import (
    CONTENT_TYPE,
    UPLOAD_LIFETIME,
    LoraState,
    address_expiry,
    check_count,
    lora_in_use,
    parts_missing,
    state_conflict,
)
from svc_models.messages.loras import lora_message, place_of
from svc_models.store import loras
from svc_models.store.models import OwnLora
from svc_models.usecases.assembling import facts_columns, refuse
from svc_models.usecases.lora_uploads import UploadedParts

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.generation.v1.model_use_service_pb2_grpc import ModelUseServiceAsyncStub

_FILTER: Final = "loras"


class LoraServicer(lora_service_pb2_grpc.LoraServiceServicer):
    """Implements pingvas.models.v1.LoraService."""

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        entitlements: Entitlements,
        jobs: "ModelUseServiceAsyncStub",
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        require_room: Callable[[], None],
    ) -> None:
        """Takes the database under the requests role, the store of accounts' objects, and what knows the jobs."""
        self._database = database
        self._objects = objects
        self._parts = UploadedParts(objects)
        self._entitlements = entitlements
        self._jobs = jobs
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id
        self._require_room = require_room

    async def CreateLora(
        self, request: lora_service_pb2.CreateLoraRequest, _context: object
    ) -> lora_service_pb2.LoraUpload:
        """Opens an upload; its row is there before anybody can put bytes to it."""
        account_id, now, key = current_account(), self._now(), idempotency_key(request.request_id)
        if request.family not in DENOISERS:
            raise invalid_field("family", f"has no LoRAs; those of {', '.join(sorted(DENOISERS))} can be applied")
        entitlement = await self._entitlements.of(account_id)
        async with self._database.transaction(account_id) as transaction:
            await loras.take_turn(transaction, account_id)
            lora = await loras.find_request(transaction, account_id, key, now) if key else None
            if lora is None:
                self._require_room()
                count = await loras.count_loras(transaction, account_id, now)
                check_count(count, entitlement.limits.own_loras, tier_name(entitlement.tier))
                lora = self._new_lora(request, account_id, key, now)
                await loras.add_lora(transaction, lora)
        if not _is_of(lora, request):
            raise idempotency_key_reused(key)
        return await self._upload_message(lora, now)

    async def GetLoraUpload(
        self, request: lora_service_pb2.GetLoraUploadRequest, _context: object
    ) -> lora_service_pb2.LoraUpload:
        """Returns fresh addresses, and notes until when somebody may put parts."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as transaction:
            lora = await self._found(transaction, account_id, request.model_id, now, for_update=True)
            _require_uploading(lora)
            lora.address_expire_time = address_expiry(now, lora.expire_time)
        return await self._upload_message(lora, now)

    async def CheckLora(self, request: lora_service_pb2.CheckLoraRequest, _context: object) -> lora_pb2.Lora:
        """Examines a file by its first part, and keeps what was found."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as transaction:
            lora = await self._found(transaction, account_id, request.model_id, now)
        _require_uploading(lora)
        return await self._examined(lora, LoraState.UPLOADING)

    async def CompleteLora(self, request: lora_service_pb2.CompleteLoraRequest, _context: object) -> lora_pb2.Lora:
        """Hands a complete file over to be put together."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as transaction:
            lora = await self._found(transaction, account_id, request.model_id, now)
        if lora.state in {LoraState.ASSEMBLING, LoraState.READY}:
            return lora_message(lora)
        _require_uploading(lora)
        if missing := await self._parts.missing(lora):
            raise parts_missing(lora.lora_id, missing[0])
        return await self._examined(lora, LoraState.ASSEMBLING)

    async def GetLora(self, request: lora_service_pb2.GetLoraRequest, _context: object) -> lora_pb2.Lora:
        """Returns one LoRA of the caller's own."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            return lora_message(await self._found(transaction, account_id, request.model_id, self._now()))

    async def ListLoras(
        self, request: lora_service_pb2.ListLorasRequest, _context: object
    ) -> lora_service_pb2.ListLorasResponse:
        """Returns a page of the caller's own LoRAs, with what the tier allows."""
        account_id, now, size = current_account(), self._now(), page_size(request.page_size)
        token = request.page_token
        before = moment_and_id(self._page_tokens.decode(token, _FILTER)) if token else None
        limit = (await self._entitlements.of(account_id)).limits.own_loras
        async with self._database.transaction(account_id) as transaction:
            found = await loras.list_loras(transaction, account_id, now, before=before, limit=size + 1)
            count = await loras.count_loras(transaction, account_id, now)
        page, next_token = self._page_tokens.cut(found, size, _FILTER, place_of)
        return lora_service_pb2.ListLorasResponse(
            loras=[lora_message(lora) for lora in page], next_page_token=next_token, limit=limit, count=count
        )

    async def DeleteLora(
        self, request: lora_service_pb2.DeleteLoraRequest, _context: object
    ) -> lora_service_pb2.DeleteLoraResponse:
        """Marks a LoRA as deleted, unless jobs need it; the sweep deletes its objects and its row."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as transaction:
            lora = await self._found(transaction, account_id, request.model_id, now)
        if lora.state == LoraState.READY:
            asked = CountLoraJobsRequest(account_id=str(account_id), model_id=request.model_id)
            if job_count := (await self._jobs.CountLoraJobs(asked)).job_count:
                raise lora_in_use(lora.lora_id, job_count)
        async with self._database.transaction(account_id) as transaction:
            lora = await self._found(transaction, account_id, request.model_id, now, for_update=True)
            lora.state = LoraState.DELETED
        return lora_service_pb2.DeleteLoraResponse()

    async def _found(
        self, transaction: AsyncSession, account_id: UUID, model_id: str, now: datetime, *, for_update: bool = False
    ) -> OwnLora:
        lora_id = own_lora_id(model_id)
        lora = lora_id and await loras.find_lora(transaction, account_id, lora_id, now, for_update=for_update)
        if not lora:
            raise model_not_found(model_id)
        return lora

    async def _examined(self, seen: OwnLora, state: LoraState) -> lora_pb2.Lora:
        """Examines a file and writes what was found, or its refusal, unless the LoRA has changed meanwhile."""
        refusal = None
        try:
            changes = {"state": state, **facts_columns(await self._parts.examine(seen))}
        except LoraRefusedError as error:
            refusal, changes = error, {}
        async with self._database.transaction(seen.account_id) as transaction:
            model_id, now = own_model_id(seen.lora_id), self._now()
            lora = await self._found(transaction, seen.account_id, model_id, now, for_update=True)
            if lora.state == LoraState.UPLOADING:
                if refusal is not None:
                    refuse(lora, str(refusal), now)
                for column, value in changes.items():
                    setattr(lora, column, value)
        if refusal is not None:
            raise lora_invalid(seen.lora_id, refusal)
        return lora_message(lora)

    def _new_lora(
        self, request: lora_service_pb2.CreateLoraRequest, account_id: UUID, key: str, now: datetime
    ) -> OwnLora:
        expire_time = now + UPLOAD_LIFETIME
        return OwnLora(
            lora_id=self._new_id(),
            account_id=account_id,
            created_by=current_user(),
            request_id=key or None,
            display_name=request.display_name,
            family=request.family,
            trigger_words=list(request.trigger_words),
            size_bytes=request.size_bytes,
            state=LoraState.UPLOADING,
            address_expire_time=address_expiry(now, expire_time),
            create_time=now,
            expire_time=expire_time,
        )

    async def _upload_message(self, lora: OwnLora, now: datetime) -> lora_service_pb2.LoraUpload:
        message = lora_service_pb2.LoraUpload(lora=lora_message(lora), content_type=CONTENT_TYPE)
        message.put_expire_time.FromDatetime(lora.address_expire_time)
        if lora.state != LoraState.UPLOADING:
            return message
        lifetime = lora.address_expire_time - now
        for part in await self._parts.missing(lora):
            key = part_key(lora.account_id, lora.lora_id, part)
            url = await self._objects.presign_upload(key, CONTENT_TYPE, part.size_bytes, lifetime, now)
            message.parts.add(
                offset_bytes=part.offset_bytes,
                size_bytes=part.size_bytes,
                put_url=self._objects.public_address(url),
            )
        return message


def _require_uploading(lora: OwnLora) -> None:
    if lora.state != LoraState.UPLOADING:
        raise state_conflict(lora.lora_id, LoraState(lora.state))


def _is_of(lora: OwnLora, request: lora_service_pb2.CreateLoraRequest) -> bool:
    kept = (lora.display_name, lora.family, lora.size_bytes, lora.trigger_words)
    return kept == (request.display_name, request.family, request.size_bytes, list(request.trigger_words))
