"""Puts svc_generation together from its settings and runs it: `python -m svc_generation.main`."""

import secrets
from datetime import timedelta
from functools import partial
from typing import Final

from grpc_health.v1.health import aio as health
from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.preset_service_pb2_grpc import PresetServiceStub
from pingvas.gallery.v1.source_service_pb2_grpc import SourceServiceStub
from pingvas.gallery.v1.storage_service_pb2_grpc import StorageServiceStub
from pingvas.generation.v1.account_event_service_pb2_grpc import add_AccountEventServiceServicer_to_server
from pingvas.generation.v1.generation_admin_service_pb2_grpc import add_GenerationAdminServiceServicer_to_server
from pingvas.generation.v1.generation_service_pb2_grpc import add_GenerationServiceServicer_to_server
from pingvas.generation.v1.job_data_service_pb2_grpc import add_JobDataServiceServicer_to_server
from pingvas.generation.v1.job_erasure_service_pb2_grpc import add_JobErasureServiceServicer_to_server
from pingvas.generation.v1.model_use_service_pb2_grpc import add_ModelUseServiceServicer_to_server
from pingvas.generation.v1.operator_service_pb2_grpc import add_OperatorServiceServicer_to_server
from pingvas.generation.v1.recipe_service_pb2_grpc import add_RecipeServiceServicer_to_server
from pingvas.generation.v1.usage_service_pb2_grpc import add_UsageServiceServicer_to_server
from pingvas.generation.v1.webhook_endpoint_service_pb2_grpc import add_WebhookEndpointServiceServicer_to_server
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from pingvas.worker.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from pydantic import Field

from svc_common import clock
from svc_common.administration import AdministrationLog
from svc_common.capacity import service_capacity
from svc_common.client_address import ClientAddresses
from svc_common.clients import channel
from svc_common.concurrency import until_set
from svc_common.connection_budget import service_databases
from svc_common.entitlements import from_ledger
from svc_common.events import EventPublisher
from svc_common.free_space import Store
from svc_common.limits.accounts import AccountLimits
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.queue import JobQueue, WorkerPresence
from svc_common.redis_client import connect
from svc_common.server import Server, run
from svc_common.settings import PictureSettings, ServiceSettings, load, neighbour
from svc_common.sweeps import run_sweeps
from svc_common.tokens import ServiceCredential
from svc_generation.domain.limits import LARGEST_DRAWN_SEED
from svc_generation.messages.jobs import JobConverter
from svc_generation.messages.webhooks import body_of, secret_text
from svc_generation.servicer.account_data import JobDataServicer
from svc_generation.servicer.account_events import AccountEventServicer
from svc_generation.servicer.administration import GenerationAdminServicer
from svc_generation.servicer.erasure import JobErasureServicer
from svc_generation.servicer.generation import GenerationServicer
from svc_generation.servicer.model_use import ModelUseServicer
from svc_generation.servicer.operator import OperatorServicer
from svc_generation.servicer.recipes import RecipeServicer
from svc_generation.servicer.scaler import ScalerListener
from svc_generation.servicer.usage import UsageServicer
from svc_generation.servicer.watch import HEARTBEAT_SECONDS, Watch
from svc_generation.servicer.webhooks import WebhookEndpointServicer
from svc_generation.servicer.worker import WorkerServicer
from svc_generation.store import hot
from svc_generation.tasks.queue_figures import show_queue
from svc_generation.tasks.sweeps import Sweeper, settle_noted_holds
from svc_generation.tasks.webhook_sweeps import WebhookSweeps
from svc_generation.usecases.accepting import Acceptor, WebhookTerms
from svc_generation.usecases.announcing import Announcer
from svc_generation.usecases.artifacts import Artifacts
from svc_generation.usecases.cancelling import Canceller
from svc_generation.usecases.erasing import JobEraser
from svc_generation.usecases.finalizing import Finalizer
from svc_generation.usecases.lookups import Lookups
from svc_generation.usecases.offering import Offering
from svc_generation.usecases.pausing import TierPauses
from svc_generation.usecases.planning import Planner
from svc_generation.usecases.presets import PresetResolver
from svc_generation.usecases.requeueing import Requeuer
from svc_generation.usecases.sources import SourceResolver
from svc_generation.usecases.storage import StorageGate
from svc_generation.usecases.uncertain_holds import UncertainHolds
from svc_generation.usecases.waiting import WaitTimes
from svc_generation.usecases.watch_hub import WatchHub
from svc_generation.usecases.webhooks.delivering import Deliverer
from svc_generation.usecases.webhooks.sending import Sender
from svc_generation.usecases.worker_demand import WorkerDemand

SERVICE_NAME: Final = "svc_generation"

_new_webhook_secret: Final = partial(secrets.token_bytes, 32)


class GenerationSettings(ServiceSettings, PictureSettings):
    """The settings of svc_generation."""

    payment_internal_address: str = neighbour("payment")
    gallery_internal_address: str = neighbour("gallery")
    models_internal_address: str = neighbour("models")
    user_internal_address: str = neighbour("user")
    lease_seconds: float = Field(default=30.0, gt=0, description="how long a worker's claim lasts without renewal")
    job_lifetime_hours: float = Field(
        default=24.0, gt=0, description="how long a job may take from acceptance to end before it is given up"
    )
    webhooks_to_private_addresses: bool = Field(
        default=False,
        description="whether webhooks may go to private addresses, and over http: for one's own machine, never for strangers",
    )
    scaler_address: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z0-9.\-\[\]:]+:\d{1,5}$",
        description="where KEDA's external scaler is served, as host:port, to whoever reaches it; empty: nowhere",
    )
    worker_idle_seconds: float = Field(
        default=300.0, gt=0, description="how long workers are kept when nothing is left to do"
    )
    worker_start_seconds: float = Field(
        default=120.0, gt=0, description="how long a new worker takes to its first work, until that was measured"
    )


class Parts:
    """What the handlers and the sweeps have in common."""

    def __init__(self, settings: GenerationSettings) -> None:
        """Builds it in the order in which one needs the other; nothing connects yet."""
        self.settings = settings
        self.capacity = service_capacity(settings, Store.POSTGRESQL, Store.OBJECTS, Store.REDIS)
        # Workers' reports come in with the role for tasks, at any time as many as users' calls.
        self.requests, self.tasks = service_databases(settings, self.capacity, sweeps=8, others=1, tasks_share=0.5)
        self.redis = connect(settings.redis_url)
        self.listening_redis = connect(settings.redis_url, socket_timeout_seconds=None, retries=0)
        self.queue = JobQueue(self.redis)
        self.publisher = EventPublisher(self.redis)
        self.objects = S3ObjectStore.from_settings(settings, settings.s3_bucket, public_url=settings.objects_public_url)
        credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
        self.payment, self.models, self.gallery, self.users = (
            channel(address, credential, tls=settings.mutual_tls)
            for address in (
                settings.payment_internal_address,
                settings.models_internal_address,
                settings.gallery_internal_address,
                settings.user_internal_address,
            )
        )
        self.ledger = LedgerServiceStub(self.payment)
        self.limits = AccountLimits.from_settings(settings, from_ledger(self.ledger))
        self.lookups = Lookups(CatalogueServiceStub(self.models), self.limits.entitlements)
        self.pauses = TierPauses(database=self.tasks, queue=self.queue, now=clock.now)
        self.waits = WaitTimes(self.queue, self.pauses)
        self.hub = WatchHub(self.listening_redis, partial(hot.last_sequences, self.tasks))
        self.announcer = Announcer(self.hub, self.publisher)
        self.offering = Offering(self.queue)
        self.holds = UncertainHolds(database=self.tasks, ledger=self.ledger, now=clock.now)
        self.finalizer = Finalizer(
            database=self.tasks,
            ledger=self.ledger,
            gallery=ImportServiceStub(self.gallery),
            announcer=self.announcer,
            now=clock.now,
        )
        self.canceller = Canceller(database=self.tasks, finalizer=self.finalizer, offering=self.offering, now=clock.now)
        self.planner = Planner(
            lookups=self.lookups,
            sources=SourceResolver(SourceServiceStub(self.gallery)),
            presets=PresetResolver(PresetServiceStub(self.gallery)),
            new_seed=lambda: secrets.randbelow(LARGEST_DRAWN_SEED + 1),
        )
        self.acceptor = Acceptor(
            database=self.requests,
            planner=self.planner,
            storage=StorageGate(StorageServiceStub(self.gallery)),
            ledger=self.ledger,
            waits=self.waits,
            offering=self.offering,
            announcer=self.announcer,
            holds=self.holds,
            capacity=self.capacity,
            job_lifetime=timedelta(hours=settings.job_lifetime_hours),
            now=clock.now,
            new_id=clock.new_id,
            webhook_terms=WebhookTerms(settings.webhooks_to_private_addresses, _new_webhook_secret),
        )
        self.scaler = self._scaler() if settings.scaler_address else None

    def _scaler(self) -> ScalerListener:
        demand = WorkerDemand(
            database=self.tasks,
            presence=WorkerPresence(self.redis),
            now=clock.now,
            idle_seconds=self.settings.worker_idle_seconds,
            start_seconds=self.settings.worker_start_seconds,
        )
        return ScalerListener(demand, self.settings.scaler_address)

    async def close(self) -> None:
        """Closes the connections."""
        for called in (self.payment, self.models, self.gallery, self.users):
            await called.close()
        await self.requests.close()
        await self.tasks.close()
        await self.redis.aclose()
        await self.listening_redis.aclose()


def compose(
    settings: GenerationSettings, parts: Parts | None = None, *, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> Server:
    """Returns the service, of parts that the caller wants to look into or of its own. Called within the event loop."""
    parts = parts or Parts(settings)
    converter = JobConverter(parts.objects)
    watch = Watch(
        database=parts.requests,
        hub=parts.hub,
        publisher=parts.publisher,
        converter=converter,
        waits=parts.waits,
        heartbeat_seconds=heartbeat_seconds,
    )
    page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
    generation = GenerationServicer(
        database=parts.requests,
        lookups=parts.lookups,
        planner=parts.planner,
        acceptor=parts.acceptor,
        canceller=parts.canceller,
        waits=parts.waits,
        queue=parts.queue,
        converter=converter,
        watch=watch,
        page_tokens=page_tokens,
    )
    webhook_endpoints = WebhookEndpointServicer(
        database=parts.requests,
        page_tokens=page_tokens,
        now=clock.now,
        new_id=clock.new_id,
        new_secret=_new_webhook_secret,
        allows_private=settings.webhooks_to_private_addresses,
    )
    deliverer = Deliverer(
        database=parts.tasks,
        sender=Sender(allows_private=settings.webhooks_to_private_addresses),
        body_of=partial(body_of, converter=converter),
        secret_text=secret_text,
        now=clock.now,
    )
    webhook_sweeps = WebhookSweeps(
        database=parts.tasks, history=parts.publisher.history, now=clock.now, new_id=clock.new_id
    )
    worker = WorkerServicer(
        database=parts.tasks,
        lookups=parts.lookups,
        artifacts=Artifacts(parts.objects),
        waits=parts.waits,
        pauses=parts.pauses,
        offering=parts.offering,
        finalizer=parts.finalizer,
        announcer=parts.announcer,
        now=clock.now,
        new_id=clock.new_id,
    )
    eraser = JobEraser(database=parts.tasks, canceller=parts.canceller)
    presence = WorkerPresence(parts.redis)
    operator = OperatorServicer(
        database=parts.tasks,
        queue=parts.queue,
        presence=presence,
        publisher=parts.publisher,
        page_tokens=page_tokens,
        now=clock.now,
    )
    administration = GenerationAdminServicer(
        operator=operator,
        database=parts.tasks,
        requeuer=Requeuer(database=parts.tasks, offering=parts.offering, announcer=parts.announcer, now=clock.now),
        pauses=parts.pauses,
        log=AdministrationLog(
            UserDirectoryServiceStub(parts.users), ClientAddresses.from_file(settings.edge_secret_file)
        ),
    )
    sweeper = Sweeper(
        database=parts.tasks,
        queue=parts.queue,
        objects=parts.objects,
        finalizer=parts.finalizer,
        canceller=parts.canceller,
        holds=parts.holds,
        pauses=parts.pauses,
        now=clock.now,
        lease=timedelta(seconds=settings.lease_seconds),
    )
    health_servicer = health.HealthServicer()
    return Server(
        settings,
        SERVICE_NAME,
        public=[
            (add_GenerationServiceServicer_to_server, generation),
            (add_GenerationAdminServiceServicer_to_server, administration),
            (add_RecipeServiceServicer_to_server, RecipeServicer(parts.lookups)),
            (add_UsageServiceServicer_to_server, UsageServicer(parts.requests, clock.now)),
            (add_WebhookEndpointServiceServicer_to_server, webhook_endpoints),
        ],
        internal=[
            (add_WorkerServiceServicer_to_server, worker),
            (add_JobErasureServiceServicer_to_server, JobErasureServicer(eraser)),
            (
                add_JobDataServiceServicer_to_server,
                JobDataServicer(database=parts.requests, page_tokens=page_tokens, converter=converter),
            ),
            (add_ModelUseServiceServicer_to_server, ModelUseServicer(parts.requests)),
            (add_OperatorServiceServicer_to_server, operator),
            (add_AccountEventServiceServicer_to_server, AccountEventServicer(parts.requests, clock.now)),
        ],
        background=[
            partial(run_sweeps, parts.tasks, (*sweeper.sweeps(), *webhook_sweeps.sweeps())),
            deliverer.run,
            partial(settle_noted_holds, parts.holds),
            partial(show_queue, parts.queue, presence, health_servicer.set),
            partial(until_set, work=parts.hub.run),
        ],
        on_start=[partial(parts.waits.recall, parts.tasks), *([parts.scaler.start] if parts.scaler else [])],
        on_drain=[parts.hub.close, *([parts.scaler.stop] if parts.scaler else [])],
        on_stop=[parts.close],
        capacity=parts.capacity,
        limits=parts.limits,
        health_servicer=health_servicer,
    )


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(GenerationSettings)
    run(settings, partial(compose, settings))


if __name__ == "__main__":
    main()
