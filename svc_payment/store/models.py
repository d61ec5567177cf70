"""The tables of the schema `payment`; the migrations that create them explain each one.

The service reads these rows. It writes to `entitlements` only: all other writing is done by the ledger's own functions.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Integer, Interval, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from svc_common.db import metadata_for


class Base(DeclarativeBase):
    """Maps every column as the migrations declare it. Amounts are millicredits."""

    metadata = metadata_for("payment")
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to declare it
        int: BigInteger(),
        str: Text(),
        datetime: TIMESTAMP(timezone=True),
        timedelta: Interval(),
        list[str]: ARRAY(Text()),
    }


class Account(Base):
    """The counters of an account, and the row that every movement locks."""

    __tablename__ = "accounts"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    available: Mapped[int]
    held: Mapped[int]
    transaction_count: Mapped[int]


class Grant(Base):
    """Credits that were given at one time on the same terms."""

    __tablename__ = "grants"

    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.account_id))
    request_id: Mapped[str]
    kind: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    amount: Mapped[int]
    remaining: Mapped[int]
    expire_time: Mapped[datetime | None]
    lapsed: Mapped[bool]
    create_time: Mapped[datetime]
    sequence: Mapped[int]


class Hold(Base):
    """Credits set aside for one job."""

    __tablename__ = "holds"

    hold_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.account_id))
    requested: Mapped[int]
    minimum: Mapped[int]
    lifetime: Mapped[timedelta]
    amount: Mapped[int]
    settled: Mapped[int]
    state: Mapped[str]
    reserve_sequence: Mapped[int]
    close_sequence: Mapped[int | None]
    expire_time: Mapped[datetime]


class Transaction(Base):
    """One movement of credits; `sequence` counts the account's movements from 1 without a gap."""

    __tablename__ = "transactions"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.account_id), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[UUID]
    kind: Mapped[str]
    hold_id: Mapped[UUID | None]
    amount: Mapped[int]
    spent: Mapped[int]
    create_time: Mapped[datetime]


class Entry(Base):
    """What a transaction did to one grant: what one bucket lost, the others gained."""

    __tablename__ = "entries"
    __table_args__ = (ForeignKeyConstraint(["account_id", "sequence"], [Transaction.account_id, Transaction.sequence]),)

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey(Grant.grant_id))
    issued: Mapped[int]
    available: Mapped[int]
    held: Mapped[int]
    spent: Mapped[int]
    expired: Mapped[int]


class TierLimits(Base):
    """What a tier may do."""

    __tablename__ = "tiers"

    tier: Mapped[str] = mapped_column(primary_key=True)
    running_jobs: Mapped[int] = mapped_column(Integer)
    waiting_jobs: Mapped[int] = mapped_column(Integer)
    model_families: Mapped[list[str]]
    largest_side_px: Mapped[int] = mapped_column(Integer)
    images_per_job: Mapped[int] = mapped_column(Integer)
    step_count: Mapped[int] = mapped_column(Integer)
    storage_bytes: Mapped[int]
    requests_per_second: Mapped[int] = mapped_column(Integer)
    request_burst: Mapped[int] = mapped_column(Integer)


class Entitlement(Base):
    """The tier of an account; an account without a row has the free one."""

    __tablename__ = "entitlements"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    tier: Mapped[str] = mapped_column(ForeignKey(TierLimits.tier))
