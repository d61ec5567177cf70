"""Looks at the pixels of masks, so that one that is no use is refused before a job is charged for it."""

from typing import Final

from pingvas.gallery.v1 import source_service_pb2

from svc_common.decoding import PictureRefusedError, decode_mask
from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_common.masks import fault_of
from svc_common.objects import ObjectStore
from svc_common.turns import Turns
from svc_gallery.domain.uploads import useless_mask

_SECONDS: Final = 10.0


class MaskChecker:
    """Decodes masks in a thread of its own, one after the other: the event loop goes on meanwhile."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the store of the bytes."""
        self._objects = objects
        self._turns = Turns("masks", _SECONDS)

    async def check(self, source: source_service_pb2.Source) -> None:
        """Refuses a mask that can't be decoded, or repaints nothing or everything.

        Raises:
            ServiceError: SOURCE_INVALID; DEPENDENCY_UNAVAILABLE when its turn doesn't come in time.
        """
        try:
            async with self._turns.next() as turn:
                # Read in its turn, so that no more than one file is in memory.
                data = await self._objects.read(source.object_key) or b""
                fault = await turn.run(_fault, data, source)
        except TimeoutError:
            raise dependency_unavailable("masks", "Too many masks are being looked at. Retry with backoff.") from None
        except PictureRefusedError as error:
            message = f"The mask {error}"
            raise ServiceError(Reason.SOURCE_INVALID, message, metadata={"cause": "damaged"}) from None
        if fault is not None:
            raise useless_mask(fault)


def _fault(data: bytes, source: source_service_pb2.Source) -> str | None:
    return fault_of(decode_mask(data, source.width_px, source.height_px))
