"""Runs svc_generation with its real neighbours in this process: svc_payment, svc_models and svc_gallery.

Each has a database of its own. A neighbour can be stopped and started again where it was, and svc_generation can have
replicas on the same database. Who calls them is left to `tests.factories.actors`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import asyncpg
import grpc

from svc_common.clock import now as real_now
from svc_common.objects import S3ObjectStore
from svc_common.queue import JobQueue
from svc_common.redis_client import connect
from svc_common.server import Server
from svc_gallery.main import GallerySettings
from svc_gallery.main import compose as compose_gallery
from svc_generation.main import compose as compose_generation
from svc_generation.parts import Parts
from svc_generation.servicer.watch import HEARTBEAT_SECONDS
from svc_generation.settings import GenerationSettings
from svc_generation.tasks.sweeps import Sweeper
from svc_generation.usecases.cancelling import Canceller
from svc_generation.usecases.uncertain_holds import UncertainHolds
from svc_models.main import ModelsSettings
from svc_models.main import compose as compose_models
from svc_models.tasks.catalogue import read_folders
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.models import put_manifest
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, RunningService, running, settings_values

_FREE_ADDRESS: Final = "127.0.0.1:0"

# Small, so that a fake picture is drawn and stored in milliseconds. What each asks for: the free tier reaches tiny and
# sd15; sdxl comes with pro; one tiny model, and one LoRA, are held back for studio.
_SMALL: Final = {"native_width_px": 64, "native_height_px": 64, "default_step_count": 10}
_EVERY_OPERATION: Final = {
    "operations": ["text_to_image", "image_to_image", "inpaint", "upscale"],
    "cost": {
        "millicredits_per_megapixel_step": 380.5,
        "fixed_millicredits": 60,
        "upscale_millicredits_per_megapixel": 1500.0,
    },
}
MODELS: Final = {
    "pingvas-tiny": {"family": "tiny", **_SMALL, **_EVERY_OPERATION},
    "tiny-special": {"family": "tiny", "minimum_tier": "studio", **_SMALL},
    "xl": {"family": "sdxl", **_SMALL},
    "ink": {"kind": "lora", "family": "tiny"},
    "chalk": {"kind": "lora", "family": "tiny"},
    "gold": {"kind": "lora", "family": "tiny", "minimum_tier": "studio"},
    "ink-xl": {"kind": "lora", "family": "sdxl"},
}


class Neighbour:
    """A service that can be stopped and started again on the ports that it had."""

    def __init__(self, compose: Callable[[str, str], Server]) -> None:
        """Takes what makes the service at a public and an internal address."""
        self._compose = compose
        self._addresses = (_FREE_ADDRESS, _FREE_ADDRESS)
        self._server: Server | None = None

    @property
    def public_address(self) -> str:
        """Where users find it."""
        return self._addresses[0]

    @property
    def internal_address(self) -> str:
        """Where other services find it."""
        return self._addresses[1]

    async def start(self) -> None:
        """Begins to serve; the first time on free ports."""
        self._server = self._compose(*self._addresses)
        await self._server.start()
        self._addresses = (f"127.0.0.1:{self._server.public_port}", f"127.0.0.1:{self._server.internal_port}")

    async def stop(self) -> None:
        """Ends, so that calls find nobody."""
        if self._server is not None:
            await self._server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


@dataclass(frozen=True, slots=True)
class Replica:
    """A running svc_generation, with the parts that it was composed of."""

    parts: Parts
    service: RunningService

    def sweeper(self, **changes: Any) -> Sweeper:
        """Returns sweeps over the parts of the service, with another clock or lease than its own ones have."""
        parts = self.parts
        values = {
            "database": parts.tasks,
            "queue": parts.queue,
            "objects": parts.objects,
            "finalizer": parts.finalizer,
            "canceller": Canceller(
                database=parts.tasks,
                finalizer=parts.finalizer,
                offering=parts.offering,
                now=changes.get("now", real_now),
            ),
            "holds": parts.holds,
            "pauses": parts.pauses,
            "now": real_now,
            "lease": timedelta(seconds=parts.settings.lease_seconds),
        }
        return Sweeper(**values | changes)

    def holds_seen_in(self, time: timedelta) -> UncertainHolds:
        """Returns what gives holds without a job back, with a clock that runs ahead."""
        return UncertainHolds(database=self.parts.tasks, ledger=self.parts.ledger, now=lambda: real_now() + time)


class Platform:
    """The neighbours, the databases, and the svc_generation that tests call."""

    def __init__(
        self,
        identities: Identities,
        databases: dict[str, ServiceDatabase],
        neighbours: dict[str, Neighbour],
        settings: Callable[..., dict[str, Any]],
        redis_url: str,
    ) -> None:
        """Takes what runs already; `settings` makes the values of svc_generation's settings."""
        self.identities = identities
        self.redis_url = redis_url
        self.databases = databases
        self.neighbours = neighbours
        self._settings = settings
        self.generation: Replica
        """The replica that the actors call."""
        self.queue: JobQueue
        self.objects: S3ObjectStore
        self.credits_channel: grpc.aio.Channel
        self.ledger_channel: grpc.aio.Channel
        self.gallery_channel: grpc.aio.Channel

    @asynccontextmanager
    async def replica(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS, **settings: Any) -> AsyncIterator[Replica]:
        """Runs one more svc_generation until the block ends."""
        values = GenerationSettings(**self._settings(**settings))
        parts = Parts(values)
        async with running(compose_generation(values, parts, heartbeat_seconds=heartbeat_seconds)) as service:
            yield Replica(parts, service)

    @asynccontextmanager
    async def without(self, area: str) -> AsyncIterator[None]:
        """Stops a neighbour until the block ends; after it, whoever calls it here is connected with it again."""
        neighbour = self.neighbours[area]
        await neighbour.stop()
        try:
            yield
        finally:
            await neighbour.start()
            own = {"payment": (self.credits_channel, self.ledger_channel), "gallery": (self.gallery_channel,)}
            for each in (getattr(self.generation.parts, area), *own[area]):
                await each.channel_ready()

    @asynccontextmanager
    async def locked(self, area: str, table: str) -> AsyncIterator[None]:
        """Lets everybody who needs a table wait until the block ends."""
        connection = await asyncpg.connect(self.databases[area].admin_url)
        try:
            await connection.execute(f"BEGIN; LOCK TABLE {area}.{table} IN ACCESS EXCLUSIVE MODE")
            yield
        finally:
            # Without a word to the server, which may be gone; with the connection it gives up the lock.
            connection.terminate()

    async def rows(self, area: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Runs a statement in the database of an area as its administrator, who sees every row."""
        connection = await asyncpg.connect(self.databases[area].admin_url)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def running_platform(
    database_for: DatabaseFactory,
    identities: Identities,
    redis: RedisServer,
    s3: S3Server,
    folder: Path,
    *,
    generation_database: ServiceDatabase | None = None,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    **settings: Any,
) -> AsyncIterator[Platform]:
    """Runs all of it until the block ends; `settings` go to svc_generation."""
    databases = {area: await database_for(area) for area in ("payment", "models", "gallery")}
    databases["generation"] = generation_database or await database_for("generation")
    for model_id, changes in MODELS.items():
        put_manifest(folder, model_id, **changes)

    def values(area: str, public: str, internal: str, **own: Any) -> dict[str, Any]:
        addresses = {"public_address": public, "internal_address": internal, "redis_url": redis.url}
        return settings_values(identities, f"svc_{area}", databases[area], s3=s3, **addresses, **own)

    async with AsyncExitStack() as stack:
        payment = await stack.enter_async_context(
            Neighbour(lambda *places: compose_payment(PaymentSettings(**values("payment", *places))))
        )

        def models_at(*places: str) -> Server:
            own = {"payment_internal_address": payment.internal_address, "catalogue_dirs": str(folder)}
            model_settings = ModelsSettings(**values("models", *places, **own))
            return compose_models(model_settings, read_folders(model_settings.catalogue_dirs))

        models = await stack.enter_async_context(Neighbour(models_at))

        def gallery_at(*places: str) -> Server:
            own = {"payment_internal_address": payment.internal_address}
            return compose_gallery(GallerySettings(**values("gallery", *places, **own)))

        gallery = await stack.enter_async_context(Neighbour(gallery_at))
        neighbours = {"payment": payment, "models": models, "gallery": gallery}

        def generation_values(**own: Any) -> dict[str, Any]:
            found = {f"{area}_internal_address": each.internal_address for area, each in neighbours.items()}
            return values("generation", _FREE_ADDRESS, _FREE_ADDRESS, **found, **settings | own)

        platform = Platform(identities, databases, neighbours, generation_values, redis.url)
        platform.objects = s3.store()
        redis_client = connect(redis.url)
        stack.push_async_callback(redis_client.aclose)
        platform.queue = JobQueue(redis_client)
        platform.credits_channel = await stack.enter_async_context(_channel(payment.public_address))
        platform.ledger_channel = await stack.enter_async_context(_channel(payment.internal_address))
        platform.gallery_channel = await stack.enter_async_context(_channel(gallery.public_address))
        platform.generation = await stack.enter_async_context(platform.replica(heartbeat_seconds=heartbeat_seconds))
        yield platform


def _channel(address: str) -> grpc.aio.Channel:
    # A service that was started again is found within a fraction of a second, not after gRPC's own back-off.
    return grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 200)])


async def backdate_start(platform: Platform, job_id: str, seconds: float) -> None:
    """Lets a running attempt have begun earlier, as nobody wants to wait for seconds to be billed."""
    statement = "UPDATE generation.jobs SET start_time = start_time - $2::interval WHERE job_id = $1"
    await platform.rows("generation", statement, UUID(job_id), timedelta(seconds=seconds))
