"""Owns which workers there are: each says so every few seconds, and whoever falls silent is soon forgotten.

A hint like all of Redis: when it is lost, the next reports bring it back. Workers report; the service that owns the jobs
reads, for the number of workers that it asks for and for its operators.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from redis.asyncio import Redis

from svc_common.queue.keys import Key

REPORT_SECONDS: Final = 5.0
_DRAIN_MS: Final = 60_000
"""As long as a worker that Redis can't be reached from may take to hear of it."""
SILENCE_MS: Final = 20_000
"""Three reports may be lost; a worker that says nothing for longer isn't counted."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself."""

    worker_id: str
    start_time_ms: int
    """When it began to take jobs, in milliseconds since the epoch."""
    loaded_models: tuple[str, ...] = ()
    """Ids of the models that it could run at once, in alphabetical order."""
    job_ids: tuple[str, ...] = ()
    """Jobs that it has in hand."""
    last_job_id: str = ""
    """The job that it took last; empty: none yet."""
    device_memory_used_bytes: int = 0
    device_memory_bytes: int = 0
    """Memory of its device, 0 where it has none of its own."""
    seen_time_ms: int = 0
    """When it was last heard of, by Redis' clock; set by whoever reads."""


class WorkerPresence:
    """The workers of one queue. Raises redis.exceptions.RedisError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        """Uses the queue's Redis."""
        self._redis = redis

    async def report(self, report: WorkerReport) -> bool:
        """Says that a worker is there; tells whether it is asked to end."""
        content = json.dumps(asdict(report), separators=(",", ":"))
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(Key.WORKER + report.worker_id, content, px=SILENCE_MS)
            pipeline.zadd(Key.WORKERS, {report.worker_id: await self._now_ms()})
            pipeline.exists(Key.DRAIN + report.worker_id)
            return bool((await pipeline.execute())[-1])

    async def drain(self, worker_id: str) -> bool:
        """Asks a worker to end; returns False when no such worker was heard of lately."""
        if not await self._redis.exists(Key.WORKER + worker_id):
            return False
        await self._redis.set(Key.DRAIN + worker_id, "1", px=_DRAIN_MS)
        return True

    async def withdraw(self, worker_id: str) -> None:
        """Says that a worker takes no more jobs."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(Key.WORKER + worker_id)
            pipeline.zrem(Key.WORKERS, worker_id)
            # Who starts anew under the same name isn't meant any more.
            pipeline.delete(Key.DRAIN + worker_id)
            await pipeline.execute()

    async def workers(self) -> Sequence[WorkerReport]:
        """Returns the workers that were heard of lately, by id, and forgets the others."""
        await self._redis.zremrangebyscore(Key.WORKERS, "-inf", await self._now_ms() - SILENCE_MS)
        seen = await self._redis.zrange(Key.WORKERS, 0, -1, withscores=True)
        if not seen:
            return ()
        contents = await self._redis.mget([Key.WORKER + _text(worker_id) for worker_id, _ in seen])
        reports = [
            _read(content, int(score))
            for content, (_, score) in zip(contents, seen, strict=True)
            if content is not None
        ]
        return sorted(reports, key=lambda report: report.worker_id)

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _read(content: str | bytes, seen_time_ms: int) -> WorkerReport:
    fields = json.loads(content)
    fields |= {"loaded_models": tuple(fields["loaded_models"]), "job_ids": tuple(fields["job_ids"])}
    return WorkerReport(**{**fields, "seen_time_ms": seen_time_ms})


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
