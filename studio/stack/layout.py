"""Where everything of a local stack is: its ports and the folders under its data directory.

This module owns the numbers and the names. It creates the folders, and leaves what is put into them to others.
"""

from dataclasses import dataclass
from pathlib import Path

from studio.stack.failures import StackError
from studio.stack.sockets import ensure_private_folder, socket_path
from svc_common.registry import SERVICES, service_of

HOST = "127.0.0.1"
DEFAULT_PORT_BASE = 8000

# Offsets from the port base. Those of services
# have the service's number as their last digit. A stack occupies some hundred ports from its base, so bases are best
# chosen 1000 apart.
_EDGE, _BRIDGE, _PAYMENTS, _POSTGRES, _REDIS, _S3, _SMTP = 80, 6, 7, 32, 79, 33, 45
_PUBLIC, _METRICS, _WORKER_METRICS, _INTERNAL = 0, 10, 21, 100

# Worker metrics start at offset 21 and PostgreSQL stands at 32.
MAX_WORKERS = _POSTGRES - _WORKER_METRICS
HIGHEST_OFFSET = _INTERNAL + max(service.number for service in SERVICES)

_OWNER_ONLY, _PASSABLE = 0o700, 0o711


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one stack, all counted from one base."""

    base: int = DEFAULT_PORT_BASE

    @property
    def edge(self) -> int:
        """The port of Envoy, on which everything public is served."""
        return self.base + _EDGE

    @property
    def bridge(self) -> int:
        """The port of the HTTP bridge, to which Envoy sends streams."""
        return self.base + _BRIDGE

    @property
    def payments(self) -> int:
        """The port of the payment provider's stand-in."""
        return self.base + _PAYMENTS

    @property
    def postgres(self) -> int:
        """The port of PostgreSQL."""
        return self.base + _POSTGRES

    @property
    def redis(self) -> int:
        """The port of Redis."""
        return self.base + _REDIS

    @property
    def s3(self) -> int:
        """The port of the S3 server."""
        return self.base + _S3

    @property
    def smtp(self) -> int:
        """The port of the mailbox's SMTP server."""
        return self.base + _SMTP

    def public(self, area: str) -> int:
        """Returns the port of a service's public listener, which Envoy routes to."""
        return self.base + _PUBLIC + service_of(area).number

    def internal(self, area: str) -> int:
        """Returns the port of a service's internal listener, which only services, workers and the operator call."""
        return self.base + _INTERNAL + service_of(area).number

    def metrics(self, area: str) -> int:
        """Returns the port on which a service shows its Prometheus metrics."""
        return self.base + _METRICS + service_of(area).number

    def worker_metrics(self, index: int) -> int:
        """Returns the port on which a worker shows its metrics and its health."""
        return self.base + _WORKER_METRICS + index


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and ports of one local stack."""

    data_dir: Path
    ports: Ports = Ports()
    # Whether the edge serves TLS, and the processes show each other certificates.
    tls: bool = False

    @property
    def origin(self) -> str:
        """Scheme, host and port of the edge."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.ports.edge}"

    @property
    def authority(self) -> Path:
        """The certificate of the stack's own authority, which clients of a stack with TLS trust."""
        return self.data_dir / "ca.pem"

    @property
    def postgres(self) -> Path:
        """The folder of PostgreSQL's cluster."""
        return self.data_dir / "postgres"

    @property
    def redis(self) -> Path:
        """The folder of Redis' append-only file."""
        return self.data_dir / "redis"

    @property
    def s3(self) -> Path:
        """The folder in which each bucket is a folder and each object a file."""
        return self.data_dir / "s3"

    @property
    def mail(self) -> Path:
        """The folder of the mailbox, with one file for each mail."""
        return self.data_dir / "mail"

    @property
    def logs(self) -> Path:
        """The folder with one log for each process."""
        return self.data_dir / "logs"

    @property
    def keys(self) -> Path:
        """The folder of secrets, readable by its owner only."""
        return self.data_dir / "keys"

    @property
    def run(self) -> Path:
        """The folder of what is true only while the stack runs: its lock, its state, rendered configuration."""
        return self.data_dir / "run"

    @property
    def edge_admin(self) -> Path:
        """The Unix socket of Envoy's own administration, which takes orders from whoever reaches it.

        No port of the machine: any page in its owner's browser can send a POST there.
        """
        return socket_path(self.run, "envoy-admin.sock")

    @property
    def edge_token_check(self) -> Path:
        """Envoy's own file about access tokens, with the keys that it knows."""
        return self.run / "token-check.json"

    @property
    def payments(self) -> Path:
        """The file in which the payment provider's stand-in keeps what was bought."""
        return self.data_dir / "payments.json"

    @property
    def models(self) -> Path:
        """The folder of model weights."""
        return self.data_dir / "models"

    def create(self) -> None:
        """Creates the folders that are missing; only their owner may look into them.

        Others may pass through the data folder, since PostgreSQL runs as another user where root starts the stack. The
        mode of a data folder that was there before is its owner's choice.

        Raises StackError when the data folder can't be made or written to.
        """
        try:
            if not self.data_dir.exists():
                self.data_dir.mkdir(parents=True)
                self.data_dir.chmod(_PASSABLE)
            for folder in (self.redis, self.s3, self.mail, self.logs, self.run, self.models, self.keys):
                folder.mkdir(exist_ok=True)
                folder.chmod(_OWNER_ONLY)
            ensure_private_folder(self.edge_admin.parent)
        except OSError as error:
            raise StackError(
                f"the data folder {self.data_dir} can't be used: {error.strerror}: {error.filename}",
                advice="Choose another with --data-dir, or correct its owner and permissions.",
            ) from error

    def log(self, process_name: str) -> Path:
        """Returns the log of a process."""
        return self.logs / f"{process_name}.log"
