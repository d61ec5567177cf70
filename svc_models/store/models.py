"""Owns the tables of the schema `models` as the code sees them; the migrations make them.

The catalogue is the same for every account: there is no `account_id`, hence no row-level security, and the requests role
may only read it. The LoRAs that accounts have of their own are separated as every tenant's rows are.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for

SCHEMA = "models"


class Base(DeclarativeBase):
    """Collects the tables of this service."""

    metadata = metadata_for(SCHEMA)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's protocol
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        list[dict[str, Any]]: JSONB,
    }


class ModelRevision(Base):
    """Holds one revision of a model. Old revisions stay, so that what made a picture can be looked up."""

    __tablename__ = "model_revisions"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    is_served: Mapped[bool]
    """Whether this is the revision that new jobs get; at most one of a model is."""
    is_default: Mapped[bool]
    """Whether requests that name no model get it; at most one row is, and it is served."""
    display_name: Mapped[str]
    family: Mapped[str]
    licence: Mapped[str]
    minimum_tier: Mapped[str]
    native_width_px: Mapped[int]
    native_height_px: Mapped[int]
    default_step_count: Mapped[int]
    default_guidance_scale: Mapped[float]
    schedulers: Mapped[list[str]]
    files: Mapped[list[dict[str, Any]]]
    """The files as objects with `path`, `size_bytes` and `sha256`: they are only ever read and written as a whole."""
    millicredits_per_megapixel_step: Mapped[float]
    fixed_millicredits: Mapped[int]
    upscale_millicredits_per_megapixel: Mapped[float]
    kind: Mapped[str]
    operations: Mapped[list[str]]
    trigger_words: Mapped[list[str]]
    create_time: Mapped[datetime]


class OwnLora(Base):
    """Holds a LoRA that an account has of its own, from the opening of its upload to its deletion."""

    __tablename__ = "own_loras"

    lora_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    display_name: Mapped[str]
    family: Mapped[str]
    trigger_words: Mapped[list[str]]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[int] = mapped_column(SmallInteger)
    sha256: Mapped[str | None]
    """Of the file as it was put together; null until then."""
    module_count: Mapped[int] = mapped_column(default=0)
    unmatched_module_count: Mapped[int] = mapped_column(default=0)
    rank: Mapped[int] = mapped_column(default=0)
    refusal: Mapped[str] = mapped_column(default="")
    attempt: Mapped[int] = mapped_column(default=0)
    """The newest attempt at putting the file together; of a LoRA that is ready, the one whose file is served."""
    lease_until: Mapped[datetime | None]
    """Until when the attempt is taken for alive."""
    has_parts: Mapped[bool] = mapped_column(default=True)
    """Whether objects of the upload may be there."""
    address_expire_time: Mapped[datetime]
    """Until when somebody may put parts: what is deleted before may come back."""
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]
    """When an upload that is incomplete or refused is deleted."""
