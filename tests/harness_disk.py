"""Owns a small disk for tests that fill one: a file system in memory, mounted where the kernel lets this process.

As a pytest plugin it offers `small_disk`; tests that use it are skipped where mounting isn't permitted, so whatever they
prove is also proven by a test that makes a store refuse in another way.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

_BLOCK_BYTES = 64 * 1024
_FILLER = "filler"
_MOUNT, _UMOUNT = shutil.which("mount") or "/bin/mount", shutil.which("umount") or "/bin/umount"


class SmallDisk:
    """A mounted file system that can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        """Takes where it is mounted."""
        self.folder = folder

    def fill(self, *, leaving_bytes: int = 0) -> None:
        """Writes until nothing fits any more, but for so many bytes."""
        # Somebody else may take the last block.
        with suppress(OSError), (self.folder / _FILLER).open("ab", buffering=0) as filler:
            while self.free_bytes > leaving_bytes:
                filler.write(bytes(min(_BLOCK_BYTES, self.free_bytes - leaving_bytes)))

    def make_room(self) -> None:
        """Deletes what `fill` wrote."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def grow(self, size: str) -> None:
        """Changes the size of the whole disk."""
        subprocess.run([_MOUNT, "-o", f"remount,size={size}", str(self.folder)], check=True)

    @property
    def free_bytes(self) -> int:
        """The bytes that can still be written."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize


@contextmanager
def mounted(size: str) -> Iterator[SmallDisk | None]:
    """Mounts a disk of a size such as "64m" until the block ends; None where mounting isn't permitted."""
    folder = Path(tempfile.mkdtemp(prefix="pingvas-test-disk-"))
    command = [_MOUNT, "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield SmallDisk(folder) if is_mounted else None
    finally:
        if is_mounted:
            # Lazily: a server that was killed may hold a file open for another moment.
            subprocess.run([_UMOUNT, "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture
def small_disk() -> Iterator[Callable[[str], SmallDisk]]:
    """Returns a function that mounts a disk of a size for the test."""
    with ExitStack() as stack:

        def mount(size: str) -> SmallDisk:
            disk = stack.enter_context(mounted(size))
            if disk is None:
                pytest.skip("mounting a file system isn't permitted here")
            return disk

        yield mount
