"""Owns the tables of the schema `users` as the code sees them; the migrations make them and the policies on them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for

SCHEMA = "users"


class Base(DeclarativeBase):
    """Collects the tables of this service."""

    metadata = metadata_for(SCHEMA)
    type_annotation_map = {str: Text, bytes: LargeBinary, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's protocol


class User(Base):
    """Holds a person who can log in. Role and suspension are changed under the tasks role only."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("account_id", "user_id"),
        Index("ix_users_email_prefix", "email", postgresql_ops={"email": "text_pattern_ops"}),
        Index("ix_users_role", "role", postgresql_where=text("role <> 'user'")),
        Index("ix_users_erase_time", "erase_time", postgresql_where=text("erase_time IS NOT NULL")),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    email: Mapped[str] = mapped_column(unique=True)
    email_verified: Mapped[bool]
    display_name: Mapped[str]
    password_hash: Mapped[str | None]
    create_time: Mapped[datetime]
    locale: Mapped[str] = mapped_column(server_default="en")
    erase_time: Mapped[datetime | None]
    """When the account is erased, if it is closed."""
    role: Mapped[str] = mapped_column(server_default="user")
    suspend_time: Mapped[datetime | None]
    suspend_reason: Mapped[str] = mapped_column(server_default="")
    token_epoch: Mapped[int] = mapped_column(server_default="0")
    """Counts what ended every access token of the user."""


Index(
    "ix_users_display_name_prefix",
    func.lower(User.display_name).label("display_name"),
    postgresql_ops={"display_name": "text_pattern_ops"},
)


class Avatar(Base):
    """Holds the picture that stands for a user, beside the user's row, which is read much more often."""

    __tablename__ = "avatars"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    content: Mapped[bytes]


class Session(Base):
    """Holds one login: a family of refresh tokens, of which the newest generation is the one to use."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("account_id", "session_id"),
        Index("ix_sessions_expire_time", "expire_time"),
        Index("ix_sessions_user", "account_id", "user_id"),
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
    user_agent: Mapped[str] = mapped_column(server_default="")
    network: Mapped[str] = mapped_column(server_default="")


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


class Identity(Base):
    """Holds an account at a provider with which a user can sign in. Its address is shown only, and may be empty."""

    __tablename__ = "identities"
    __table_args__ = (
        UniqueConstraint("provider", "subject"),
        Index("ix_identities_user", "account_id", "user_id"),
        ForeignKeyConstraint(["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"]),
    )

    identity_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    provider: Mapped[str]
    subject: Mapped[str]
    email: Mapped[str]
    create_time: Mapped[datetime]


class Mail(Base):
    """Holds a mail that is still to be sent; the row goes when the mail server has taken the mail.

    Nothing secret stands in it: the token of a link is drawn when the mail is sent.
    """

    __tablename__ = "mails"
    __table_args__ = (Index("ix_mails_next_attempt_time", "next_attempt_time"),)

    mail_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    user_id: Mapped[UUID | None]
    """Whom the mail is about, where it goes to another address than theirs; null: who has the address."""
    kind: Mapped[str]
    create_time: Mapped[datetime]
    attempt_count: Mapped[int]
    next_attempt_time: Mapped[datetime]
    content: Mapped[bytes | None]
    """The serialized AccountLetter of a mail about an account's credits."""


class LinkToken(Base):
    """Holds the token of a mailed link as its SHA-256. The row goes when the token is used."""

    __tablename__ = "link_tokens"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
        Index("ix_link_tokens_user", "account_id", "user_id"),
        Index("ix_link_tokens_expire_time", "expire_time"),
    )

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    purpose: Mapped[str]
    email: Mapped[str | None]
    """The address that the link makes the user's, if that is what it does: the one that it was mailed to."""
    expire_time: Mapped[datetime]


class FormerEmail(Base):
    """Holds an address that a user gave up and can have back until a time, so that nobody else may take it."""

    __tablename__ = "former_emails"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
        Index("ix_former_emails_email", "email"),
        Index("ix_former_emails_expire_time", "expire_time"),
    )

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    expire_time: Mapped[datetime]


class Welcome(Base):
    """Holds that a person earned the credits that everybody gets once, and when they were granted."""

    __tablename__ = "welcomes"
    __table_args__ = (Index("ix_welcomes_due", "create_time", postgresql_where=text("grant_time IS NULL")),)

    person_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    create_time: Mapped[datetime]
    grant_time: Mapped[datetime | None]


class ApiKey(Base):
    """Holds an API key as its SHA-256."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("account_id", "request_id"),
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
        Index("ix_api_keys_user", "account_id", "user_id", "create_time"),
    )

    api_key_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    request_id: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    key_hash: Mapped[bytes]
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime | None]
    last_use_time: Mapped[datetime | None]
    day_millicredits: Mapped[int | None] = mapped_column(BigInteger)
    month_millicredits: Mapped[int | None] = mapped_column(BigInteger)
    model_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    largest_side_px: Mapped[int | None]


class SecondFactor(Base):
    """Holds the secret of a user's authenticator, sealed; one that isn't confirmed yet doesn't count."""

    __tablename__ = "second_factors"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    sealed_secret: Mapped[bytes]
    create_time: Mapped[datetime]
    confirm_time: Mapped[datetime | None]
    last_used_step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The time step of the newest code that was used: no code of it or of an earlier one works again."""


class RecoveryCode(Base):
    """Holds a code that stands in once for a lost authenticator, as its SHA-256. The row goes when the code is used."""

    __tablename__ = "recovery_codes"
    __table_args__ = (ForeignKeyConstraint(["user_id"], ["users.second_factors.user_id"], ondelete="CASCADE"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]


class AuditEvent(Base):
    """Holds what somebody did to an account. No role may change or delete it."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_account", "account_id", "event_id"),)

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    actor: Mapped[str]
    kind: Mapped[str]
    create_time: Mapped[datetime]
    network: Mapped[str]
    user_agent: Mapped[str]
    before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    after: Mapped[dict[str, Any]] = mapped_column(JSONB)


class AccountExport(Base):
    """Holds a copy of everything of an account: asked for, being made, ready, or over."""

    __tablename__ = "account_exports"
    __table_args__ = (
        Index("ix_account_exports_account", "account_id", "create_time"),
        Index("ix_account_exports_pending", "account_id", unique=True, postgresql_where=text("state = 'pending'")),
        Index("ix_account_exports_expire_time", "expire_time"),
        ForeignKeyConstraint(
            ["account_id", "user_id"], ["users.users.account_id", "users.users.user_id"], ondelete="CASCADE"
        ),
    )

    export_id: Mapped[UUID] = mapped_column(primary_key=True)
    """Also the id of the mail that tells of it."""
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    state: Mapped[str]
    attempt: Mapped[int]
    lease_until: Mapped[datetime | None]
    """Until when the attempt is taken for alive, or put off."""
    image_count: Mapped[int]
    left_out_count: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    create_time: Mapped[datetime]
    ready_time: Mapped[datetime | None]
    expire_time: Mapped[datetime | None]
    """When the zip is deleted; null until it is ready."""
