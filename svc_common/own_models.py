"""Owns the ids of LoRAs that belong to an account, by which every service tells them from those of the catalogue.

How many an account may have is its tier's limit; a tier that allows none can't use those of before either.
"""

from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError

_PREFIX: Final = "own-"


def own_model_id(lora_id: UUID) -> str:
    """Returns the id under which jobs name a LoRA of an account's own."""
    return f"{_PREFIX}{lora_id}"


def own_lora_id(model_id: str) -> UUID | None:
    """Returns what an id of that form holds; None for a model of the catalogue."""
    if not model_id.startswith(_PREFIX):
        return None
    text = model_id.removeprefix(_PREFIX)
    try:
        lora_id = UUID(text)
    except ValueError:
        return None
    # Other spellings of a UUID aren't ids: one LoRA has one.
    return lora_id if str(lora_id) == text else None


def own_loras_not_in_tier(tier: str) -> ServiceError:
    """Returns the refusal of own LoRAs in a tier that has none."""
    return ServiceError(
        Reason.LORA_LIMIT_REACHED,
        f"LoRAs of your own aren't part of the {tier} tier. Upgrade to one that has them.",
        metadata={"limit": "0", "tier": tier},
    )
