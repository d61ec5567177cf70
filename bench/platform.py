"""A running platform to measure: the real fleet, accounts with credits, and what each process has used of the CPU."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import grpc
import psutil
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from studio.scratch import ScratchStack, scratch_layout
from studio.stack.keys import ensure_secrets
from studio.stack.servers import redis as redis_server
from svc_common.clock import new_id, now
from svc_common.tokens import AccessTokenIssuer, SigningKey

CREDITS_MILLI = 10**12
_TOKEN_LIFETIME = timedelta(hours=2)
ISSUER, AUDIENCE = "https://pingvas.studio", "pingvas-api"


@contextmanager
def platform(workers: int, settings: Mapping[str, str] | None = None) -> Iterator[ScratchStack]:
    """Starts a fleet in a scratch folder, logging warnings only, and stops it at the end."""
    with TemporaryDirectory(prefix="pingvas-bench-") as folder:
        # One account makes more calls than any tier allows: what is measured is the platform, not its limits.
        values = {"LOG_LEVEL": "warning", "ACCOUNT_LIMIT_FACTOR": "0", **(settings or {})}
        with ScratchStack(Path(folder), workers=workers, settings=values) as fleet:
            yield fleet


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A Redis that runs alone."""

    url: str
    pid: int


@contextmanager
def own_redis(folder: Path) -> Iterator[RedisServer]:
    """Runs a stack's Redis server without the stack, with its data in a folder."""
    layout = scratch_layout(folder)
    layout.create()
    redis = redis_server.Redis(layout, ensure_secrets(layout.keys))
    with (
        subprocess.Popen(redis.node().command, stdout=subprocess.DEVNULL) as process,
        Redis.from_url(redis.url) as client,
    ):
        try:
            while True:
                with suppress(RedisConnectionError):
                    client.ping()
                    break
                time.sleep(0.01)
            yield RedisServer(redis.url, process.pid)
        finally:
            process.terminate()


class Accounts:
    """Made-up accounts of the highest tier, with more credits than any benchmark spends."""

    def __init__(self, fleet: ScratchStack, count: int) -> None:
        """Grants the credits and signs the tokens with the fleet's own key."""
        self.ids = [new_id() for _ in range(count)]
        for account_id in self.ids:
            fleet.administrator.set_tier(str(account_id), "enterprise")
            fleet.administrator.grant(str(account_id), CREDITS_MILLI)
        key = SigningKey.from_file(fleet.secrets.user_signing_key)
        self._issuer = AccessTokenIssuer(key, ISSUER, AUDIENCE, _TOKEN_LIFETIME)
        self.metadata = [self._metadata(account_id) for account_id in self.ids]

    def _metadata(self, account_id: UUID) -> tuple[tuple[str, str], ...]:
        token = self._issuer.issue(account_id, account_id, new_id(), now())
        return (("authorization", f"Bearer {token}"),)


class CpuMeter:
    """Measures the CPU seconds of the fleet's processes, their children included, and of this process."""

    def __init__(self, fleet: ScratchStack, names: tuple[str, ...]) -> None:
        """Takes the names of the processes of interest."""
        self._processes = {name: psutil.Process(fleet.process(name).pid) for name in names}
        self._processes["client"] = psutil.Process(os.getpid())

    def read(self) -> dict[str, float]:
        """Returns the CPU seconds used so far by each."""
        return {name: _cpu_seconds(process) for name, process in self._processes.items()}


def _cpu_seconds(process: psutil.Process) -> float:
    """Returns what a process has used, with its children: PostgreSQL serves each connection in one."""
    # The four fields: user, system, and both of the children that have ended.
    total = sum(process.cpu_times()[:4]) if process.pid != os.getpid() else sum(process.cpu_times()[:2])
    for child in process.children(recursive=True) if process.pid != os.getpid() else ():
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return float(total)


def machine() -> dict[str, str]:
    """Describes the machine that a result was measured on."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "cores": str(os.cpu_count()),
        "memory_gib": str(round(psutil.virtual_memory().total / 2**30)),
        "load_before": load,
        "grpc": grpc.__version__,
    }
