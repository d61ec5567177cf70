"""Puts the parts of own LoRAs together: claims one, streams its parts into one object, and checks what goes through.

Each attempt has a number and an object of its own. A crash leaves a lease that lapses; the next attempt begins anew. What
was checked before may have been put anew since, so the header is examined once more in the bytes that become the file.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

import structlog

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.objects import ObjectStore
from svc_models.domain.lora_check import LoraFacts, LoraRefusedError, examine, holds_header
from svc_models.domain.lora_keys import file_key
from svc_models.domain.loras import CONTENT_TYPE, FILE_NAME, LEASE, UPLOAD_LIFETIME, LoraState
from svc_models.store import loras
from svc_models.store.models import OwnLora
from svc_models.usecases.lora_uploads import UploadedParts

_log: Final = structlog.get_logger(__name__)

_GIVEN_UP: Final = "The file could not be put together. Upload it again."


class LoraLostError(Exception):
    """Another attempt has begun, or the LoRA was deleted: this attempt has nothing more to say."""


class _Passing:
    """Examines and hashes what passes through."""

    def __init__(self, lora: OwnLora) -> None:
        self._lora = lora
        self._beginning = bytearray()
        self._digest = hashlib.sha256()
        self._facts: LoraFacts | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def facts(self) -> LoraFacts:
        if self._facts is None:
            raise LookupError("the header hasn't passed yet")
        return self._facts

    async def take(self, chunk: bytes) -> None:
        """Takes the next bytes; raises LoraRefusedError as soon as the header tells that the file can't be applied."""
        self._digest.update(chunk)
        if self._facts is None:
            self._beginning += chunk
            if holds_header(self._beginning):
                await self._examine()

    async def end(self) -> None:
        """Examines a file that ended within what it calls its header."""
        if self._facts is None:
            await self._examine()

    async def _examine(self) -> None:
        lora, beginning = self._lora, bytes(self._beginning)
        self._facts = await asyncio.to_thread(examine, beginning, lora.size_bytes, lora.family)
        self._beginning.clear()


class LoraAssembler:
    """Puts own LoRAs together, one at a time; any number of processes may do so."""

    def __init__(self, *, database: Database, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        """Takes the tasks' database, which shows the LoRAs of every account."""
        self._database = database
        self._objects = objects
        self._parts = UploadedParts(objects)
        self._now = now

    async def make_next(self) -> bool:
        """Puts the LoRA together whose turn it is; returns whether there was one."""
        async with self._database.transaction() as transaction:
            lora = await loras.claim_lora(transaction, self._now())
        if lora is None:
            return False
        try:
            await self._make(lora)
        except LoraRefusedError as refusal:
            await self._refuse(lora, str(refusal))
        except LoraLostError:
            await self._objects.delete([self._key(lora)])
        except ServiceError as error:
            if error.reason is Reason.LORA_PARTS_MISSING:
                await self._refuse(lora, error.message)
            else:
                # A store is away: the lease lapses, and another attempt follows.
                _log.warning("lora.interrupted", lora_id=str(lora.lora_id), error=str(error))
        return True

    async def give_up(self) -> int:
        """Refuses LoRAs whose attempts have all been lost."""
        async with self._database.transaction() as transaction:
            lost = await loras.list_given_up(transaction, self._now())
            for lora in lost:
                refuse(lora, _GIVEN_UP, self._now())
        return len(lost)

    async def _make(self, lora: OwnLora) -> None:
        passing = _Passing(lora)
        await self._objects.write_stream(self._key(lora), self._content(lora, passing), CONTENT_TYPE, FILE_NAME)
        await self._report(lora, state=LoraState.READY, sha256=passing.sha256, **facts_columns(passing.facts))
        _log.info("lora.ready", lora_id=str(lora.lora_id), size_bytes=lora.size_bytes)

    async def _content(self, lora: OwnLora, passing: _Passing) -> AsyncIterator[bytes]:
        renew = self._now() + LEASE / 4
        async for chunk in self._parts.content(lora):
            await passing.take(chunk)
            if self._now() >= renew:
                await self._report(lora)
                renew = self._now() + LEASE / 4
            yield chunk
        await passing.end()

    async def _refuse(self, lora: OwnLora, refusal: str) -> None:
        expire_time = self._now() + UPLOAD_LIFETIME
        async with self._database.transaction() as transaction:
            await loras.report(
                transaction, lora, self._now(), state=LoraState.REFUSED, refusal=refusal, expire_time=expire_time
            )

    async def _report(self, lora: OwnLora, **values: object) -> None:
        async with self._database.transaction() as transaction:
            if not await loras.report(transaction, lora, self._now(), **values):
                raise LoraLostError

    def _key(self, lora: OwnLora) -> str:
        return file_key(lora.account_id, lora.lora_id, lora.attempt)


def refuse(lora: OwnLora, refusal: str, now: datetime) -> None:
    """Changes a row to that of a refused LoRA, which is shown for a while."""
    lora.state, lora.refusal, lora.expire_time = LoraState.REFUSED, refusal, now + UPLOAD_LIFETIME


def facts_columns(facts: LoraFacts) -> dict[str, int]:
    """Returns what a row says of a header."""
    return {
        "module_count": facts.module_count,
        "unmatched_module_count": facts.unmatched_module_count,
        "rank": facts.rank,
    }
