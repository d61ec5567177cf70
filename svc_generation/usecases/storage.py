"""Asks svc_gallery whether an account's storage leaves it free to make new jobs, and remembers the answer for a while.

Only a refusal by the gallery refuses a job. A gallery that is away takes nobody's jobs, as pictures can wait for it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog
from pingvas.gallery.v1 import storage_service_pb2, storage_service_pb2_grpc

from svc_common.clients import CallError
from svc_common.errors import Reason, ServiceError

_log: Final = structlog.get_logger(__name__)

LIFETIME_SECONDS: Final = 60.0
"""How long an account that was free to go on isn't asked about again. Refusals aren't remembered: they end at once."""
_PATIENCE_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
"""For so long nobody asks a gallery that has failed, so that an outage costs one call a second its patience."""
_KEPT: Final = 20_000


class StorageGate:
    """Refuses jobs of accounts whose pictures take more than their tiers store, once the warning is over."""

    def __init__(
        self,
        gallery: "storage_service_pb2_grpc.StorageServiceAsyncStub",
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the internal stub and a clock that never goes back."""
        self._gallery = gallery
        self._monotonic_seconds = monotonic_seconds
        self._free_until: OrderedDict[UUID, float] = OrderedDict()
        self._away_until = float("-inf")

    async def check(self, account_id: UUID) -> None:
        """Lets an account pass that may make jobs.

        Raises:
            ServiceError: STORAGE_QUOTA_EXCEEDED.
        """
        now = self._monotonic_seconds()
        if now < max(self._away_until, self._free_until.get(account_id, now)):
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._gallery.CheckStorage(storage_service_pb2.CheckStorageRequest(account_id=str(account_id)))
        except (ServiceError, CallError, TimeoutError) as error:
            if isinstance(error, ServiceError) and error.reason is Reason.STORAGE_QUOTA_EXCEEDED:
                raise
            self._away_until = self._monotonic_seconds() + _PAUSE_SECONDS
            _log.warning("storage.unknown", account_id=str(account_id), error=repr(error))
            return
        self._free_until[account_id] = now + LIFETIME_SECONDS
        self._free_until.move_to_end(account_id)
        if len(self._free_until) > _KEPT:
            self._free_until.popitem(last=False)
