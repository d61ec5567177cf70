"""Puts svc_generation together from its settings and runs it: `python -m svc_generation.main`."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, Final

from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.source_service_pb2_grpc import SourceServiceStub
from pingvas.generation.v1.generation_service_pb2_grpc import add_GenerationServiceServicer_to_server
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.worker.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from pydantic import Field

from svc_common import clock
from svc_common.clients import channel
from svc_common.concurrency import end_tasks
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.events import ENTITLEMENT_CHANGED, EventListener, EventPublisher, hear_hints
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.queue import JobQueue, QueuedJob
from svc_common.redis_client import REDIS_ERRORS, connect
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load
from svc_common.sweeps import run_sweeps
from svc_common.tokens import ServiceCredential
from svc_generation.domain.limits import LARGEST_DRAWN_SEED
from svc_generation.domain.waiting import WaitStatistics
from svc_generation.servicer.accepting import Acceptor, Clock
from svc_generation.servicer.conversion import JobConverter
from svc_generation.servicer.generation import GenerationServicer
from svc_generation.servicer.hub import WatchHub
from svc_generation.servicer.lookups import Lookups
from svc_generation.servicer.operations import parsed
from svc_generation.servicer.planning import Planner
from svc_generation.servicer.sources import SourceResolver
from svc_generation.servicer.watch import Watch
from svc_generation.servicer.worker import WorkerServicer
from svc_generation.store import queries
from svc_generation.store.models import Job
from svc_generation.tasks.finalize import Finalizer
from svc_generation.tasks.sweeps import Sweeper
from svc_generation.tasks.uncertain import UncertainHolds

SERVICE_NAME: Final = "svc_generation"

_REMEMBERED_WAITS: Final = 200


class GenerationSettings(ServiceSettings):
    """The settings of svc_generation."""

    lease_seconds: float = Field(default=30.0, gt=0, description="how long a worker's claim lasts without renewal")
    job_lifetime_hours: float = Field(
        default=24.0, gt=0, description="how long a job may take from acceptance to end before it is given up"
    )


class Composition:
    """Builds the parts of the service in the order in which they need each other."""

    def __init__(self, settings: GenerationSettings) -> None:
        """Builds everything; nothing connects yet."""
        self.settings = settings
        self.requests = Database(settings.database_url, pool_size=settings.database_pool_size)
        self.tasks = Database(settings.tasks_database_url, pool_size=settings.database_pool_size)
        self.redis = connect(settings.redis_url)
        self.listening_redis = connect(settings.redis_url, socket_timeout_seconds=None, retries=0)
        self.objects = S3ObjectStore(
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            endpoint_url=settings.s3_endpoint_url,
            signing_endpoint_url=settings.s3_signing_endpoint_url,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            public_url=settings.objects_public_url,
        )
        credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
        self.channels = {
            address: channel(address, credential)
            for address in (
                settings.payment_internal_address,
                settings.models_internal_address,
                settings.gallery_internal_address,
            )
        }
        self.ledger = LedgerServiceStub(self.channels[settings.payment_internal_address])
        self.clock = Clock(clock.now, clock.new_id)
        self.statistics = WaitStatistics()
        self.publisher = EventPublisher(self.redis)
        self.queue = JobQueue(self.redis)
        self.hub = WatchHub(self._listener, partial(queries.last_sequences, self.tasks))
        self.lookups = Lookups(CatalogueServiceStub(self.channels[settings.models_internal_address]), self.ledger)
        self.sources = SourceResolver(SourceServiceStub(self.channels[settings.gallery_internal_address]))
        self.converter = JobConverter(self.objects)
        self.watch = Watch(
            database=self.requests,
            hub=self.hub,
            publisher=self.publisher,
            converter=self.converter,
            queue=self.queue,
            statistics=self.statistics,
        )
        self.finalizer = Finalizer(
            database=self.tasks,
            ledger=self.ledger,
            gallery=ImportServiceStub(self.channels[settings.gallery_internal_address]),
            queue=self.queue,
            tell=self.watch.tell,
            now=clock.now,
            prompt_of=lambda job: parsed(job.operation_kind, job.operation).prompt,
        )
        self.uncertain = UncertainHolds(database=self.tasks, ledger=self.ledger, now=clock.now)
        self.planner = self._planner()
        self.acceptor = self._acceptor()
        self.sweeper = Sweeper(
            database=self.tasks,
            queue=self.queue,
            objects=self.objects,
            finalize=self.finalizer.finalize,
            now=clock.now,
            lease=timedelta(seconds=settings.lease_seconds),
        )

    def server(self) -> Server:
        """Returns the service, ready to start."""
        return Server(
            self.settings,
            SERVICE_NAME,
            public=[(add_GenerationServiceServicer_to_server, self._generation())],
            internal=[(add_WorkerServiceServicer_to_server, self._worker())],
            background=[
                self._run_sweeps,
                self.uncertain.run,
                partial(_until_stopped, self.hub.run),
                partial(_until_stopped, self._hear_tiers),
            ],
            on_start=[self._remember_waits],
            on_drain=[self.hub.close],
            on_stop=[self._close],
        )

    def _planner(self) -> Planner:
        return Planner(
            lookups=self.lookups,
            sources=self.sources,
            queue=self.queue,
            statistics=self.statistics,
            new_seed=lambda: secrets.randbelow(LARGEST_DRAWN_SEED + 1),
        )

    def _acceptor(self) -> Acceptor:
        return Acceptor(
            database=self.requests,
            planner=self.planner,
            ledger=self.ledger,
            queue=self.queue,
            watch=self.watch,
            clock=self.clock,
            job_lifetime=timedelta(hours=self.settings.job_lifetime_hours),
            note_uncertain=self.uncertain.note,
        )

    def _generation(self) -> GenerationServicer:
        return GenerationServicer(
            database=self.requests,
            planner=self.planner,
            acceptor=self.acceptor,
            queue=self.queue,
            converter=self.converter,
            watch=self.watch,
            page_tokens=PageTokens.derived_from(self.settings.service_key_file.read_bytes()),
            cancel=self.finalizer.cancel,
        )

    def _worker(self) -> WorkerServicer:
        return WorkerServicer(
            database=self.tasks,
            lookups=self.lookups,
            objects=self.objects,
            statistics=self.statistics,
            clock=self.clock,
            finalize=self.finalizer.close,
            requeue=self._requeue,
            tell=self.watch.tell,
        )

    def _listener(self, hub: WatchHub) -> EventListener:
        return EventListener(
            self.listening_redis, on_progress=hub.on_progress, on_change=hub.on_change, on_gap=hub.on_gap
        )

    async def _requeue(self, job: Job) -> None:
        """Offers a job again. Its lease, if it has one, ends by itself; the sweep repeats what is lost here."""
        try:
            await self.queue.enqueue(QueuedJob.of(job))
        except REDIS_ERRORS:
            return

    async def _remember_waits(self) -> None:
        """Takes up the statistics of waiting times from the jobs that were started last; without them it starts anew."""
        try:
            async with self.tasks.transaction() as session:
                waits = await queries.recent_waits(session, _REMEMBERED_WAITS)
        except ServiceError:
            return
        for position, wait in waits:
            self.statistics.observe(position, wait.total_seconds())

    async def _run_sweeps(self, stop: asyncio.Event) -> None:
        await run_sweeps(self.tasks, [*self.sweeper.sweeps(), self.uncertain.sweep()], stop)

    async def _hear_tiers(self) -> None:
        await hear_hints(self.listening_redis, ENTITLEMENT_CHANGED, self.lookups.forget_tier, self.lookups.forget_tiers)

    async def _close(self) -> None:
        for open_channel in self.channels.values():
            await open_channel.close()
        await self.requests.close()
        await self.tasks.close()
        await self.redis.aclose()
        await self.listening_redis.aclose()


async def _until_stopped(work: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """Runs work that has no end of its own until the process stops."""
    task = asyncio.create_task(work())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        await end_tasks(task, stopped)


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(GenerationSettings)
    run(settings, lambda: Composition(settings).server())


if __name__ == "__main__":
    main()
