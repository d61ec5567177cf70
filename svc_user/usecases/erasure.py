"""Erases accounts whose time is over: what other services have of them first, then their rows here.

The row of the user goes last. So whatever dies in between, the next round finds the account again and begins from the start,
where each service that is done has nothing left to do.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from pingvas.gallery.v1 import gallery_erasure_service_pb2_grpc
from pingvas.gallery.v1.gallery_erasure_service_pb2 import EraseGalleryRequest
from pingvas.generation.v1 import job_erasure_service_pb2_grpc
from pingvas.generation.v1.job_erasure_service_pb2 import EraseJobsRequest
from pingvas.models.v1 import lora_erasure_service_pb2_grpc
from pingvas.models.v1.lora_erasure_service_pb2 import EraseLorasRequest

from svc_common.db import Database
from svc_user.store import account_exports, deletions

_log: Final = structlog.get_logger()

_A_ROUND: Final = 20
_MOST_PARTS: Final = 1000
"""A service that isn't done after so many calls, as when jobs are still being stopped, is asked again in the next round."""
_MARGIN: Final = timedelta(minutes=1)
"""Clocks of replicas differ: one must not erase what another still lets its owner keep."""


class Erasure:
    """Erases the accounts that are due."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        jobs: "job_erasure_service_pb2_grpc.JobErasureServiceAsyncStub",
        loras: "lora_erasure_service_pb2_grpc.LoraErasureServiceAsyncStub",
        gallery: "gallery_erasure_service_pb2_grpc.GalleryErasureServiceAsyncStub",
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the tasks role and the other services' stubs."""
        self._tasks_database = tasks_database
        self._jobs = jobs
        self._loras = loras
        self._gallery = gallery
        self._clock = clock

    async def erase_due(self) -> int:
        """Erases accounts whose time is over, and tells how many are done."""
        async with self._tasks_database.transaction() as transaction:
            due = await deletions.list_due(transaction, self._clock() - _MARGIN, _A_ROUND)
        return sum([await self._erase(account_id) for account_id in due])

    async def _erase(self, account_id: UUID) -> bool:
        """Erases an account and tells whether nothing of it is left.

        Jobs go first: they use LoRAs and put pictures into the gallery, which erases every object of the account at the end.
        Before that nobody may write a copy of everything any more, which is such an object.
        """
        account = str(account_id)
        async with self._tasks_database.transaction() as transaction:
            if await account_exports.stop_exports(transaction, account_id, self._clock()):
                return False
        if not await _until_done(lambda: self._jobs.EraseJobs(EraseJobsRequest(account_id=account))):
            return False
        if not await _until_done(lambda: self._loras.EraseLoras(EraseLorasRequest(account_id=account))):
            return False
        if not await _until_done(lambda: self._gallery.EraseGallery(EraseGalleryRequest(account_id=account))):
            return False
        async with self._tasks_database.transaction() as transaction:
            await deletions.erase_account(transaction, account_id, self._clock())
        _log.info("account.erased", account_id=account)
        return True


async def _until_done(erase_part: Callable[[], Awaitable[object]]) -> bool:
    for _ in range(_MOST_PARTS):
        if not (await erase_part()).has_more:  # type: ignore[attr-defined]
            return True
    return False
