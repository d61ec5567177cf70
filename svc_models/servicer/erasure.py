"""Serves LoraErasureService: erases the own LoRAs of accounts that are deleted."""

from typing import Final
from uuid import UUID

from pingvas.models.v1 import lora_erasure_service_pb2, lora_erasure_service_pb2_grpc

from svc_common.db import Database
from svc_common.object_keys import loras_prefix
from svc_common.objects import ObjectStore
from svc_models.store import loras

_OBJECTS_A_PART: Final = 500


class LoraErasureServicer(lora_erasure_service_pb2_grpc.LoraErasureServiceServicer):
    """Implements pingvas.models.v1.LoraErasureService."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        """Takes the database under the tasks role, which may delete, and the store of the bytes."""
        self._database = database
        self._objects = objects

    async def EraseLoras(
        self, request: lora_erasure_service_pb2.EraseLorasRequest, _context: object
    ) -> lora_erasure_service_pb2.EraseLorasResponse:
        """Erases a part of an account's objects, or its rows when there is no object left."""
        account_id = UUID(request.account_id)
        keys: list[str] = []
        async for found in self._objects.list_prefix(loras_prefix(account_id)):
            keys.append(found.key)
            if len(keys) == _OBJECTS_A_PART:
                break
        if keys:
            await self._objects.delete(keys)
            return lora_erasure_service_pb2.EraseLorasResponse(has_more=True)
        async with self._database.transaction() as session:
            await loras.delete_account(session, account_id)
        return lora_erasure_service_pb2.EraseLorasResponse()
