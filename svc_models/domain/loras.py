"""Owns the rules of accounts' own LoRAs: their states, the parts of an upload, and the limits of an account."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError
from svc_common.own_models import own_loras_not_in_tier, own_model_id

CONTENT_TYPE: Final = "application/octet-stream"
PART_BYTES: Final = 32 * 1024 * 1024
"""The header of a LoRA fits into the first part many times over; a part is sent anew within seconds when a line breaks."""
ADDRESS_LIFETIME: Final = timedelta(hours=1)
UPLOAD_LIFETIME: Final = timedelta(days=1)
"""For how long an upload may stay incomplete, and for how long a refused one is shown."""
LEASE: Final = timedelta(minutes=2)
"""For how long an attempt at putting a file together may show no life."""
MOST_ATTEMPTS: Final = 5
FILE_NAME: Final = "lora.safetensors"


class LoraState(enum.IntEnum):
    """Names the states of a LoRA; the numbers up to REFUSED are those of the contract's enum."""

    UPLOADING = 1
    ASSEMBLING = 2
    READY = 3
    REFUSED = 4
    DELETED = 5
    """Isn't there any more for anybody; its objects and its row go with the next sweep."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file of so many bytes."""

    number: int
    offset_bytes: int
    size_bytes: int


def parts_of(size_bytes: int) -> Iterator[Part]:
    """Yields the parts of a file in its order; all have the same size but the last."""
    for number, offset in enumerate(range(0, size_bytes, PART_BYTES)):
        yield Part(number, offset, min(PART_BYTES, size_bytes - offset))


def address_expiry(now: datetime, upload_expire_time: datetime) -> datetime:
    """Returns until when addresses that are given now may work: none outlives its upload."""
    return min(now + ADDRESS_LIFETIME, upload_expire_time)


def check_count(count: int, limit: int, tier: str) -> None:
    """Refuses one LoRA more than a tier allows.

    Raises:
        ServiceError: LORA_LIMIT_REACHED.
    """
    if count < limit:
        return
    if not limit:
        raise own_loras_not_in_tier(tier)
    raise ServiceError(
        Reason.LORA_LIMIT_REACHED,
        f"You have {count} LoRAs of your own, as many as the {tier} tier allows. Delete one, or upgrade.",
        metadata={"limit": str(limit), "tier": tier},
    )


def parts_missing(lora_id: UUID, part: Part) -> ServiceError:
    """Returns the refusal of a file that lacks a part."""
    return ServiceError(
        Reason.LORA_PARTS_MISSING,
        f"The {part.size_bytes} bytes from {part.offset_bytes} on haven't arrived. Get fresh addresses and send them.",
        metadata={"model_id": own_model_id(lora_id), "offset_bytes": str(part.offset_bytes)},
    )


def state_conflict(lora_id: UUID, state: LoraState) -> ServiceError:
    """Returns the refusal of a call that needs a LoRA which still takes parts."""
    return ServiceError(
        Reason.LORA_STATE_CONFLICT,
        f"The LoRA takes no parts any more: it is {state.name.lower()}.",
        metadata={"model_id": own_model_id(lora_id), "state": state.name.lower()},
    )


def lora_in_use(lora_id: UUID, job_count: int) -> ServiceError:
    """Returns the refusal to delete a LoRA that jobs need."""
    return ServiceError(
        Reason.LORA_IN_USE,
        f"{job_count} of your jobs with this LoRA wait or run. Wait for them, or cancel them, then delete it.",
        metadata={"model_id": own_model_id(lora_id), "job_count": str(job_count)},
    )
