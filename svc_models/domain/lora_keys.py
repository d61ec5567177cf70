"""Owns where the objects of accounts' own LoRAs lie: beside an account's pictures, so that one prefix finds all it has."""

from uuid import UUID

from svc_common.object_keys import lora_prefix
from svc_models.domain.loras import FILE_NAME, Part


def parts_prefix(account_id: UUID, lora_id: UUID) -> str:
    """Returns below what the parts of an upload lie."""
    return f"{lora_prefix(account_id, lora_id)}/parts"


def part_key(account_id: UUID, lora_id: UUID, part: Part) -> str:
    """Returns the key of a part."""
    return f"{parts_prefix(account_id, lora_id)}/{part.number:04d}"


def file_folder(account_id: UUID, lora_id: UUID, attempt: int) -> str:
    """Returns the folder of what an attempt has put together: each has its own, so that none overwrites what is in use."""
    return f"{lora_prefix(account_id, lora_id)}/{attempt}"


def file_key(account_id: UUID, lora_id: UUID, attempt: int) -> str:
    """Returns the key of the file that an attempt has put together."""
    return f"{file_folder(account_id, lora_id, attempt)}/{FILE_NAME}"
