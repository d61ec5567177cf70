"""A whole local stack: the servers, services and workers put together, with their state visible to others.

This is what `pingvas up`, the demo and the tests start.
"""

import contextlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from studio.stack import administrator, state
from studio.stack.certificates import ensure_certificates
from studio.stack.connections import Connections, DatabaseConnection, ObjectStoreConnection
from studio.stack.events import Event, Listen, ignore
from studio.stack.failures import StackError
from studio.stack.fleet import BUILT_IN_MODEL, MIGRATIONS, Fleet
from studio.stack.keys import Secrets, ensure_role_passwords, ensure_secrets
from studio.stack.layout import Layout
from studio.stack.process import Node
from studio.stack.servers import mailbox, postgres, redis, s3
from studio.stack.servers.envoy import Envoy
from studio.stack.servers.payments import Payments
from studio.stack.servers.running import running_database, running_object_store, running_redis
from studio.stack.supervisor import Supervisor
from svc_common.free_space import USUAL_MARKS, WaterMarks
from svc_common.registry import BRIDGE_NAME, SERVICES, Need, Service


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What a person may choose about a stack."""

    worker_count: int = 1
    # Settings given to every service and worker in place of the usual ones.
    overrides: Mapping[str, str] = field(default_factory=dict)


class LocalStack:
    """One stack on this machine; `async with` starts it and stops it."""

    def __init__(
        self,
        layout: Layout,
        *,
        environment: Mapping[str, str],
        options: StackOptions | None = None,
        listen: Listen = ignore,
    ) -> None:
        """Takes where it lives, the environment in which running servers may be named, and who is told what happens."""
        self.layout = layout
        self._environment = environment
        self._options = options or StackOptions()
        self._listen = listen
        self._ready = False
        self._exits = AsyncExitStack()
        self.supervisor: Supervisor

    async def __aenter__(self) -> Self:
        """Starts everything and returns when all of it is healthy.

        Raises StackError, with nothing left running, when that can't be.
        """
        self.layout.create()
        self._exits.enter_context(state.StackLock(self.layout))
        # A supervisor that was killed left its last state, which must not be taken for this one's.
        state.clear_state(self.layout)
        self._exits.callback(state.clear_state, self.layout)
        try:
            secrets = ensure_secrets(self.layout.keys)
            ensure_certificates(self.layout)
            self.supervisor = Supervisor(
                declare(self.layout, secrets, self._environment, self._options), listen=self._heard
            )
            self._publish()
            await self.supervisor.start()
            self._exits.push_async_callback(self.supervisor.stop)
        except BaseException:
            await self._exits.aclose()
            raise
        self._ready = True
        self._publish()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops everything in the reverse order."""
        await self._exits.aclose()

    @property
    def is_ready(self) -> bool:
        """Whether everything was healthy at the end of the start."""
        return self._ready

    @property
    def state(self) -> state.StackState:
        """The stack as other commands see it."""
        return state.describe(self.layout, ready=self._ready, processes=self.supervisor.states)

    def _heard(self, event: Event) -> None:
        # On a disk without room the others see the last state that could be written.
        with contextlib.suppress(OSError):
            self._publish()
        self._listen(event)

    def _publish(self) -> None:
        state.write_state(self.layout, self.state)


def declare(
    layout: Layout, secrets: Secrets, environment: Mapping[str, str], options: StackOptions
) -> tuple[Node, ...]:
    """Returns every process and step of a stack, with what each depends on.

    The services wait for the migrations rather than for PostgreSQL, and need no order among themselves: their clients
    connect when first used.
    """
    marks = _marks({**environment, **options.overrides})
    server_nodes, connections = servers(layout, secrets, environment, marks)
    ensure_role_passwords(secrets, connections.database.roles)
    fleet = Fleet(
        layout, secrets, connections, options.worker_count, options.overrides, _own_stores(layout, environment)
    )
    services = tuple(fleet.service(service, _needs_of(service)) for service in SERVICES)
    return (
        *server_nodes,
        fleet.migrations((postgres.DATABASE_STEP,)),
        fleet.built_in_model(),
        *services,
        administrator.step(layout, secrets, ("svc_user",)),
        Payments(layout, secrets).node(),
        fleet.bridge(),
        Envoy(layout, secrets, _own_bucket(environment, connections)).node(
            (*(service.name for service in SERVICES), BRIDGE_NAME)
        ),
        *fleet.workers((redis.NAME, s3.NAME, BUILT_IN_MODEL)),
    )


def _own_stores(layout: Layout, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the folders of the stores that are the stack's own, whose free space can be looked at."""
    stores = (("postgresql", "DATABASE_URL", layout.postgres), ("redis", "REDIS_URL", layout.redis))
    own = (*stores, ("s3", "S3_ENDPOINT_URL", layout.s3))
    return {store: str(folder) for store, setting, folder in own if not environment.get(setting)}


def _marks(environment: Mapping[str, str]) -> WaterMarks:
    """Returns from when on a store is full, as the services will read it."""
    try:
        return WaterMarks(
            int(environment.get("STORAGE_LOW_BYTES", USUAL_MARKS.low_bytes)),
            int(environment.get("STORAGE_HIGH_BYTES", USUAL_MARKS.high_bytes)),
        )
    except ValueError as error:
        raise StackError(
            "STORAGE_LOW_BYTES or STORAGE_HIGH_BYTES is no number", advice="Write bytes, or unset it."
        ) from error


def _own_bucket(environment: Mapping[str, str], connections: Connections) -> str:
    """Returns the bucket that the edge leads to; a running server is reached without the edge."""
    return "" if environment.get("S3_ENDPOINT_URL") else connections.object_store.bucket


def _needs_of(service: Service) -> tuple[str, ...]:
    """Returns what a service needs before it starts; who has the models' files reads the built-in model's manifest then."""
    servers = (MIGRATIONS, redis.NAME, s3.NAME)
    return (*servers, BUILT_IN_MODEL) if Need.MODEL_FILES in service.needs else servers


def servers(
    layout: Layout, secrets: Secrets, environment: Mapping[str, str], marks: WaterMarks = USUAL_MARKS
) -> tuple[tuple[Node, ...], Connections]:
    """Returns the servers below the services, ours or those that the environment names, and how to reach them."""
    database_nodes, database = _database(layout, secrets, environment, marks)
    redis_node, redis_url = _redis(layout, secrets, environment, marks)
    store_node, store = _object_store(layout, secrets, environment, marks)
    mail_nodes, smtp_url = _mail(layout, environment)
    nodes = (*database_nodes, redis_node, store_node, *mail_nodes)
    return nodes, Connections(database, redis_url, store, smtp_url)


def _database(
    layout: Layout, secrets: Secrets, environment: Mapping[str, str], marks: WaterMarks
) -> tuple[tuple[Node, ...], DatabaseConnection]:
    url = environment.get("DATABASE_URL")
    if url:
        running = DatabaseConnection.parse(url)
        return (running_database(postgres.DATABASE_STEP, running),), running
    own = postgres.Postgres(layout, secrets, marks)
    return own.nodes(), DatabaseConnection(own.admin_url(), postgres.MAX_CONNECTIONS)


def _redis(layout: Layout, secrets: Secrets, environment: Mapping[str, str], marks: WaterMarks) -> tuple[Node, str]:
    url = environment.get("REDIS_URL")
    if url:
        return running_redis(redis.NAME, url), url
    own = redis.Redis(layout, secrets, marks)
    return own.node(), own.url


def _mail(layout: Layout, environment: Mapping[str, str]) -> tuple[tuple[Node, ...], str]:
    """Returns the mailbox and its address, or a running mail server's, which needs no check: mails are retried."""
    url = environment.get("SMTP_URL")
    return ((), url) if url else ((mailbox.node(layout),), mailbox.url_of(layout))


def _object_store(
    layout: Layout, secrets: Secrets, environment: Mapping[str, str], marks: WaterMarks
) -> tuple[Node, ObjectStoreConnection]:
    if environment.get("S3_ENDPOINT_URL"):
        running = ObjectStoreConnection.parse(environment)
        return running_object_store(s3.NAME, running), running
    own = ObjectStoreConnection(
        s3.url_of(layout),
        secrets.s3_access_key,
        secrets.s3_secret_key,
        objects_public_url=f"{layout.origin}/objects",
    )
    return s3.S3Server(layout, secrets, (own.bucket, own.models_bucket), marks).node(), own
