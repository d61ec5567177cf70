"""The tokens of this person, by deployment, in one file that only they may read."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "credentials.json"
# A token is replaced while it still has this much life, so that it does not end on its way.
_RENEWAL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in at one deployment; the expiry is in seconds since the epoch."""

    email: str
    access_token: str
    refresh_token: str
    expire_time: float

    def is_fresh(self, now: float) -> bool:
        """Returns whether the access token can still be used."""
        return now < self.expire_time - _RENEWAL_SECONDS


class Credentials:
    """The file of sessions."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the file, which is made when something is saved."""
        self._folder = folder
        self._path = folder / _FILE

    def find(self, endpoint: str) -> Session | None:
        """Returns the session at a deployment, if there is one."""
        found = self._read().get(endpoint)
        return Session(**found) if found else None  # type: ignore[arg-type]

    def save(self, endpoint: str, session: Session) -> None:
        """Keeps a session in place of the former one."""
        self._write(self._read() | {endpoint: asdict(session)})

    def forget(self, endpoint: str) -> None:
        """Drops the session at a deployment."""
        self._write({key: value for key, value in self._read().items() if key != endpoint})

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keeps other commands out while a session changes.

        A refresh token works once, and a second use revokes the whole session: two commands at the same time must not
        both use it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._folder / f"{_FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, dict[str, object]]:
        if not self._path.exists():
            return {}
        document: dict[str, dict[str, object]] = json.loads(self._path.read_text(encoding="utf-8"))
        return document

    def _write(self, document: dict[str, dict[str, object]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=2)
        draft.replace(self._path)
