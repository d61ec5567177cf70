"""The tables of the schema `payment`; the migrations that create them explain each one.

The service reads these rows. Those of the ledger are written by its own functions only.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Integer, Interval, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
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
    low_balance: Mapped[int | None]
    mails_statements: Mapped[bool]


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
    revoked: Mapped[int]


class Clawback(Base):
    """One step of a refund: what it takes back of a grant, and how much of that it has."""

    __tablename__ = "clawbacks"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.account_id), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey(Grant.grant_id))
    amount: Mapped[int]
    recovered: Mapped[int]
    create_time: Mapped[datetime]


class Audit(Base):
    """When an account was last audited, and how many movements it had then."""

    __tablename__ = "audits"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.account_id), primary_key=True)
    transaction_count: Mapped[int]
    audit_time: Mapped[datetime]


class Notice(Base):
    """Something that an account's owner is to hear; without `next_time` it was delivered."""

    __tablename__ = "notices"

    notice_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    business_key: Mapped[str]
    channel: Mapped[str]
    kind: Mapped[str]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    create_time: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer)
    next_time: Mapped[datetime | None]


class StatementMonth(Base):
    """How far the statements of a month are: up to which account, in the order of the ids."""

    __tablename__ = "statement_months"

    start_time: Mapped[datetime] = mapped_column(primary_key=True)
    last_account_id: Mapped[UUID | None]
    is_done: Mapped[bool]


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
    own_loras: Mapped[int] = mapped_column(Integer)


class Entitlement(Base):
    """The tier of an account; an account without a row has the free one."""

    __tablename__ = "entitlements"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    tier: Mapped[str] = mapped_column(ForeignKey(TierLimits.tier))


class Plan(Base):
    """A tier for a monthly price."""

    __tablename__ = "plans"

    plan_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    tier: Mapped[str] = mapped_column(ForeignKey(TierLimits.tier))
    price_cents: Mapped[int | None] = mapped_column(Integer)
    credits: Mapped[int]


class Pack(Base):
    """Credits that are bought once."""

    __tablename__ = "packs"

    pack_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    price_cents: Mapped[int] = mapped_column(Integer)
    credits: Mapped[int]


class Checkout(Base):
    """A page of a provider on which an account may pay for an item."""

    __tablename__ = "checkouts"

    reference: Mapped[str] = mapped_column(primary_key=True)
    checkout_id: Mapped[UUID]
    account_id: Mapped[UUID]
    request_id: Mapped[str | None]
    provider: Mapped[str]
    item_kind: Mapped[str]
    item_id: Mapped[str]
    url: Mapped[str]
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]


class Subscription(Base):
    """What is known of a subscription at a provider."""

    __tablename__ = "subscriptions"

    provider: Mapped[str] = mapped_column(primary_key=True)
    subscription_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    plan_id: Mapped[str | None]
    status: Mapped[str]
    update_time: Mapped[datetime]
    renew_time: Mapped[datetime | None]
    end_time: Mapped[datetime | None]
    failure_time: Mapped[datetime | None]
    paid_time: Mapped[datetime | None]
    next_plan_id: Mapped[str | None]
    learn_time: Mapped[datetime]


class Invoice(Base):
    """What is known of a payment at a provider."""

    __tablename__ = "invoices"

    provider: Mapped[str] = mapped_column(primary_key=True)
    invoice_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    subscription_id: Mapped[str | None]
    item_id: Mapped[str | None]
    reason: Mapped[str]
    amount_cents: Mapped[int] = mapped_column(Integer)
    currency: Mapped[str]
    issue_time: Mapped[datetime]
    refunded_cents: Mapped[int] = mapped_column(Integer)
    credits: Mapped[int | None]
    revoked_cents: Mapped[int] = mapped_column(Integer)


class EnterpriseLead(Base):
    """What somebody wrote who wants the enterprise plan."""

    __tablename__ = "enterprise_leads"

    lead_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    company: Mapped[str]
    contact: Mapped[str]
    message: Mapped[str]
    create_time: Mapped[datetime]


class EnterpriseContract(Base):
    """A contract by which an account has the enterprise tier for a term. A limit of zero is the tier's."""

    __tablename__ = "enterprise_contracts"

    reference: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    activated_by: Mapped[UUID]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    credits: Mapped[int]
    storage_bytes: Mapped[int]
    running_jobs: Mapped[int] = mapped_column(Integer)
    requests_per_second: Mapped[int] = mapped_column(Integer)
    amount_cents: Mapped[int] = mapped_column(Integer)
    currency: Mapped[str]


class Delivery(Base):
    """A provider's report as it came, and what became of it."""

    __tablename__ = "webhook_inbox"

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    sha256: Mapped[bytes]
    name: Mapped[str]
    body: Mapped[bytes]
    receive_time: Mapped[datetime]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer)
    next_time: Mapped[datetime]
    error: Mapped[str | None]
