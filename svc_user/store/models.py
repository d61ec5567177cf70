"""Owns the tables of the schema `users` as the code sees them; the migrations make them and the policies on them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for

SCHEMA = "users"


class Base(DeclarativeBase):
    """Collects the tables of this service."""

    metadata = metadata_for(SCHEMA)
    type_annotation_map = {str: Text, bytes: LargeBinary, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's protocol


class User(Base):
    """Holds a person who can log in."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("account_id", "user_id"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    email: Mapped[str] = mapped_column(unique=True)
    email_verified: Mapped[bool]
    display_name: Mapped[str]
    password_hash: Mapped[str]
    create_time: Mapped[datetime]


class Session(Base):
    """Holds one login: a family of refresh tokens, of which the newest generation is the one to use."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("account_id", "session_id"),
        Index("ix_sessions_expire_time", "expire_time"),
        ForeignKeyConstraint(["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"]),
    )

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    generation: Mapped[int]
    rotate_time: Mapped[datetime]
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]
    revoke_time: Mapped[datetime | None]


class RefreshToken(Base):
    """Holds a refresh token as its SHA-256. The row never changes: whether it was used follows from generations."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "session_id"],
            ["users.sessions.account_id", "users.sessions.session_id"],
            ondelete="CASCADE",
        ),
        Index("ix_refresh_tokens_session", "account_id", "session_id"),
    )

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    session_id: Mapped[UUID]
    generation: Mapped[int]
    create_time: Mapped[datetime]
