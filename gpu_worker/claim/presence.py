"""Says every few seconds that this worker is there, what it has loaded and what it does."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client import Gauge

from svc_common.concurrency import is_set_within
from svc_common.queue import WorkerPresence, WorkerReport
from svc_common.queue.presence import REPORT_SECONDS
from svc_common.redis_client import REDIS_ERRORS

_MEMORY: Final = Gauge("gpu_memory_bytes", "Memory of the GPU; 0 without one.", ("kind",))

_log: Final = structlog.get_logger(__name__)


class Presence:
    """This worker's reports."""

    def __init__(
        self,
        presence: WorkerPresence,
        *,
        worker_id: str,
        loaded_models: Callable[[], Collection[str]],
        job_ids: Callable[[], Collection[str]],
        device_memory: Callable[[], tuple[int, int]],
        stop: Callable[[], None],
    ) -> None:
        """Takes what it reports of; `device_memory` returns the used and all bytes of the device, or zeros.

        `stop` is called when an operator asks for the worker's end, and sets the event that ends `run`.
        """
        self._presence = presence
        self._worker_id = worker_id
        self._loaded_models = loaded_models
        self._job_ids = job_ids
        self._device_memory = device_memory
        self._stop = stop
        self._start_time_ms = int(time.time() * 1000)
        self._last_job_id = ""

    async def run(self, stopping: asyncio.Event) -> None:
        """Reports until the event is set, then takes the report back; the loss of one is harmless."""
        while True:
            try:
                if await self._presence.report(self._report()):
                    _log.info("worker.drained", worker_id=self._worker_id)
                    self._stop()
            except REDIS_ERRORS as error:
                _log.warning("worker.not_reported", error=repr(error))
            if await is_set_within(stopping, REPORT_SECONDS):
                break
        with suppress(*REDIS_ERRORS):
            await self._presence.withdraw(self._worker_id)

    def _report(self) -> WorkerReport:
        jobs = tuple(self._job_ids())
        self._last_job_id = jobs[-1] if jobs else self._last_job_id
        used, total = self._device_memory()
        _MEMORY.labels("used").set(used)
        _MEMORY.labels("total").set(total)
        return WorkerReport(
            worker_id=self._worker_id,
            start_time_ms=self._start_time_ms,
            loaded_models=tuple(sorted(self._loaded_models())),
            job_ids=jobs,
            last_job_id=self._last_job_id,
            device_memory_used_bytes=used,
            device_memory_bytes=total,
        )
