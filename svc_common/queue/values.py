"""Owns the values that go into and come out of the queue. Plain data; the rules are in `queue` and its scripts."""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self
from uuid import UUID

from svc_common.tiers import tier_name


class AcceptedJob(Protocol):
    """A job as its own service keeps it; the names are those of its columns."""

    @property
    def job_id(self) -> UUID:
        """Identifies the job."""

    @property
    def account_id(self) -> UUID:
        """Identifies the account that it belongs to."""

    @property
    def tier(self) -> int:
        """The number of pingvas.common.v1.Tier."""

    @property
    def model_id(self) -> str:
        """Identifies the model that it needs."""

    @property
    def quoted_millicredits(self) -> int:
        """Expected cost."""

    @property
    def running_limit(self) -> int:
        """How many jobs of the account may run at once."""

    @property
    def create_time(self) -> datetime:
        """When it was accepted."""

    @property
    def operation_kind(self) -> str:
        """Names what it does."""

    @property
    def operation(self) -> bytes:
        """What it does, serialized."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What the queue knows about a job. What is true of it stays with the service that owns the job."""

    job_id: UUID
    account_id: UUID
    tier: str
    model_id: str
    cost_millicredits: int
    """Estimated price = GPU milliseconds; how much of its turn the account uses up with this job. At least 1."""
    running_limit: int
    """How many jobs of the account may run at once; this job waits while so many do. At least 1."""
    create_time_ms: int
    """When the job was accepted, in milliseconds since the epoch; its place in its account's line."""
    operation_kind: str = ""
    """Names the operation, as the contract does; empty: the worker learns of it when it starts."""
    operation: bytes = b""
    """The serialized message of the operation, so that a worker can begin with it while it asks for the job."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number with which the job could never run, or would run for nothing."""
        if min(self.cost_millicredits, self.running_limit, self.create_time_ms) < 1:
            raise ValueError(f"job {self.job_id}: cost, running limit and creation time must be positive")

    @classmethod
    def of(cls, job: AcceptedJob) -> Self:
        """Returns what the queue keeps of a job."""
        return cls(
            job_id=job.job_id,
            account_id=job.account_id,
            tier=tier_name(job.tier),
            model_id=job.model_id,
            cost_millicredits=job.quoted_millicredits,
            running_limit=job.running_limit,
            create_time_ms=int(job.create_time.timestamp() * 1000),
            operation_kind=job.operation_kind,
            operation=job.operation,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker holds until its lease lapses."""

    job: QueuedJob
    worker_id: str
    fence: int
    """Greater than that of every earlier claim, also across the loss of Redis' data."""
    cancel_requested: bool = False
    """Whether the cancellation of the job was wanted already when it was claimed."""
    is_first: bool = False
    """Whether nobody has claimed the job before, as far as Redis remembers."""

    @property
    def holder(self) -> str:
        """What the lease key holds while this claim is valid."""
        return f"{self.worker_id}:{self.fence}"


class LeaseState(enum.Enum):
    """What a renewal found."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel_requested"
    """Held and extended, but somebody wants the job cancelled."""
    LOST = "lost"
    """Another claim has taken the job over, or it has ended: stop, and report nothing."""


@dataclass(frozen=True, slots=True)
class TierDepth:
    """How many jobs of a tier wait and run."""

    waiting: int
    running: int
