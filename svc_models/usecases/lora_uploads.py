"""Looks at the uploads of own LoRAs: which parts are there, and whether the file can be applied."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from svc_common.objects import ObjectStore
from svc_models.domain.lora_check import LoraFacts, examine, holds_header
from svc_models.domain.lora_keys import part_key, parts_prefix
from svc_models.domain.loras import Part, parts_missing, parts_of
from svc_models.store.models import OwnLora

_CHUNK_BYTES: Final = 1024 * 1024


class UploadedParts:
    """Reads the parts of uploads."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the store of the parts."""
        self._objects = objects

    async def missing(self, lora: OwnLora) -> Sequence[Part]:
        """Returns the parts that aren't there, or have another size, in the order of the file."""
        prefix = parts_prefix(lora.account_id, lora.lora_id)
        there = {stored.key: stored.size_bytes async for stored in self._objects.list_prefix(prefix)}
        return [part for part in parts_of(lora.size_bytes) if there.get(self._key(lora, part)) != part.size_bytes]

    async def examine(self, lora: OwnLora) -> LoraFacts:
        """Examines a file by its first part, of which no more is read than the header.

        Raises:
            ServiceError: LORA_PARTS_MISSING, DEPENDENCY_UNAVAILABLE.
            LoraRefusedError: the file can't be applied.
        """
        first = next(parts_of(lora.size_bytes))
        beginning = bytearray()
        async for chunk in self._read(lora, first):
            beginning += chunk
            if holds_header(beginning):
                break
        return await asyncio.to_thread(examine, bytes(beginning), lora.size_bytes, lora.family)

    async def content(self, lora: OwnLora) -> AsyncIterator[bytes]:
        """Yields the bytes of all parts in their order.

        Raises:
            ServiceError: LORA_PARTS_MISSING, DEPENDENCY_UNAVAILABLE.
        """
        for part in parts_of(lora.size_bytes):
            async for chunk in self._read(lora, part):
                yield chunk

    async def _read(self, lora: OwnLora, part: Part) -> AsyncIterator[bytes]:
        found = await self._objects.open(self._key(lora, part), _CHUNK_BYTES)
        if found is None or found.size_bytes != part.size_bytes:
            raise parts_missing(lora.lora_id, part)
        async for chunk in found.chunks:
            yield chunk

    def _key(self, lora: OwnLora, part: Part) -> str:
        return part_key(lora.account_id, lora.lora_id, part)
