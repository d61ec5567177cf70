"""The tables of the schema `generation`. Each row but a pause belongs to an account, and row-level security is forced on it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Float, LargeBinary, MetaData, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "generation"


class Base(DeclarativeBase):
    """Collects the tables of the schema."""

    metadata = MetaData(schema=SCHEMA)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        UUID: PG_UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        str: Text(),
        bytes: LargeBinary(),
        float: Float(),
        list[UUID]: ARRAY(PG_UUID(as_uuid=True)),
        list[dict[str, Any]]: JSONB(),
        list[int]: ARRAY(SmallInteger()),
    }


class AccountCounter(Base):
    """Numbers an account's events and counts its waiting jobs.

    Every change of a job's state locks this row first. So the changes of one account are serial, their numbers follow
    the order of the commits, and the limit of waiting jobs is exact however many requests race.
    """

    __tablename__ = "account_counters"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int]


class Job(Base):
    """Holds one job."""

    __tablename__ = "jobs"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    """The caller's idempotency key, unique within the account."""
    request_hash: Mapped[bytes]
    """SHA-256 of the request without its id: the same key with another body is refused."""
    first_answer: Mapped[bytes]
    """The serialized answer of CreateJob, which a replay returns."""
    operation_kind: Mapped[str]
    """The branch of the contract that the operation is: text_to_image, image_to_image, inpaint or upscale."""
    operation: Mapped[bytes]
    """The serialized message of the operation, with every default filled in."""
    source_key: Mapped[str | None]
    """Where the picture that the job works on lies in the object store; null for one that begins from noise."""
    mask_key: Mapped[str | None]
    model_id: Mapped[str]
    tier: Mapped[int] = mapped_column(SmallInteger)
    running_limit: Mapped[int]
    """Jobs of the account that may run at once, as its tier said when the job was accepted."""
    image_count: Mapped[int] = mapped_column(SmallInteger)
    quoted_millicredits: Mapped[int] = mapped_column(BigInteger)
    held_millicredits: Mapped[int] = mapped_column(BigInteger)
    used_millicredits: Mapped[int | None] = mapped_column(BigInteger)

    state: Mapped[int] = mapped_column(SmallInteger)
    outcome: Mapped[int | None] = mapped_column(SmallInteger)
    """The terminal state that a FINALIZING job is on its way to."""
    attempt: Mapped[int]
    returned: Mapped[int]
    claim_id: Mapped[str | None]
    worker_id: Mapped[str | None]
    cancel_requested: Mapped[bool]
    gpu_milliseconds: Mapped[int] = mapped_column(BigInteger)
    """What the closing attempt is billed for."""
    images: Mapped[list[dict[str, Any]]]
    failure_reason: Mapped[str | None]
    failure_message: Mapped[str | None]

    queue_position: Mapped[int]
    """The expected position when the job was accepted, against which the measured wait is held."""
    queued_sequence: Mapped[int] = mapped_column(BigInteger)
    started_sequence: Mapped[int | None] = mapped_column(BigInteger)
    ended_sequence: Mapped[int | None] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    """The number of the newest change of state; what changed behind a watcher is found by it."""

    create_time: Mapped[datetime]
    queue_time: Mapped[datetime]
    start_time: Mapped[datetime | None]
    finalize_time: Mapped[datetime | None]
    end_time: Mapped[datetime | None]
    deadline_time: Mapped[datetime]
    """When a job that hasn't ended is given up; before its hold expires."""
    api_key_id: Mapped[str | None]
    """The API key that asked for the job; null for a person."""


class KeySpending(Base):
    """Holds what the jobs of an API key that were made on one day of UTC cost, or hold as long as they haven't ended.

    It changes in the transactions that accept and end jobs, under the lock of the account's counter.
    """

    __tablename__ = "key_spending"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    api_key_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    millicredits: Mapped[int] = mapped_column(BigInteger)


class Attempt(Base):
    """Holds one attempt at a job, with the pictures it may have uploaded."""

    __tablename__ = "attempts"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    worker_id: Mapped[str]
    outcome: Mapped[int] = mapped_column(SmallInteger)
    image_ids: Mapped[list[UUID]]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime | None]
    upload_expire_time: Mapped[datetime]
    """Until when a zombie could still upload."""
    clean_time: Mapped[datetime | None]
    """When the objects of an attempt that lost are to be deleted next; null when nothing is left to do."""


class TierPause(Base):
    """Holds the latest pause of a tier. It belongs to no account."""

    __tablename__ = "tier_pauses"

    tier: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    reason: Mapped[str]
    paused_by: Mapped[UUID]
    pause_time: Mapped[datetime]
    resume_time: Mapped[datetime | None]
    """When it ended; null: the tier is paused."""


class WebhookEndpoint(Base):
    """Holds an address to which an account's events are sent."""

    __tablename__ = "webhook_endpoints"

    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    created_by: Mapped[UUID]
    request_id: Mapped[str | None]
    request_hash: Mapped[bytes]
    url: Mapped[str]
    description: Mapped[str]
    events: Mapped[list[int]]
    named_jobs_only: Mapped[bool]
    disabled: Mapped[bool] = mapped_column(default=False)
    disable_reason: Mapped[str] = mapped_column(default="")
    failing_since: Mapped[datetime | None]
    """Since when no delivery has succeeded; null after a success."""
    secret: Mapped[bytes]
    """Empty where the account's own signs, which is so for the addresses of jobs."""
    old_secret: Mapped[bytes | None]
    old_secret_expire_time: Mapped[datetime | None]
    create_time: Mapped[datetime]
    of_job: Mapped[bool] = mapped_column(default=False)
    """Whether a job has brought the address along, whose id is the endpoint's. The job may never have been accepted."""


class WebhookSecret(Base):
    """Holds the secret that signs what goes to the addresses that an account's jobs bring along."""

    __tablename__ = "webhook_secrets"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    secret: Mapped[bytes]
    old_secret: Mapped[bytes | None]
    old_secret_expire_time: Mapped[datetime | None]
    create_time: Mapped[datetime]


class WebhookJob(Base):
    """Names the endpoint that a job's creator has named. A row may be there of a job that was never accepted."""

    __tablename__ = "webhook_jobs"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    endpoint_id: Mapped[UUID]
    create_time: Mapped[datetime]


class WebhookDelivery(Base):
    """Holds one event for one endpoint: the outbox, which a trigger on the jobs fills, and the log of what became of it."""

    __tablename__ = "webhook_deliveries"

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]
    account_id: Mapped[UUID]
    event: Mapped[int] = mapped_column(SmallInteger)
    job_id: Mapped[UUID | None]
    event_id: Mapped[str] = mapped_column(default="")
    job_attempt: Mapped[int] = mapped_column(default=0)
    progress: Mapped[bytes | None]
    """The serialized JobEvent, which is in no row of the job's."""
    content: Mapped[bytes | None]
    """The serialized message of an event of no job."""
    state: Mapped[int] = mapped_column(SmallInteger, default=1)
    attempt_count: Mapped[int] = mapped_column(default=0)
    round_count: Mapped[int] = mapped_column(default=0)
    """Attempts since the delivery was made or last replayed."""
    last_http_status: Mapped[int] = mapped_column(SmallInteger, default=0)
    last_error: Mapped[str] = mapped_column(default="")
    create_time: Mapped[datetime]
    last_attempt_time: Mapped[datetime | None]
    next_attempt_time: Mapped[datetime | None]
    """When the next attempt is due; while one is made, when it counts as lost."""
