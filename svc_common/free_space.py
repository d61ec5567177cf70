"""How much a folder's file system can still take, and from when on that counts as full. Imports the standard library only."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Store(StrEnum):
    """Names what can be full."""

    POSTGRESQL = "postgresql"
    REDIS = "redis"
    OBJECTS = "s3"
    MODELS = "models"
    """A worker's folder of models."""


@dataclass(frozen=True, slots=True)
class WaterMarks:
    """A store is full from below `low_bytes` of free space until `high_bytes` are free again."""

    low_bytes: int = 256 << 20
    high_bytes: int = 512 << 20


USUAL_MARKS: Final = WaterMarks()


def free_bytes(folder: Path) -> int:
    """Returns the bytes that an ordinary process may still write to a folder's file system; none without free inodes."""
    status = os.statvfs(folder)
    if status.f_files and not status.f_favail:
        return 0
    return status.f_bavail * status.f_frsize


class FolderGauge:
    """Tells whether the file system of a folder is full, with hysteresis."""

    def __init__(self, folder: Path, marks: WaterMarks, free: Callable[[Path], int] = free_bytes) -> None:
        """Takes the folder; one that isn't there is not full."""
        self.folder = folder
        self.marks = marks
        self.free_bytes = 0
        self._free = free
        self._is_full = False

    def is_full(self) -> bool:
        """Looks, and tells."""
        try:
            self.free_bytes = self._free(self.folder)
        except OSError:
            self._is_full = False
            return False
        self._is_full = self.free_bytes < (self.marks.high_bytes if self._is_full else self.marks.low_bytes)
        return self._is_full
