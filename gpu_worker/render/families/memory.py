"""Memory that ran out: how to tell, and how to render with less of it.

Owns the switches of diffusers that trade time for memory. They change the last bits of a picture, so they are set for
a second try only and are undone after it.
"""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import torch

# What torch's allocator for CPUs says; it has no exception of its own.
_MESSAGES: Final = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error means that memory ran out, of a GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


class OutOfMemorySuppressed:
    """A context that ends silently when memory runs out inside of it.

    What it doesn't do is keep the error: its traceback holds the frames, and they the tensors, that filled the memory.
    """

    def __enter__(self) -> Self:
        """Begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Ends, silently if memory ran out."""
        return error is not None and is_out_of_memory(error)


@contextlib.contextmanager
def low_memory(pipe: Any) -> Iterator[None]:
    """Computes attention in slices and decodes in tiles while it lasts."""
    pipe.enable_attention_slicing("max")
    pipe.vae.enable_slicing()
    pipe.vae.enable_tiling()
    try:
        yield
    finally:
        pipe.disable_attention_slicing()
        pipe.vae.disable_slicing()
        pipe.vae.disable_tiling()
