"""Owns the tables of the schema `gallery` as the code sees it; the migrations make them and the policies on them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for

SCHEMA = "gallery"


class Base(DeclarativeBase):
    """Collects the tables of this service."""

    metadata = metadata_for(SCHEMA)
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's protocol


class Image(Base):
    """Holds a picture of an account, and the recipe that it was made by."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("job_id", "position"),
        Index("images_newest_first", "account_id", "create_time", "image_id"),
    )

    image_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    job_id: Mapped[UUID]
    position: Mapped[int]
    """The place among the pictures of the job, from 0."""
    width_px: Mapped[int]
    height_px: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    content_type: Mapped[str]
    prompt: Mapped[str]
    model_id: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]


class Upload(Base):
    """Holds a place where the owner may put a picture, to be the source of jobs. What was put there is in the object store."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index(
            "uploads_request", "account_id", "request_id", unique=True, postgresql_where=text("request_id IS NOT NULL")
        ),
        Index("uploads_of_account", "account_id", "expire_time"),
        Index("uploads_by_expiry", "expire_time"),
    )

    upload_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    content_type: Mapped[str]
    """As announced; what the bytes are is told by their beginning."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]
