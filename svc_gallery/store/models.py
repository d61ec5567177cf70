"""Owns the tables of the schema `gallery` as the code sees it; the migrations make them and the policies on them."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for

SCHEMA = "gallery"


_IN_ORDER: Final = ("account_id", "create_time", "image_id")


class Base(DeclarativeBase):
    """Collects the tables of this service."""

    metadata = metadata_for(SCHEMA)
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's protocol


class Image(Base):
    """Holds a picture of an account, and the recipe that it was made by."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("job_id", "position"),
        Index("images_newest_first", *_IN_ORDER, postgresql_where=text("delete_time IS NULL")),
        Index("images_starred", *_IN_ORDER, postgresql_where=text("starred AND delete_time IS NULL")),
        Index("images_rated", *_IN_ORDER, "rating", postgresql_where=text("rating > 0 AND delete_time IS NULL")),
        Index(
            "images_of_model",
            "account_id",
            "model_id",
            "create_time",
            "image_id",
            postgresql_where=text("delete_time IS NULL"),
        ),
        Index(
            "images_of_parent",
            "account_id",
            "parent_image_id",
            "create_time",
            "image_id",
            postgresql_where=text("parent_image_id IS NOT NULL"),
        ),
        Index("images_tagged", "account_id", postgresql_where=text("tags <> '{}' AND delete_time IS NULL")),
        Index("images_in_bin", *_IN_ORDER, postgresql_where=text("delete_time IS NOT NULL")),
        Index("images_to_purge", "purge_time", postgresql_where=text("purge_time IS NOT NULL")),
        Index("images_search", "search", postgresql_using="gin"),
        CheckConstraint("rating BETWEEN 0 AND 5", name="rating"),
        CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="bin"),
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
    title: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    rating: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """1 to 5; 0: none."""
    starred: Mapped[bool] = mapped_column(server_default="false")
    delete_time: Mapped[datetime | None]
    """When it was put into the bin."""
    purge_time: Mapped[datetime | None]
    """When it is gone for good; from then on nobody sees the row, and a sweep deletes it."""
    search: Mapped[str] = mapped_column(TSVECTOR, server_default="", deferred=True)
    """What it is found by; see `svc_gallery.domain.search`."""
    operation: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """A number of ImageOperation."""
    parent_image_id: Mapped[UUID | None]
    """The picture that it was made from, which may be gone."""


class ShareLink(Base):
    """Holds a link that shows a picture to anybody who has its token, of which only the hash is kept."""

    __tablename__ = "share_links"
    __table_args__ = (
        Index(
            "share_links_request",
            "account_id",
            "request_id",
            unique=True,
            postgresql_where=text("request_id IS NOT NULL"),
        ),
        Index("share_links_of_image", "image_id", "create_time"),
    )

    share_link_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    image_id: Mapped[UUID] = mapped_column(ForeignKey(Image.image_id, ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    with_recipe: Mapped[bool]
    expire_time: Mapped[datetime | None]
    view_limit: Mapped[int]
    """0: as often as people like."""
    view_count: Mapped[int]
    create_time: Mapped[datetime]
    no_download: Mapped[bool] = mapped_column(server_default="false")
    """Whether the link leads to the thumbnail only."""
    password_hash: Mapped[str | None]
    """Of argon2id. None: there is no password."""
    failed_count: Mapped[int] = mapped_column(server_default="0")
    """Passwords that were tried since `failed_since`."""
    failed_since: Mapped[datetime | None]


class Board(Base):
    """Holds a folder of an account's pictures, which may lie in another."""

    __tablename__ = "boards"
    __table_args__ = (
        Index(
            "boards_request", "account_id", "request_id", unique=True, postgresql_where=text("request_id IS NOT NULL")
        ),
        Index("boards_of_account", "account_id", "create_time", "board_id"),
        Index("boards_inside", "parent_board_id", postgresql_where=text("parent_board_id IS NOT NULL")),
        Index("boards_with_cover", "cover_image_id", postgresql_where=text("cover_image_id IS NOT NULL")),
    )

    board_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    request_hash: Mapped[bytes]
    """What was asked for, by which a repetition is recognised."""
    name: Mapped[str]
    parent_board_id: Mapped[UUID | None] = mapped_column(ForeignKey("gallery.boards.board_id"))
    cover_image_id: Mapped[UUID | None] = mapped_column(ForeignKey(Image.image_id, ondelete="SET NULL"))
    archived: Mapped[bool] = mapped_column(server_default="false")
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]


class BoardImage(Base):
    """Says that a picture is on a board."""

    __tablename__ = "board_images"
    __table_args__ = (
        Index("board_images_newest_first", "account_id", "board_id", "image_create_time", "image_id"),
        Index("board_images_of_image", "image_id"),
    )

    board_id: Mapped[UUID] = mapped_column(ForeignKey(Board.board_id, ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(ForeignKey(Image.image_id, ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[UUID]
    image_create_time: Mapped[datetime]
    """The picture's own, which the index needs."""


class Template(Base):
    """Holds a template of an account; those that come with the platform have no rows."""

    __tablename__ = "templates"
    __table_args__ = (
        Index(
            "templates_request",
            "account_id",
            "request_id",
            unique=True,
            postgresql_where=text("request_id IS NOT NULL"),
        ),
        Index("templates_of_account", "account_id", "create_time", "template_id"),
        Index("templates_with_example", "example_image_id", postgresql_where=text("example_image_id IS NOT NULL")),
    )

    template_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    request_hash: Mapped[bytes]
    """What was asked for, by which a repetition is recognised."""
    kind: Mapped[int] = mapped_column(SmallInteger)
    """A number of TemplateKind."""
    category: Mapped[str]
    content: Mapped[bytes]
    """A TemplateContent without the example."""
    content_hash: Mapped[bytes]
    """SHA-256 of the content, by which an import recognises what is there."""
    example_image_id: Mapped[UUID | None] = mapped_column(ForeignKey(Image.image_id, ondelete="SET NULL"))
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]


class TemplateUse(Base):
    """Counts the jobs of an account that were made with a template, its own or one of the platform."""

    __tablename__ = "template_uses"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    template_id: Mapped[str] = mapped_column(primary_key=True)
    use_count: Mapped[int]


class Export(Base):
    """Holds a zip of pictures that is made in the background."""

    __tablename__ = "exports"
    __table_args__ = (
        Index(
            "exports_request", "account_id", "request_id", unique=True, postgresql_where=text("request_id IS NOT NULL")
        ),
        Index("exports_of_account", "account_id", "create_time", "export_id"),
        Index("exports_by_expiry", "expire_time"),
        Index("exports_to_make", "create_time", postgresql_where=text("state IN (1, 2)")),
    )

    export_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    request_hash: Mapped[bytes]
    """What was asked for, by which a repetition is recognised."""
    state: Mapped[int] = mapped_column(SmallInteger)
    """A number of ExportState."""
    with_recipes: Mapped[bool]
    image_count: Mapped[int]
    done_count: Mapped[int] = mapped_column(server_default="0")
    left_out_count: Mapped[int] = mapped_column(server_default="0")
    size_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None]
    """Until when an attempt is taken to be alive."""
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]


class ExportImage(Base):
    """Says that an export has selected a picture, which may be gone by now."""

    __tablename__ = "export_images"

    export_id: Mapped[UUID] = mapped_column(ForeignKey(Export.export_id, ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    image_id: Mapped[UUID]


class Storage(Base):
    """Holds how many bytes the pictures of an account take; triggers on the pictures keep it true. No row means none."""

    __tablename__ = "storage"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    image_bytes: Mapped[int] = mapped_column(BigInteger)
    # Since when it is known that they take more than the tier stores, and when the owner was told; None while they fit.
    over_quota_since: Mapped[datetime | None]
    overage_mail_time: Mapped[datetime | None]
    quota_check_time: Mapped[datetime | None]


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
