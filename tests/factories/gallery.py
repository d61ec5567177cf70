"""Builds imports for the gallery, the bytes that they speak of, and the clock that it reads."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pingvas.gallery.v1 import import_service_pb2

from svc_common.clock import new_id


@dataclass(slots=True)
class Clock:
    """The service's clock, ahead of the real one by as much as a test says."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def content_of(image_id: UUID | str) -> bytes:
    """Returns made-up bytes of a picture, others for each."""
    return f"the picture {image_id}".encode()


def imported_image(image_id: UUID | None = None, *, seed: int = 7) -> import_service_pb2.ImportedImage:
    """Returns a picture to be taken in."""
    image_id = image_id or new_id()
    content = content_of(image_id)
    return import_service_pb2.ImportedImage(
        image_id=str(image_id),
        width_px=256,
        height_px=128,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="image/png",
        seed=seed,
    )


def import_request(
    account_id: UUID, *, job_id: UUID | None = None, image_count: int = 1
) -> import_service_pb2.ImportImagesRequest:
    """Returns an import of a new job, or of the given one with new pictures."""
    return import_service_pb2.ImportImagesRequest(
        account_id=str(account_id),
        created_by=str(account_id),
        job_id=str(job_id or new_id()),
        prompt="a penguin",
        model_id="pingvas-tiny",
        images=[imported_image(seed=-7 + position) for position in range(image_count)],
    )
