"""A worker process whose handler only waits: for tests that kill, freeze or terminate it.

Run as `python -m tests.fakes.queue_worker REDIS_URL LEASE_MS`. Pushes the id of each job that starts to `test:started`,
holds it until `test:may-end` exists, and pushes the ids of jobs whose lease it lost to `test:lost`.
"""

import asyncio
import sys

from redis.asyncio import Redis

from gpu_worker.claim.consumer import TierConsumer
from gpu_worker.claim.lease import Lease
from svc_common.queue import Claim, JobQueue


async def main(url: str, lease_ms: int) -> None:
    async with Redis.from_url(url) as redis:

        async def hold(claim: Claim, lease: Lease) -> None:
            await redis.rpush("test:started", str(claim.job.job_id))
            while not await redis.exists("test:may-end") and not lease.lost.is_set():  # noqa: ASYNC110 - set in Redis
                await asyncio.sleep(0.01)
            if lease.lost.is_set():
                await redis.rpush("test:lost", str(claim.job.job_id))

        consumer = TierConsumer(
            JobQueue(redis),
            hold,
            worker_id="held-worker",
            slot=asyncio.Semaphore(1),
            loaded_models=tuple,
            lease_ms=lease_ms,
            grace_seconds=10,
        )
        await consumer.async_run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
