"""Runs a worker in this process, put together as gpu_worker.main does, but with a pipeline that only draws."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

from gpu_worker.attempt.model_fetch import ModelStore
from gpu_worker.attempt.object_client import open_client
from gpu_worker.attempt.safety import SafetyHook, SafetyPolicy
from gpu_worker.attempt.upload import Uploader
from gpu_worker.claim.consumer import TierConsumer
from gpu_worker.main import Parts
from gpu_worker.render.interface import Pipeline
from svc_common.capacity import Capacity
from svc_common.clients import channel
from svc_common.concurrency import end_tasks
from svc_common.events import EventPublisher
from svc_common.free_space import USUAL_MARKS, Store
from svc_common.queue import JobQueue
from svc_common.redis_client import connect
from tests.factories.platform import MODELS, Platform
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
    models_dir: Path | None = None,
    safety: SafetyHook | None = None,
    later_ms: int = 1_000,
) -> AsyncIterator[TierConsumer]:
    """Works until the block ends, then lets its jobs finish within the grace, or hands them back.

    Without `models_dir` the models' folders are there, and empty: the pipeline that only draws doesn't look.
    """
    pipeline = pipeline or FakePipeline(_FAST_STEP_SECONDS)
    async with AsyncExitStack() as stack:
        redis = connect(platform.redis_url, socket_timeout_seconds=10.0)
        stack.push_async_callback(redis.aclose)
        credential = platform.identities.credential("gpu_worker")
        generation = await stack.enter_async_context(channel(platform.generation.service.internal_address, credential))
        models = await stack.enter_async_context(channel(platform.neighbours["models"].internal_address, credential))
        client = await stack.enter_async_context(open_client(connect_seconds=1.0, read_seconds=10.0))
        encode_pool = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="encode"))
        catalogue = CatalogueServiceStub(models)
        queue = JobQueue(redis)
        capacity = Capacity(
            (Store.OBJECTS,), folders={}, marks=USUAL_MARKS, redis=connect(platform.redis_url, retries=0)
        )
        stack.push_async_callback(capacity.close)
        watching = asyncio.create_task(capacity.watch(asyncio.Event()))
        stack.push_async_callback(end_tasks, watching)
        folder = models_dir or _empty_models(Path(stack.enter_context(TemporaryDirectory(prefix="pingvas-models-"))))
        parts = Parts(
            worker_id=worker_id,
            pipeline=pipeline,
            store=ModelStore(folder, catalogue, client),
            queue=queue,
            publisher=EventPublisher(redis),
            uploader=uploader_class(client),
            client=client,
            service=WorkerServiceStub(generation),
            catalogue=catalogue,
            safety=safety or SafetyPolicy(None, None, encode_pool),
            capacity=capacity,
            render_thread=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="render")),
            encode_pool=encode_pool,
            prefetch_thread=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="prefetch")),
        )
        renderer = parts.renderer()
        stack.push_async_callback(renderer.close)
        consumer = TierConsumer(
            queue,
            parts.handler(renderer),
            worker_id=worker_id,
            slot=asyncio.Semaphore(1),
            loaded_models=lambda: pipeline.loaded_models,
            lease_ms=int(lease_seconds * 1000),
            grace_seconds=grace_seconds,
            later_ms=later_ms,
            handle_signals=False,
        )
        running = asyncio.create_task(consumer.async_run())
        try:
            yield consumer
        finally:
            consumer.stop()
            await asyncio.wait_for(running, 20)


def _empty_models(folder: Path) -> Path:
    for model_id in MODELS:
        (folder / model_id / "1").mkdir(parents=True)
    return folder
