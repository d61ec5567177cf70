"""Puts own LoRAs together in the background, and deletes what nobody needs any more: objects before rows."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from svc_common.db import Database
from svc_common.object_keys import lora_prefix
from svc_common.objects import ObjectStore
from svc_common.sweeps import Sweep
from svc_models.domain.lora_keys import parts_prefix
from svc_models.store import loras
from svc_models.usecases.assembling import LoraAssembler

_log: Final = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(minutes=1)
_PAGE: Final = 100
_LOOK_SECONDS: Final = 1.0
"""How soon a complete upload is found."""


class LoraTasks:
    """Owns the background work and the sweeps of own LoRAs."""

    def __init__(self, *, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the tasks' database, which shows the LoRAs of every account, the store of their bytes, and the clock."""
        self._database = database
        self._objects = objects
        self._assembler = LoraAssembler(database=database, objects=objects, now=now)
        self._now = now

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweeps with their intervals."""
        return (
            Sweep("models.give_up_loras", _INTERVAL, self._assembler.give_up),
            Sweep("models.delete_lora_parts", _INTERVAL, self.delete_parts),
            Sweep("models.delete_loras", _INTERVAL, self.delete_loras),
        )

    async def run(self) -> None:
        """Puts LoRAs together until it is cancelled; one that is being made then is taken up when its lease is over."""
        while True:
            if not await self._made_one():
                await asyncio.sleep(_LOOK_SECONDS)

    async def delete_parts(self) -> int:
        """Deletes the parts of uploads that have become a file, or were refused."""
        count = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await loras.list_with_parts(transaction, self._now(), _PAGE)
            if not page:
                return count
            for lora in page:
                await self._delete_below(parts_prefix(lora.account_id, lora.lora_id))
            async with self._database.transaction() as transaction:
                await loras.forget_parts(transaction, [lora.lora_id for lora in page])
            count += len(page)

    async def delete_loras(self) -> int:
        """Deletes LoRAs that their owners deleted, and uploads that have expired."""
        async with self._database.transaction() as transaction:
            await loras.delete_expired(transaction, self._now())
        count = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await loras.list_deleted(transaction, self._now(), _PAGE)
            if not page:
                return count
            for lora in page:
                await self._delete_below(lora_prefix(lora.account_id, lora.lora_id))
            async with self._database.transaction() as transaction:
                await loras.delete_loras(transaction, [lora.lora_id for lora in page])
            count += len(page)

    async def _delete_below(self, prefix: str) -> None:
        # A LoRA has 64 parts and a few files at most.
        if keys := [stored.key async for stored in self._objects.list_prefix(prefix)]:
            await self._objects.delete(keys)

    async def _made_one(self) -> bool:
        try:
            return await self._assembler.make_next()
        except Exception as error:  # noqa: BLE001 - one LoRA that fails must not keep the others waiting
            _log.error("lora.failed", exc_info=error)
            return False
