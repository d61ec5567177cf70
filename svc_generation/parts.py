"""What the handlers of svc_generation and its work in the background have in common, built from the settings."""

import secrets
from datetime import timedelta
from functools import partial
from typing import Final

from pingvas.gallery.v1.import_service_pb2_grpc import ImportServiceStub
from pingvas.gallery.v1.preset_service_pb2_grpc import PresetServiceStub
from pingvas.gallery.v1.source_service_pb2_grpc import SourceServiceStub
from pingvas.gallery.v1.storage_service_pb2_grpc import StorageServiceStub
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common import clock
from svc_common.capacity import service_capacity
from svc_common.clients import channel
from svc_common.connection_budget import service_databases
from svc_common.entitlements import from_ledger
from svc_common.events import EventPublisher
from svc_common.free_space import Store
from svc_common.limits.accounts import AccountLimits
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.queue import JobQueue, WorkerPresence
from svc_common.redis_client import connect
from svc_common.tokens import ServiceCredential
from svc_generation.domain.limits import LARGEST_DRAWN_SEED
from svc_generation.messages.jobs import JobConverter
from svc_generation.servicer.scaler import ScalerListener
from svc_generation.settings import GenerationSettings
from svc_generation.store import hot
from svc_generation.usecases.accepting import Acceptor, WebhookTerms
from svc_generation.usecases.announcing import Announcer
from svc_generation.usecases.cancelling import Canceller
from svc_generation.usecases.finalizing import Finalizer
from svc_generation.usecases.lookups import Lookups
from svc_generation.usecases.offering import Offering
from svc_generation.usecases.pausing import TierPauses
from svc_generation.usecases.planning import Planner
from svc_generation.usecases.presets import PresetResolver
from svc_generation.usecases.sources import SourceResolver
from svc_generation.usecases.storage import StorageGate
from svc_generation.usecases.uncertain_holds import UncertainHolds
from svc_generation.usecases.waiting import WaitTimes
from svc_generation.usecases.watch_hub import WatchHub
from svc_generation.usecases.worker_demand import WorkerDemand

SERVICE_NAME: Final = "svc_generation"

new_webhook_secret: Final = partial(secrets.token_bytes, 32)


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
        self.presence = WorkerPresence(self.redis)
        self.publisher = EventPublisher(self.redis)
        self.objects = S3ObjectStore.from_settings(settings, settings.s3_bucket, public_url=settings.objects_public_url)
        self.converter = JobConverter(self.objects)
        credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
        self.page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
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
            webhook_terms=WebhookTerms(settings.webhooks_to_private_addresses, new_webhook_secret),
        )
        self.scaler = self._scaler() if settings.scaler_address else None

    def _scaler(self) -> ScalerListener:
        demand = WorkerDemand(
            database=self.tasks,
            presence=self.presence,
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
