"""Where the objects of accounts lie in the bucket. The account stands in front, so that one prefix finds everything of it."""

from typing import Final
from uuid import UUID

ORIGINAL: Final = "original.png"
THUMBNAIL: Final = "thumbnail.webp"
METADATA: Final = "metadata.json"
"""What made the picture, as JSON."""
RECIPE_FREE: Final = "shared.png"
"""The original without what tells how it was made."""


def account_prefix(account_id: UUID) -> str:
    """Returns below what all objects of an account lie: pictures and uploads."""
    return f"users/{account_id}"


def image_key(account_id: UUID, image_id: UUID, name: str) -> str:
    """Returns the key of one object of a picture."""
    return f"{account_prefix(account_id)}/images/{image_id}/{name}"


def upload_key(account_id: UUID, upload_id: UUID) -> str:
    """Returns the key of a file that a person has uploaded."""
    return f"{account_prefix(account_id)}/uploads/{upload_id}"


def loras_prefix(account_id: UUID) -> str:
    """Returns below what the LoRAs lie that an account has of its own."""
    return f"{account_prefix(account_id)}/loras"


def lora_prefix(account_id: UUID, lora_id: UUID) -> str:
    """Returns below what all objects of one of them lie: the parts of its upload, and its file."""
    return f"{loras_prefix(account_id)}/{lora_id}"
