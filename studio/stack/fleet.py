"""Our own processes in a stack: migrations, the five services, the built-in model and the workers.

What a setting means is documented where the service declares it; this module decides the values for one machine.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.stack.commands import run_to_end
from studio.stack.connections import Connections
from studio.stack.keys import WORKER_NAME, Secrets
from studio.stack.layout import AREAS, HOST, Layout
from studio.stack.probes import grpc_probe, http_probe
from studio.stack.process import Listener, Process, Step

MIGRATIONS = "migrations"
BRIDGE = "edge_http"
BUILT_IN_MODEL = "built-in-model"
SERVICES = tuple(f"svc_{area}" for area in AREAS)

# gRPC polls as it did in Python until 1.80: docs/adr/0014.
GRPC_EXPERIMENTS = "-event_engine_client,-event_engine_listener"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The services and workers of one stack."""

    layout: Layout
    secrets: Secrets
    connections: Connections
    worker_count: int = 1
    # Settings that are to differ from the usual ones, given to every service and worker.
    overrides: Mapping[str, str] = field(default_factory=dict)

    def migrations(self, depends_on: tuple[str, ...]) -> Step:
        """Returns the step that brings every schema and role up to date."""
        environment = {
            "ADMIN_DATABASE_URL": self.connections.database.admin_url,
            "ROLE_PASSWORDS_FILE": str(self.secrets.role_passwords),
        }

        async def migrate() -> None:
            log = self.layout.log(MIGRATIONS)
            await run_to_end(
                "the migration of the database", _module("svc_common.migrations"), log, environment=environment
            )

        return Step(MIGRATIONS, migrate, depends_on)

    def built_in_model(self) -> Step:
        """Returns the step that builds the built-in model, which does nothing when it is there and whole."""

        async def build() -> None:
            log = self.layout.log(BUILT_IN_MODEL)
            command = (*_module("gpu_worker.builtin"), str(self.layout.models))
            await run_to_end("building the built-in model", command, log)

        return Step(BUILT_IN_MODEL, build)

    def service(self, area: str, depends_on: tuple[str, ...]) -> Process:
        """Returns a service's process."""
        name, ports = f"svc_{area}", self.layout.ports
        return Process(
            name=name,
            command=_module(f"{name}.main"),
            probe=grpc_probe(ports.internal(area)),
            address=f"{HOST}:{ports.public(area)}",
            log=self.layout.log(name),
            environment={**self._common(), **self._service(area), **self.overrides},
            depends_on=depends_on,
            listeners=(
                Listener(ports.public(area), "public calls"),
                Listener(ports.internal(area), "internal calls"),
                Listener(ports.metrics(area), "metrics"),
            ),
        )

    def bridge(self) -> Process:
        """Returns the HTTP bridge's process, which needs nothing before it: it connects when it is first called."""
        ports = self.layout.ports
        addresses = {f"{area.upper()}_PUBLIC_ADDRESS": f"{HOST}:{ports.public(area)}" for area in AREAS}
        return Process(
            name=BRIDGE,
            command=_module("edge_http.main"),
            probe=http_probe(ports.bridge, "/readyz"),
            address=f"{HOST}:{ports.bridge}",
            log=self.layout.log(BRIDGE),
            environment={
                **addresses,
                "LISTEN_ADDRESS": f"{HOST}:{ports.bridge}",
                "PAGE_IS_SECURE": "false",
                "OBJECTS_ORIGIN": self.connections.object_store.public_origin,
                "PYTHONUNBUFFERED": "1",
                "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,
                **self.overrides,
            },
            outlived_by=SERVICES,
            listeners=(Listener(ports.bridge, "HTTP"),),
        )

    def workers(self, depends_on: tuple[str, ...]) -> tuple[Process, ...]:
        """Returns the workers' processes.

        They do not wait for the services, so that torch, whose import takes seconds, is loaded meanwhile; a worker is
        healthy once a service has told it the default model.
        """
        return tuple(self._worker(index, depends_on) for index in range(self.worker_count))

    def _worker(self, index: int, depends_on: tuple[str, ...]) -> Process:
        name, port = f"worker-{index}", self.layout.ports.worker_metrics(index)
        own = {
            "WORKER_ID": name,
            "METRICS_PORT": str(port),
            "SERVICE_KEY_FILE": str(self.secrets.service_key(WORKER_NAME)),
            "MODELS_DIR": str(self.layout.models),
        }
        return Process(
            name=name,
            command=_module("gpu_worker.main"),
            probe=http_probe(port, "/healthz"),
            address=f"{HOST}:{port}",
            log=self.layout.log(name),
            environment={**self._common(), **own, **self.overrides},
            depends_on=depends_on,
            outlived_by=SERVICES,
            listeners=(Listener(port, "metrics"),),
            # The first import of torch on a cold disk takes most of a minute.
            ready_within_seconds=180.0,
            # Longer than the time that a stopping worker lets its job finish in (GRACE_SECONDS, 25).
            stop_within_seconds=40.0,
        )

    def _common(self) -> dict[str, str]:
        """Returns the settings that services and workers share."""
        addresses = {f"{area.upper()}_INTERNAL_ADDRESS": f"{HOST}:{self.layout.ports.internal(area)}" for area in AREAS}
        return {
            "REDIS_URL": self.connections.redis_url,
            "SERVICE_JWKS_FILE": str(self.secrets.service_jwks),
            "USER_JWKS_FILE": str(self.secrets.user_jwks),
            # An answer from a log that is buffered in a dead process is no answer.
            "PYTHONUNBUFFERED": "1",
            "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,
            **self.connections.object_store.environment,
            **addresses,
        }

    def _service(self, area: str) -> dict[str, str]:
        """Returns the settings of one service."""
        ports, database = self.layout.ports, self.connections.database
        requests, tasks = database.requests_role(area), database.tasks_role(area)
        return {
            "PUBLIC_ADDRESS": f"{HOST}:{ports.public(area)}",
            "INTERNAL_ADDRESS": f"{HOST}:{ports.internal(area)}",
            "METRICS_PORT": str(ports.metrics(area)),
            "DATABASE_URL": database.url_for(requests, self.secrets.role_password(requests)),
            "TASKS_DATABASE_URL": database.url_for(tasks, self.secrets.role_password(tasks)),
            "SERVICE_KEY_FILE": str(self.secrets.service_key(f"svc_{area}")),
            "EDGE_SECRET_FILE": str(self.secrets.edge_secret),
            "USER_SIGNING_KEY_FILE": str(self.secrets.user_signing_key),
            "CATALOGUE_DIRS": str(self.layout.models),
            "REFLECTION": "true",
        }


def _module(name: str) -> tuple[str, ...]:
    """Returns the command that runs one of our modules with the interpreter of this process."""
    return (sys.executable, "-m", name)
