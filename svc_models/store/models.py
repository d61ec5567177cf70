"""Owns the table of the schema `models` as the code sees it; the migrations make it.

The catalogue is the same for every account: there is no `account_id`, hence no row-level security. The requests role
may only read.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text
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
    create_time: Mapped[datetime]
