"""Runs a worker in this process, put together as gpu_worker.main does, but with a pipeline that only draws."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

from gpu_worker.consumer import TierConsumer
from gpu_worker.handler import JobHandler
from gpu_worker.rendering import Pipeline
from gpu_worker.upload import Uploader
from svc_common.clients import channel
from svc_common.events import EventPublisher
from svc_common.queue import JobQueue
from svc_common.redis_client import connect
from tests.factories.platform import Platform
from tests.fakes.pipeline import FakePipeline

_FAST_STEP_SECONDS = 0.005


@asynccontextmanager
async def working(
    platform: Platform,
    *,
    worker_id: str = "worker-0",
    pipeline: Pipeline | None = None,
    uploader_class: type[Uploader] = Uploader,
    lease_seconds: float = 10.0,
    grace_seconds: float = 5.0,
) -> AsyncIterator[TierConsumer]:
    """Works until the block ends, then lets its jobs finish within the grace, or hands them back."""
    pipeline = pipeline or FakePipeline(_FAST_STEP_SECONDS)
    async with AsyncExitStack() as stack:
        redis = connect(platform.redis_url, socket_timeout_seconds=10.0)
        stack.push_async_callback(redis.aclose)
        credential = platform.identities.credential("gpu_worker")
        generation = await stack.enter_async_context(channel(platform.generation.service.internal_address, credential))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=httpx.Timeout(10.0, connect=1.0)))
        handler = JobHandler(
            worker_id=worker_id,
            pipeline=pipeline,
            service=WorkerServiceStub(generation),
            publisher=EventPublisher(redis),
            uploader=uploader_class(client),
            render_thread=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="render")),
            encode_pool=stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="encode")),
        )
        consumer = TierConsumer(
            JobQueue(redis),
            handler,
            worker_id=worker_id,
            slot=asyncio.Semaphore(1),
            loaded_models=lambda: pipeline.loaded_models,
            lease_ms=int(lease_seconds * 1000),
            grace_seconds=grace_seconds,
            handle_signals=False,
        )
        running = asyncio.create_task(consumer.async_run())
        try:
            yield consumer
        finally:
            consumer.stop()
            await asyncio.wait_for(running, 20)
