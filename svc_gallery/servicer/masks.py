"""Looks at the pixels of masks, so that one that is no use is refused before a job is charged for it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pingvas.gallery.v1 import source_service_pb2

from svc_common.decoding import PictureRefusedError, decode_mask
from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_common.masks import fault_of
from svc_common.objects import ObjectStore
from svc_gallery.domain.uploads import useless_mask

_AT_ONCE: Final = 1
"""A mask of 40 megapixels takes some 500 MB while it is decoded. Most take a few milliseconds."""
_SECONDS: Final = 10.0


class MaskChecker:
    """Decodes masks in a thread of its own, one after the other: the event loop goes on meanwhile."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the store of the bytes."""
        self._objects = objects
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="masks")
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def check(self, source: source_service_pb2.Source) -> None:
        """Refuses a mask that can't be decoded, or repaints nothing or everything.

        Raises:
            ServiceError: SOURCE_INVALID; DEPENDENCY_UNAVAILABLE when its turn doesn't come in time.
        """
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                # Read in its turn, so that no more than one file is in memory.
                data = await self._objects.read(source.object_key) or b""
                work = asyncio.get_running_loop().run_in_executor(self._pool, _fault, data, source)
                # With one thread, work that outlives its time is waited for by the next turn.
                fault = await work
        except TimeoutError:
            raise dependency_unavailable("masks", "Too many masks are being looked at. Retry with backoff.") from None
        except PictureRefusedError as error:
            message = f"The mask {error}"
            raise ServiceError(Reason.SOURCE_INVALID, message, metadata={"cause": "damaged"}) from None
        if fault is not None:
            raise useless_mask(fault)


def _fault(data: bytes, source: source_service_pb2.Source) -> str | None:
    return fault_of(decode_mask(data, source.width_px, source.height_px))
