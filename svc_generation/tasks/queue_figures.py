"""Shows the queue to Prometheus, and by health whether there are workers.

Each replica shows the same figures; whoever adds them up takes the largest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from grpc_health.v1.health_pb2 import HealthCheckResponse
from prometheus_client import Gauge

from svc_common.concurrency import is_set_within
from svc_common.health_names import WORKERS_HEALTH
from svc_common.queue import JobQueue, WorkerPresence
from svc_common.redis_client import REDIS_ERRORS

_LOOK_SECONDS: Final = 5.0

_JOBS: Final = Gauge("queue_jobs", "Jobs that Redis has, waiting or running.", ("tier", "state"))
_WORKERS: Final = Gauge("workers_present", "Workers that were heard of lately.")

_log: Final = structlog.get_logger(__name__)


async def show_queue(
    queue: JobQueue,
    presence: WorkerPresence,
    tell: Callable[[str, int], Awaitable[None]],
    stop: asyncio.Event,
) -> None:
    """Looks every few seconds until the event is set; while Redis is away the last figures stay.

    `tell` sets the health of a name.
    """
    while True:
        try:
            has_workers = await look(queue, presence) > 0
            await tell(WORKERS_HEALTH, HealthCheckResponse.SERVING if has_workers else HealthCheckResponse.NOT_SERVING)
        except REDIS_ERRORS as error:
            _log.warning("queue.not_shown", error=repr(error))
        if await is_set_within(stop, _LOOK_SECONDS):
            return


async def look(queue: JobQueue, presence: WorkerPresence) -> int:
    """Looks once, and returns how many workers there are; raises a Redis error while Redis is away."""
    for tier, depth in (await queue.depths()).items():
        _JOBS.labels(tier, "waiting").set(depth.waiting)
        _JOBS.labels(tier, "running").set(depth.running)
    worker_count = len(await presence.workers())
    _WORKERS.set(worker_count)
    return worker_count
