"""A file that somebody else replaces while the process runs, such as published keys or a renewed certificate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one state of a file from another. A rename gives it another inode, whatever the clock says."""

    inode: int
    modified_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Looks at a file; raises OSError when it isn't there."""
        found = path.stat()
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


class WatchedFile:
    """A file that somebody else replaces. It is small and on this machine: looking at it blocks for microseconds."""

    def __init__(self, path: Path) -> None:
        """Takes the file, which must exist."""
        self.path: Final = path
        self._taken: _Version | None = None

    def read(self) -> bytes:
        """Returns the content, and counts it as taken."""
        version = _Version.of(self.path)
        content = self.path.read_bytes()
        self._taken = version
        return content

    def has_changed(self) -> bool:
        """Tells whether the file differs from what was read last. One that is missing at the moment hasn't changed."""
        try:
            return _Version.of(self.path) != self._taken
        except OSError:
            return False
