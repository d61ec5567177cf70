"""Brings the next waiting job's model nearer while the GPU is busy: its files to the folder, its weights to memory.

All of it is a hint: it never holds up the job that runs, and what goes wrong is met again, and told, when the job comes.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Final

import structlog
from pingvas.models.v1.catalogue_service_pb2 import ResolveModelRequest

from gpu_worker.attempt.messages import model_spec
from gpu_worker.attempt.model_fetch import ModelStore
from gpu_worker.render.interface import Pipeline
from svc_common.queue import JobQueue

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 2.0
"""Between two looks at the queue during a render; a look is one round trip to Redis."""
_JOBS_AHEAD: Final = 4


class Prefetcher:
    """Looks at the queue during renders, and prefetches one model at a time."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        catalogue: "CatalogueServiceAsyncStub",
        store: ModelStore,
        pipeline: Pipeline,
        thread: Executor,
    ) -> None:
        """Takes the parts; in `thread`, which is not the render's, weights are read from disk."""
        self._queue = queue
        self._catalogue = catalogue
        self._store = store
        self._pipeline = pipeline
        self._thread = thread
        self._looking: asyncio.Task[None] | None = None
        self._renders = 0
        self._tried: set[str] = set()
        """Models that a look has brought near, or failed to, since they were last among the loaded ones."""

    @contextlib.contextmanager
    def beside_render(self) -> Iterator[None]:
        """Looks at the queue for as long as the context lasts. A prefetch that has begun goes on after it."""
        self._renders += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="prefetch")
        try:
            yield
        finally:
            self._renders -= 1

    async def close(self) -> None:
        """Gives up what is being prefetched; a read from disk that has begun ends in its thread."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        while self._renders:
            try:
                await self._prefetch_next()
            except Exception as error:  # noqa: BLE001 - a hint: the job itself will meet the error and report it
                _log.warning("prefetch.failed", error=repr(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _prefetch_next(self) -> None:
        loaded = self._pipeline.loaded_models
        self._tried -= loaded
        upcoming = await self._queue.peek_models(_JOBS_AHEAD)
        model_id = next((model_id for model_id in upcoming if model_id not in loaded | self._tried), None)
        if model_id is None:
            return
        self._tried.add(model_id)
        model = model_spec(await self._catalogue.ResolveModel(ResolveModelRequest(model_id=model_id)))
        await self._store.ensure(model, lambda _fetched, _size: None)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._pipeline.prefetch, model)
        _log.info("prefetch.done", model_id=model_id)
