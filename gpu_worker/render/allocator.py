"""Memory: how much of a GPU is used, and how the C library keeps that of tensors on a processor between operations.

By default glibc gives what a large tensor took back to the kernel when it is freed, and the next operation's first touch of
each page waits for the kernel to clear it. Measured on two cores: a picture of 1024 x 1024 pixels took a million page faults,
and 4.2 s of which 1.8 were the kernel's; with what is set here none, and 2.3 s. PyTorch's guide to tuning on processors
advises to replace the allocator for the same reason; the C library's own needs no other package.
"""

import ctypes
import sys
from typing import Final

import structlog

_KEPT_BYTES: Final = 1 << 30
"""Larger tensors are mapped by themselves, and free memory beyond it goes back."""
# The parameters' numbers, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_log = structlog.get_logger(__name__)


def keep_freed_memory() -> None:
    """Lets freed memory be used again by the next operation. To be called before there are threads.

    All threads share one arena: in any other a block is 64 MiB at most, and larger ones are mapped whatever the thresholds
    say. Does nothing where the C library has no such parameters.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    parameters = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _KEPT_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    if mallopt is None or not all(mallopt(parameter, value) for parameter, value in parameters):
        _log.info("allocator.unchanged")


def device_memory() -> tuple[int, int]:
    """Returns the used and all bytes of the GPU's memory, or zeros without a GPU or before torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0, 0
    free, total = torch.cuda.mem_get_info()
    return total - free, total
