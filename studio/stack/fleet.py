"""Our own processes in a stack: migrations, the services, the built-in model and the workers.

What a setting means is documented where the service declares it; this module decides the values for one machine.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.stack.certificates import tls_of
from studio.stack.commands import run_to_end
from studio.stack.connections import Connections
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import grpc_probe, http_probe, worker_probe
from studio.stack.process import Listener, Process, Step
from studio.stack.servers.payments import payment_settings
from svc_common.connection_budget import share_of_each
from svc_common.contracts import DESCRIPTOR_SET, neighbours_of
from svc_common.registry import AREAS, BRIDGE_NAME, OPERATOR_NAME, SERVICES, WORKER_NAME, Need, Service

MIGRATIONS = "migrations"
BUILT_IN_MODEL = "built-in-model"
_SERVICE_NAMES = tuple(service.name for service in SERVICES)

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
    # Folders of the stores that lie on this machine, by store.
    storage_folders: Mapping[str, str] = field(default_factory=dict)

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
            command = (*_module("gpu_worker.models.builtin"), str(self.layout.models))
            await run_to_end("building the built-in model", command, log)

        return Step(BUILT_IN_MODEL, build)

    def service(self, service: Service, depends_on: tuple[str, ...]) -> Process:
        """Returns a service's process."""
        name, area, ports = service.name, service.area, self.layout.ports
        return Process(
            name=name,
            command=_module(f"{name}.main"),
            probe=grpc_probe(ports.internal(area), tls_of(self.layout, OPERATOR_NAME)),
            address=f"{HOST}:{ports.public(area)}",
            log=self.layout.log(name),
            environment={**self._common(name), **self._service(service), **self._tls_settings(name), **self.overrides},
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
            name=BRIDGE_NAME,
            command=_module("edge_http.main"),
            probe=http_probe(ports.bridge, "/readyz"),
            address=f"{HOST}:{ports.bridge}",
            log=self.layout.log(BRIDGE_NAME),
            environment={
                **addresses,
                "LISTEN_ADDRESS": f"{HOST}:{ports.bridge}",
                **self._as_caller(BRIDGE_NAME),
                "PAGE_IS_SECURE": str(self.layout.tls).lower(),
                "OBJECTS_ORIGIN": self.connections.object_store.public_origin,
                "PYTHONUNBUFFERED": "1",
                "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,
                **self._tls_settings(BRIDGE_NAME),
                **self.overrides,
            },
            outlived_by=_SERVICE_NAMES,
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
            "MODELS_DIR": str(self.layout.models),
        }
        return Process(
            name=name,
            command=_module("gpu_worker.main"),
            probe=worker_probe(port),
            address=f"{HOST}:{port}",
            log=self.layout.log(name),
            environment={**self._common(WORKER_NAME), **own, **self._tls_settings(WORKER_NAME), **self.overrides},
            depends_on=depends_on,
            outlived_by=_SERVICE_NAMES,
            listeners=(Listener(port, "metrics"),),
            # The first import of torch on a cold disk takes most of a minute.
            ready_within_seconds=180.0,
            # Longer than the time that a stopping worker lets its job finish in (GRACE_SECONDS, 25).
            stop_within_seconds=40.0,
        )

    def _tls_settings(self, name: str) -> dict[str, str]:
        """Returns the settings by which a process shows the others its certificate."""
        tls = tls_of(self.layout, name)
        if tls is None:
            return {}
        return {
            "TLS_CERTIFICATE_FILE": str(tls.certificate),
            "TLS_KEY_FILE": str(tls.key),
            "TLS_CA_FILE": str(tls.authority),
        }

    def _as_caller(self, name: str) -> dict[str, str]:
        """Returns the key of a process, and where the services are that the contracts let it call."""
        called = neighbours_of(DESCRIPTOR_SET.read_bytes(), name)
        addresses = {
            f"{area.upper()}_INTERNAL_ADDRESS": f"{HOST}:{self.layout.ports.internal(area)}" for area in called
        }
        return {"SERVICE_KEY_FILE": str(self.secrets.service_key(name)), **addresses}

    def _common(self, name: str) -> dict[str, str]:
        """Returns the settings that services and workers have."""
        return {
            "REDIS_URL": self.connections.redis_url,
            # An answer from a log that is buffered in a dead process is no answer.
            "PYTHONUNBUFFERED": "1",
            "GRPC_EXPERIMENTS": GRPC_EXPERIMENTS,
            **self._as_caller(name),
        }

    def _service(self, service: Service) -> dict[str, str]:
        """Returns the settings of one service."""
        area, ports, database = service.area, self.layout.ports, self.connections.database
        requests, tasks = database.requests_role(area), database.tasks_role(area)
        given: dict[str, str] = {}
        if database.max_connections:
            given["DATABASE_CONNECTIONS"] = str(share_of_each(database.max_connections, len(SERVICES)))
        for need in service.needs:
            given |= self._given_for(need)
        return {
            "PUBLIC_ADDRESS": f"{HOST}:{ports.public(area)}",
            "INTERNAL_ADDRESS": f"{HOST}:{ports.internal(area)}",
            "METRICS_PORT": str(ports.metrics(area)),
            "DATABASE_URL": database.url_for(requests, self.secrets.role_password(requests)),
            "TASKS_DATABASE_URL": database.url_for(tasks, self.secrets.role_password(tasks)),
            "SERVICE_JWKS_FILE": str(self.secrets.service_jwks),
            "USER_JWKS_FILE": str(self.secrets.user_jwks),
            "EDGE_SECRET_FILE": str(self.secrets.edge_secret),
            "REFLECTION": "true",
            "STORAGE_FOLDERS": json.dumps(dict(self.storage_folders)),
            **given,
            **self._own(area),
        }

    def _given_for(self, need: Need) -> dict[str, str]:
        """Returns the settings that a need of a service stands for."""
        match need:
            case Need.PICTURES:
                return self.connections.object_store.pictures
            case Need.MODEL_FILES:
                return {**self.connections.object_store.model_files, "CATALOGUE_DIRS": str(self.layout.models)}
            case Need.SIGNING_KEY:
                return {"USER_SIGNING_KEY_FILE": str(self.secrets.user_signing_key)}
            case Need.MAIL:
                return {"SMTP_URL": self.connections.smtp_url}
            case Need.PAYMENT_PROVIDERS:
                return payment_settings(self.layout, self.secrets)

    def _own(self, area: str) -> dict[str, str]:
        """Returns the settings of one area in which a stack on one's own machine differs from a deployment."""
        if area == "user":
            return {
                "STUDIO_URL": self.layout.origin,
                "API_KEY_ENVIRONMENT": "local",
                # Who has the machine has the mailbox: a first picture needn't wait for it.
                "LOGIN_REQUIRES_VERIFIED_EMAIL": "false",
                # The first administrator has a password that lies on the machine anyway.
                "ADMINISTRATORS_NEED_SECOND_FACTOR": "false",
            }
        if area == "generation":
            # A receiver on this machine is what a developer tries webhooks with; nobody else registers any here.
            return {"WEBHOOKS_TO_PRIVATE_ADDRESSES": "true"}
        return {}


def _module(name: str) -> tuple[str, ...]:
    """Returns the command that runs one of our modules with the interpreter of this process."""
    return (sys.executable, "-m", name)
