"""Finds the pictures that a job works on: svc_gallery knows whose they are and what they hold."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from pingvas.gallery.v1 import source_service_pb2, source_service_pb2_grpc
from pingvas.generation.v1.job_pb2 import ImageSource

from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_generation.messages.operations import Operation, kind_of, mask_of, source_of


@dataclass(frozen=True, slots=True)
class Sources:
    """Holds what an operation works on; None for what it does without."""

    picture: source_service_pb2.Source | None = None
    mask: source_service_pb2.Source | None = None


class SourceResolver:
    """Resolves the sources and masks of operations."""

    def __init__(self, gallery: "source_service_pb2_grpc.SourceServiceAsyncStub") -> None:
        """Takes the internal stub."""
        self._gallery = gallery

    async def resolve(self, operation: Operation, account_id: UUID) -> Sources:
        """Returns what an account's operation works on.

        Raises:
            ServiceError: SOURCE_NOT_FOUND, SOURCE_INVALID with the field's path.
        """
        prefix = kind_of(operation)
        picture, mask = await asyncio.gather(
            self._resolved(source_of(operation), account_id, f"{prefix}.source"),
            self._resolved(mask_of(operation), account_id, f"{prefix}.mask", is_mask=True),
        )
        return Sources(picture, mask)

    async def resolve_one(
        self, source: ImageSource, account_id: UUID, field: str, *, is_mask: bool = False
    ) -> source_service_pb2.Source:
        """Returns one picture of an account; `field` is where the request names it.

        Raises:
            ServiceError: SOURCE_NOT_FOUND, SOURCE_INVALID with the field's path.
        """
        request = source_service_pb2.ResolveSourceRequest(account_id=str(account_id), is_mask=is_mask)
        if source.HasField("image_id"):
            request.image_id = source.image_id
        else:
            request.upload_id = source.upload_id
        try:
            return await self._gallery.ResolveSource(request)
        except ServiceError as error:
            if error.reason is Reason.SOURCE_INVALID:
                # The gallery knows the picture, but not which field of the request named it.
                error.violations = (FieldViolation(field, error.message),)
            raise

    async def _resolved(
        self, source: ImageSource | None, account_id: UUID, field: str, *, is_mask: bool = False
    ) -> source_service_pb2.Source | None:
        return None if source is None else await self.resolve_one(source, account_id, field, is_mask=is_mask)
