"""Where the objects of a picture lie in the object store, and how long an address of one works."""

from datetime import timedelta
from typing import Final
from uuid import UUID

ORIGINAL, THUMBNAIL, METADATA = "original.png", "thumbnail.webp", "metadata.json"
OBJECT_NAMES: Final = (ORIGINAL, THUMBNAIL, METADATA)

ADDRESS_LIFETIME: Final = timedelta(minutes=5)
"""How long a presigned address of a picture works: long enough to fetch it, too short to pass it on."""
UPLOAD_LIFETIME: Final = timedelta(hours=1)
"""How long a worker may upload to an attempt's slots: longer than any attempt takes."""
SOURCE_LIFETIME: Final = timedelta(hours=1)
"""How long a worker may fetch what a job works on: it does so at once, but a model may have to be fetched before."""


def object_key(account_id: UUID, image_id: UUID, name: str) -> str:
    """Returns the key of one object of a picture."""
    return f"users/{account_id}/images/{image_id}/{name}"
