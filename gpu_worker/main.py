"""Puts the GPU worker together from its settings and runs it: `python -m gpu_worker.main`."""

import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import aiohttp
import structlog
import uvloop
from pingvas.models.v1.catalogue_service_pb2 import ResolveModelRequest
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.models.v1.model_pb2 import ModelSpec as ModelMessage
from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from pydantic import Field, FilePath
from pydantic_settings import SettingsConfigDict

from gpu_worker.attempt.delivery import Deliverer
from gpu_worker.attempt.execution import Renderer
from gpu_worker.attempt.handler import JobHandler
from gpu_worker.attempt.input_fetch import InputFetcher
from gpu_worker.attempt.messages import model_spec
from gpu_worker.attempt.model_fetch import ModelStore
from gpu_worker.attempt.object_client import open_client
from gpu_worker.attempt.prefetch import Prefetcher
from gpu_worker.attempt.preparation import Preparer
from gpu_worker.attempt.reporter import ProgressReporter
from gpu_worker.attempt.safety import ImageClassifier, PromptBlocklist, SafetyHook, SafetyPolicy
from gpu_worker.attempt.upload import Uploader
from gpu_worker.claim.consumer import TierConsumer
from gpu_worker.claim.presence import Presence
from gpu_worker.render.allocator import device_memory, keep_freed_memory
from gpu_worker.render.interface import Pipeline, PipelineSettings, RenderSpec
from svc_common.capacity import Capacity
from svc_common.clients import channel
from svc_common.concurrency import end_tasks
from svc_common.errors import ServiceError
from svc_common.events import EventPublisher
from svc_common.free_space import USUAL_MARKS, Store, WaterMarks
from svc_common.mutual_tls import MutualTlsSettings
from svc_common.queue import JobQueue, WorkerPresence
from svc_common.redis_client import connect
from svc_common.server import freeze_garbage
from svc_common.settings import REDIS_ADDRESS, load
from svc_common.telemetry import MetricsServer, configure_logging
from svc_common.tokens import ServiceCredential

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub
    from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

SERVICE_NAME: Final = "gpu_worker"

_BLOCKING_SECONDS: Final = 10.0
"""Socket time-out of the queue's connections; longer than the longest blocking call (1 s)."""
_ENCODE_THREADS: Final = 2
_FACTORY: Final = r"^[\w.]+:\w+$"
_SWITCH_SECONDS: Final = 0.0005
_WARM_UP_TRIES: Final = 20
_WARM_UP_PAUSE_SECONDS: Final = 0.5
_WARM_UP_SIDE_PX: Final = 64

_log = structlog.get_logger(__name__)


class WorkerSettings(MutualTlsSettings):
    """The settings of a worker."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    worker_id: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=100,
        description="a name that no other worker has; absent: the host's, which is each container's own",
    )
    metrics_port: int = Field(ge=0, le=65535, description="port of /metrics and /healthz; 0 takes a free one")
    metrics_host: str = Field(default="127.0.0.1", description="address of /metrics and /healthz; 0.0.0.0 in a cluster")
    redis_url: str = Field(pattern=REDIS_ADDRESS, description="redis:// or redis+sentinel:// URL of the queue's Redis")
    service_key_file: FilePath = Field(description="file with this process's own EC P-256 private key, PEM")
    generation_internal_address: str = Field(description="internal listener of svc_generation, as host:port")
    models_internal_address: str = Field(description="internal listener of svc_models, as host:port")
    models_dir: Path = Field(description="folder of models, laid out as <model_id>/<revision>/")
    storage_low_bytes: int = Field(
        default=USUAL_MARKS.low_bytes, ge=0, description="free bytes below which the models' folder counts as full"
    )
    storage_high_bytes: int = Field(
        default=USUAL_MARKS.high_bytes, ge=0, description="free bytes from which a full one has room again"
    )
    pipeline: str = Field(
        default="gpu_worker.render.pipeline:create",
        pattern=_FACTORY,
        description="what makes the pipeline, as module:function",
    )
    device: str = Field(default="auto", description='a torch device, or "auto": CUDA where there is one, else the CPU')
    torch_threads: int = Field(default=1, ge=0, description="threads of one operation on the CPU; 0: torch chooses")
    compile: Literal["off", "inductor"] = Field(
        default="off",
        description="whether denoisers' blocks are compiled when a model is loaded; on a CPU it needs a C++ compiler",
    )
    lease_seconds: float = Field(default=30.0, gt=0, description="how long a claim lasts without renewal")
    grace_seconds: float = Field(
        default=25.0,
        ge=0,
        description="how long a stopping worker may still finish jobs; one that won't fit goes back at once. 120 in a cluster",
    )
    prompt_blocklist_file: FilePath | None = Field(
        default=None, description="UTF-8 file of terms that no prompt may have, one a line; absent: any may"
    )
    safety: str | None = Field(
        default=None,
        pattern=_FACTORY,
        description="what makes the classifier that looks at finished pictures, as module:function; absent: nobody does",
    )
    log_format: Literal["json", "console"] = Field(default="json", description="form of the log")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event that is logged"
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker's handler is made of."""

    worker_id: str
    pipeline: Pipeline
    store: ModelStore
    queue: JobQueue
    publisher: EventPublisher
    uploader: Uploader
    client: aiohttp.ClientSession
    service: "WorkerServiceAsyncStub"
    catalogue: "CatalogueServiceAsyncStub"
    safety: SafetyHook
    capacity: Capacity
    render_thread: Executor
    """Has one thread."""
    encode_pool: Executor
    prefetch_thread: Executor

    def renderer(self) -> Renderer:
        """Returns what renders."""
        prefetcher = Prefetcher(
            queue=self.queue,
            catalogue=self.catalogue,
            store=self.store,
            pipeline=self.pipeline,
            thread=self.prefetch_thread,
        )
        return Renderer(pipeline=self.pipeline, render_thread=self.render_thread, prefetcher=prefetcher)

    def handler(self, renderer: Renderer) -> JobHandler:
        """Returns what handles jobs."""
        inputs = InputFetcher(self.client, self.encode_pool)
        return JobHandler(
            worker_id=self.worker_id,
            service=self.service,
            preparer=Preparer(safety=self.safety, inputs=inputs, store=self.store),
            renderer=renderer,
            deliverer=Deliverer(
                safety=self.safety,
                uploader=self.uploader,
                service=self.service,
                encode_pool=self.encode_pool,
                note_full=partial(self.capacity.note_refusal, Store.OBJECTS),
            ),
            make_reporter=lambda: ProgressReporter(self.publisher, self.encode_pool),
        )


def make_pipeline(settings: WorkerSettings) -> Pipeline:
    """Imports the factory that the settings name and returns its pipeline. Imports torch, which takes seconds."""
    factory = cast("Callable[[PipelineSettings], Pipeline]", _imported(settings.pipeline))
    return factory(
        PipelineSettings(
            settings.models_dir,
            settings.torch_threads,
            settings.device,
            compile_backend=None if settings.compile == "off" else settings.compile,
        )
    )


def make_safety(settings: WorkerSettings, pool: Executor) -> SafetyPolicy:
    """Returns what the settings ask to be refused; without them nothing is."""
    path = settings.prompt_blocklist_file
    classifier = None
    if settings.safety is not None:
        classifier = cast("Callable[[], ImageClassifier]", _imported(settings.safety))()
    return SafetyPolicy(None if path is None else PromptBlocklist.read(path), classifier, pool)


def _imported(name: str) -> object:
    module, _, function = name.partition(":")
    imported: object = getattr(importlib.import_module(module), function)
    return imported


async def serve(settings: WorkerSettings) -> None:
    """Works until SIGTERM, then finishes or hands back what it has begun."""
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        redis = connect(settings.redis_url, socket_timeout_seconds=_BLOCKING_SECONDS)
        stack.push_async_callback(redis.aclose)
        credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
        generation, models = [
            await stack.enter_async_context(channel(address, credential, tls=settings.mutual_tls))
            for address in (settings.generation_internal_address, settings.models_internal_address)
        ]
        client = await stack.enter_async_context(open_client())
        render_thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="render"))
        encode_pool = stack.enter_context(ThreadPoolExecutor(_ENCODE_THREADS, thread_name_prefix="encode"))
        catalogue = CatalogueServiceStub(models)
        store = ModelStore(settings.models_dir, catalogue, client)
        queue = JobQueue(redis)
        capacity = Capacity(
            (Store.MODELS, Store.OBJECTS),
            folders={Store.MODELS: settings.models_dir},
            marks=WaterMarks(settings.storage_low_bytes, settings.storage_high_bytes),
            redis=connect(settings.redis_url, retries=0),
        )
        stack.push_async_callback(capacity.close)
        pipeline = await asyncio.get_running_loop().run_in_executor(render_thread, make_pipeline, settings)
        parts = Parts(
            worker_id=settings.worker_id,
            pipeline=pipeline,
            store=store,
            queue=queue,
            publisher=EventPublisher(redis),
            uploader=Uploader(client),
            client=client,
            service=WorkerServiceStub(generation),
            catalogue=catalogue,
            safety=make_safety(settings, encode_pool),
            capacity=capacity,
            render_thread=render_thread,
            encode_pool=encode_pool,
            prefetch_thread=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="prefetch")),
        )
        renderer = parts.renderer()
        stack.push_async_callback(renderer.close)
        await _warm_up(renderer, store, catalogue)
        consumer = TierConsumer(
            queue,
            parts.handler(renderer),
            worker_id=settings.worker_id,
            slot=asyncio.Semaphore(1),
            loaded_models=lambda: pipeline.loaded_models,
            lease_ms=int(settings.lease_seconds * 1000),
            grace_seconds=settings.grace_seconds,
            handle_signals=False,
        )
        _stop_on_signal(consumer, stopping)
        metrics = MetricsServer(
            settings.metrics_host,
            settings.metrics_port,
            lambda: not stopping.is_set(),
            lambda: [store for store in capacity.full if store is Store.MODELS],
        )
        await metrics.start()
        stack.push_async_callback(metrics.stop)
        watching = asyncio.create_task(capacity.watch(stopping), name="capacity")
        stack.push_async_callback(end_tasks, watching)
        presence = Presence(
            WorkerPresence(redis),
            worker_id=settings.worker_id,
            loaded_models=lambda: pipeline.loaded_models,
            job_ids=lambda: consumer.job_ids,
            device_memory=device_memory,
            stop=partial(_stop, consumer, stopping),
        )
        stack.push_async_callback(end_tasks, asyncio.create_task(presence.run(stopping), name="presence"))
        freeze_garbage()
        _log.info("worker.started", worker_id=settings.worker_id)
        await consumer.async_run()
    _log.info("worker.ended", worker_id=settings.worker_id)


def _stop(consumer: TierConsumer, stopping: asyncio.Event) -> None:
    stopping.set()
    consumer.stop()


def _stop_on_signal(consumer: TierConsumer, stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, consumer, stopping)


async def _warm_up(renderer: Renderer, store: ModelStore, catalogue: "CatalogueServiceAsyncStub") -> None:
    """Loads the default model before the first job needs it. A worker that can't goes on: jobs load their own model."""
    for _ in range(_WARM_UP_TRIES):
        try:
            model = await catalogue.ResolveModel(ResolveModelRequest())
            await store.ensure(model_spec(model), lambda _fetched, _size: None)
            await renderer.warm_up(_warm_up_spec(model))
        except ServiceError as error:
            _log.info("worker.warm_up_waits", error=str(error))
            await asyncio.sleep(_WARM_UP_PAUSE_SECONDS)
        except Exception:  # noqa: BLE001 - a model that doesn't load fails its own jobs, with a reason; others may load
            _log.exception("worker.warm_up_failed")
            return
        else:
            return


def _warm_up_spec(message: ModelMessage) -> RenderSpec:
    model = message.model
    return RenderSpec(
        model=model_spec(message),
        prompt="",
        negative_prompt="",
        width_px=_WARM_UP_SIDE_PX,
        height_px=_WARM_UP_SIDE_PX,
        step_count=1,
        guidance_scale=model.default_guidance_scale,
        seed=0,
        image_count=1,
        scheduler=model.schedulers[0],
    )


def main() -> None:
    """Runs the worker until it is told to stop."""
    settings = load(WorkerSettings)
    configure_logging(settings.log_format, settings.log_level)
    keep_freed_memory()
    # The render's thread takes the interpreter lock between any two operations; by default it may wait 5 ms for it while
    # a step is reported.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
