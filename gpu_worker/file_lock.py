"""A lock between workers that share a folder, on one machine or on several.

Owns taking and dropping the lock of one file. `docs/adr/0009-a-kernel-lock-guards-a-fetch.md` says why it is the
kernel's. Leaves waiting to the caller.
"""

import fcntl
import os
from pathlib import Path

_FILE_MODE = 0o666  # whoever shares the folder may take the lock; the umask narrows it


class FileLock:
    """An exclusive lock of whoever has the file open; the kernel drops it when the holder dies, however it dies.

    Each instance is a holder of its own, also within one process. The file stays when the lock is dropped: another
    could be opening it, and would then lock a file that nobody else sees.
    """

    def __init__(self, path: Path) -> None:
        """Takes the file to lock, which is created when it is first locked."""
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock and returns True, or returns False while another holds it; raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Open for writing, which a network file system wants for an exclusive lock.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Drops the lock; does nothing when it isn't held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
